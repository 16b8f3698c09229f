//! Every limit: that it can be reached, what the guest gets then, and that it is named. The defaults
//! are reached or passed by here where that takes no gigabyte, else stated.

use std::sync::Arc;
use std::time::Duration;

use testbench_overlay::pipeline::Quota;
use testbench_overlay::{Create, Fs, GuestPath, MemoryDir, OpenHow, Overlay};
use testbench_wasi::{Exit, Finished, GuestSpec, Limit, Limits, Mount, OpenFile, TrapKind};

use super::{finished, module, program, tool};

fn limited(spec: GuestSpec, change: impl FnOnce(&mut Limits)) -> Finished {
    let mut limits = Limits::default();
    change(&mut limits);
    finished(spec.limits(limits))
}

/// That the guest was told and went on, to exit with this code.
#[track_caller]
fn survived(ended: &Finished, code: u32, limit: &Limit) {
    assert_eq!(ended.exit.code(), Some(code), "{ended}");
    assert_eq!(ended.limits_hit, std::slice::from_ref(limit));
    assert!(!limit.is_fatal());
    assert!(ended.to_string().ends_with(&format!("\n    had wanted {limit}")), "{ended}");
}

/// That the limit ended the guest.
#[track_caller]
fn ended_by(ended: &Finished, limit: &Limit) {
    assert_eq!(ended.exit.limit().as_ref(), Some(limit), "{ended}");
    assert_eq!(ended.limits_hit, std::slice::from_ref(limit));
}

#[test]
fn memory() {
    // Grows by pages until it is refused, and exits with how many there are.
    let grows = |by: u32| {
        program(&format!(
            "(loop $l (br_if $l (i32.ne (memory.grow (i32.const {by})) (i32.const -1))))
            (call $exit (memory.size))"
        ))
    };
    let ended = limited(grows(1), |limits| limits.memory_bytes_max = 10 * Limits::PAGE_BYTES);
    survived(&ended, 10, &Limit::Memory { bytes_max: 655_360 });
    // A gigabyte by default.
    survived(&finished(grows(1000)), 16_001, &Limit::Memory { bytes_max: 1 << 30 });
    // Too much from the start.
    let large = GuestSpec::new(module(r#"(module (memory 11) (func (export "_start")))"#));
    assert!(finished(large.clone()).exit.success());
    let ended = limited(large, |limits| limits.memory_bytes_max = 10 * Limits::PAGE_BYTES);
    ended_by(&ended, &Limit::Memory { bytes_max: 655_360 });
}

#[test]
fn table() {
    let wat = |by: u32| {
        super::with_imports(&format!(
            r#"(table $t 2 funcref)
            (func (export "_start")
                (loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const {by})) (i32.const -1))))
                (call $exit (table.size $t)))"#
        ))
    };
    let grows = |by| GuestSpec::new(module(&wat(by)));
    let ended = limited(grows(1), |limits| limits.table_elements_max = 100);
    survived(&ended, 100, &Limit::Table { elements_max: 100 });
    survived(&finished(grows(2)), 100_000, &Limit::Table { elements_max: 100_000 });
    let large = GuestSpec::new(module(r#"(module (table 101 funcref) (func (export "_start")))"#));
    let ended = limited(large, |limits| limits.table_elements_max = 100);
    ended_by(&ended, &Limit::Table { elements_max: 100 });
}

#[test]
fn memories_tables_and_instances() {
    let of = |items: &str, n| {
        let items = items.repeat(n);
        GuestSpec::new(module(&format!(r#"(module {items} (func (export "_start")))"#)))
    };
    let (memories, tables) = (|n| of("(memory 1)", n), |n| of("(table 1 funcref)", n));
    assert!(finished(memories(8)).exit.success() && finished(tables(16)).exit.success());
    ended_by(&finished(memories(9)), &Limit::Memories { max: 8 });
    ended_by(&finished(tables(17)), &Limit::Tables { max: 16 });
    ended_by(&limited(memories(2), |limits| limits.memories_max = 1), &Limit::Memories { max: 1 });
    ended_by(&limited(tables(2), |limits| limits.tables_max = 1), &Limit::Tables { max: 1 });
    let none = limited(memories(1), |limits| limits.instances_max = 0);
    ended_by(&none, &Limit::Instances { max: 0 });
    assert!(limited(memories(1), |limits| limits.instances_max = 1).exit.success());
}

#[test]
fn open_files() {
    let tree = Arc::new(MemoryDir::builder().build().unwrap());
    let hog = || tool!("hog").arg("files").mount(Mount::new(tree.clone(), "/")).cwd("/");
    let says = |ended: &Finished| String::from_utf8_lossy(&ended.stderr).into_owned();
    let few = limited(hog(), |limits| limits.open_files_max = 9);
    survived(&few, 1, &Limit::OpenFiles { max: 9 });
    insta::assert_snapshot!(says(&few), @r"
    hog: 4 descriptors
    hog: files: No file descriptors available
    ");
    let by_default = finished(hog());
    survived(&by_default, 1, &Limit::OpenFiles { max: 1024 });
    insta::assert_snapshot!(says(&by_default), @r"
    hog: 1019 descriptors
    hog: files: No file descriptors available
    ");
}

#[test]
fn path() {
    let tree = Arc::new(MemoryDir::builder().build().unwrap());
    let cat = |path: String| tool!("cat").arg(path).mount(Mount::new(tree.clone(), "/"));
    let long = |bytes: usize| "d/".repeat(bytes / 2 - 1) + "dd";
    let ended = limited(cat(long(60)), |limits| limits.path_bytes_max = 50);
    survived(&ended, 1, &Limit::Path { bytes_max: 50 });
    let why = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(why.contains("Filename too long"), "{why}");
    let why = String::from_utf8_lossy(&finished(cat(long(60))).stderr).into_owned();
    assert!(why.contains("No such file or directory"), "{why}");
    survived(&finished(cat(long(4100))), 1, &Limit::Path { bytes_max: 4096 });
}

#[test]
fn quota() {
    // Of the overlay, which counts in blocks of 4 KiB.
    let lower = tempfile::tempdir().unwrap();
    let overlay = |quota: Quota| Overlay::builder(lower.path()).quota(quota).build().unwrap();
    let create = OpenHow { write: true, create: Create::IfMissing, ..OpenHow::READ };
    let writes = |quota: Quota| {
        let overlay = overlay(quota);
        let root = overlay.root().unwrap();
        let file = overlay.open_at(&*root, GuestPath::new("out"), &create).unwrap();
        tool!("hog").args(["output", "8"]).stdout(OpenFile::new(file))
    };
    // 8 KiB: within the default, exactly within another one, and beyond it.
    assert_eq!(finished(writes(Quota::new())).limits_hit, []);
    assert_eq!(finished(writes(Quota::new().bytes(8192))).limits_hit, []);
    let ended = finished(writes(Quota::new().bytes(4096)));
    survived(&ended, 1, &Limit::Quota);
    let says = |ended: &Finished| String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(says(&ended).contains("No space left on device"), "{}", says(&ended));
    let ended = finished(writes(Quota::new().file_len(4096)));
    survived(&ended, 1, &Limit::Quota);
    assert!(says(&ended).contains("File too large"), "{}", says(&ended));

    // New files are counted too.
    let touches = |quota: Quota| {
        let spec = tool!("touch").args(["/m/a", "/m/b", "/m/c"]);
        finished(spec.mount(Mount::new(overlay(quota), "/m")))
    };
    assert!(touches(Quota::new().inodes(3)).exit.success());
    let ended = touches(Quota::new().inodes(2));
    survived(&ended, 1, &Limit::Quota);
    insta::assert_snapshot!(says(&ended), @"touch: /m/c: No space left on device");
}

#[test]
fn output() {
    let hog = |what: &str| tool!("hog").args(["output", what]);
    let ended = limited(hog("100"), |limits| limits.output_bytes_max = 5000);
    ended_by(&ended, &Limit::Output { bytes_max: 5000 });
    assert_eq!(ended.stdout.len(), 5000, "what fitted is kept");
    assert!(finished(hog("100")).exit.success());
    ended_by(&finished(hog("70000")), &Limit::Output { bytes_max: 64 << 20 });
    // It is for what is captured.
    let null = hog("100").stdout(testbench_wasi::Stdout::Null);
    assert!(limited(null, |limits| limits.output_bytes_max = 5000).exit.success());
}

#[test]
fn random() {
    let asks = |bytes: u32| {
        program(&format!(
            "(drop (memory.grow (i32.const 300)))
            (call $exit (call $random (i32.const 64) (i32.const {bytes})))"
        ))
    };
    const EINVAL: u32 = 28;
    assert_eq!(limited(asks(100), |limits| limits.random_bytes_max = 100).exit.code(), Some(0));
    let ended = limited(asks(101), |limits| limits.random_bytes_max = 100);
    survived(&ended, EINVAL, &Limit::Random { bytes_max: 100 });
    assert_eq!(finished(asks(16 << 20)).exit.code(), Some(0));
    survived(&finished(asks((16 << 20) + 1)), EINVAL, &Limit::Random { bytes_max: 16 << 20 });
}

#[test]
fn bytes_of_one_call() {
    // Writes 10,000 bytes in one call and exits with how many were taken. It is not reported: a
    // program writes the rest, as it does on POSIX.
    let writes = program(
        "(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 10000))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (i32.load (i32.const 8)))",
    );
    let null = writes.stdout(testbench_wasi::Stdout::writer(std::io::sink()));
    assert_eq!(finished(null.clone()).exit.code(), Some(10_000));
    let ended = limited(null, |limits| limits.io_bytes_max = 4000);
    assert_eq!((ended.exit.code(), ended.limits_hit), (Some(4000), vec![]));
}

#[test]
fn stack() {
    let deep = |calls: u32| {
        GuestSpec::new(module(&super::with_imports(&format!(
            r#"(func $down (param $n i32)
                (if (local.get $n) (then (call $down (i32.sub (local.get $n) (i32.const 1))))))
            (func (export "_start") (call $down (i32.const {calls})))"#
        ))))
    };
    assert!(finished(deep(5000)).exit.success());
    let ended = finished(deep(u32::MAX));
    ended_by(&ended, &Limit::Stack);
    assert!(matches!(&ended.exit, Exit::Trap(trap) if trap.kind == TrapKind::StackOverflow));
}

#[test]
fn fuel_counts_the_work_within_one_call_to_the_host() {
    // Each call handles thousands of entries or bytes. There is one buffer of 64,000 bytes at 8.
    let calls = [
        ("poll_oneoff", "(i32.const 64) (i32.const 131072) (i32.const 2000) (i32.const 0)"),
        ("fd_write", "(i32.const 1) (i32.const 131072) (i32.const 1000) (i32.const 0)"),
        ("fd_write", "(i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)"),
        ("random_get", "(i32.const 64) (i32.const 64000)"),
    ];
    for (name, arguments) in calls {
        let params = "i32 ".repeat(arguments.matches("i32.const").count());
        let spec = GuestSpec::new(module(&format!(
            r#"(module
                (import "wasi_snapshot_preview1" "{name}" (func $call (param {params}) (result i32)))
                (memory (export "memory") 4)
                (data (i32.const 8) "\40\00\00\00\00\fa\00\00")
                (func (export "_start") (if (call $call {arguments}) (then unreachable))))"#
        )));
        let ended = limited(spec.clone(), |limits| limits.fuel = Some(500));
        ended_by(&ended, &Limit::Fuel { units: 500 });
        let ended = limited(spec, |limits| limits.fuel = Some(10_000));
        assert!(ended.exit.success(), "{name}: {ended}");
    }
}

#[test]
fn fuel_watchdog_and_virtual_deadline() {
    let endless = || program("(loop $l (br $l))");
    let ended = limited(endless(), |limits| limits.fuel = Some(1000));
    ended_by(&ended, &Limit::Fuel { units: 1000 });
    let after = Duration::from_millis(10);
    let ended = limited(endless(), |limits| limits.watchdog = Some(after));
    ended_by(&ended, &Limit::Watchdog { after });
    let ended = limited(tool!("sleep").arg("1m"), |limits| limits.virtual_deadline = Some(after));
    ended_by(&ended, &Limit::VirtualDeadline { after });
    assert_eq!(ended.virtual_time, after);
}

#[test]
fn several_limits_are_named_in_the_order_in_which_they_were_reached() {
    let greedy = program(
        "(drop (memory.grow (i32.const 10))) (drop (call $random (i32.const 0) (i32.const 20)))
        (drop (memory.grow (i32.const 10)))
        (loop $l (br $l))",
    );
    let ended = limited(greedy, |limits| {
        limits.memory_bytes_max = 2 * Limits::PAGE_BYTES;
        limits.random_bytes_max = 10;
        limits.fuel = Some(1000);
    });
    insta::assert_snapshot!(ended, @r"
    ended by a limit: it wanted more than 1000 units of work (limit `fuel`)
        had wanted a memory larger than 131072 bytes (limit `memory_bytes_max`)
        had wanted more than 10 random bytes at once (limit `random_bytes_max`)
    ");
    assert_eq!(ended.limits_hit.len(), 3);
}
