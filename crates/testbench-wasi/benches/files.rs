//! The file work of a guest: small files, a long directory, and large files read and written from end
//! to end, on an overlay; beside `std::fs` in a native loop and, with the feature `oracle`, beside
//! wasmtime-wasi on a real directory.
//!
//! `cargo bench --profile dev --config crates/testbench-wasi/benches/optimised.toml -p testbench-wasi
//! --bench files`; `-- read` and the like run the rows with that word. All cases take turns, round by
//! round, so that a busy machine slows all of them alike; a figure is the median of the rounds. Each
//! round has an overlay of its own, so that every file is looked at for the first time.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use testbench_overlay::Overlay;
use testbench_wasi::{CompilationCache, Engine, GuestSpec, Limits, Module, Mount, run};

/// An odd number, so that there is a median.
const ROUNDS: usize = 21;

const FILES: usize = 10_000;
const SMALL_BYTES: usize = 1 << 10;
const LARGE_BYTES: usize = 64 << 20;

/// One row: the same work as a guest's code and as native code.
struct Work {
    title: String,
    /// The body of the guest's `_start`; see [`module_of`] for the functions that it calls.
    guest: String,
    native: Box<dyn Fn(&Path)>,
    /// Makes a new directory for each run, rather than reading one that all runs share.
    writes: bool,
}

fn main() {
    // So that `cargo test --benches` shows that everything runs, without taking long.
    let quick = std::env::args().any(|arg| arg == "--test");
    let rounds = if quick { 1 } else { ROUNDS };
    // A word chooses what is measured, as in other benchmarks.
    let words: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let shared = tempfile::tempdir().expect("a temporary directory");
    for n in 0..FILES {
        std::fs::write(shared.path().join(name(n)), [b'x'; SMALL_BYTES]).expect("a small file");
    }
    std::fs::write(shared.path().join("large"), vec![b'x'; LARGE_BYTES]).expect("a large file");
    for work in works() {
        if words.is_empty() || words.iter().any(|word| work.title.contains(word.as_str())) {
            work.measure(shared.path(), rounds);
        }
    }
}

fn works() -> Vec<Work> {
    let mut works = vec![
        Work {
            title: format!("open, read and close {FILES} files"),
            guest: each_file(
                r#"(call $open_at (i32.const 0) (i32.const 5) (i32.const 0))"#,
                "read",
            ),
            native: Box::new(|dir| {
                for n in 0..FILES {
                    let mut file = std::fs::File::open(dir.join(name(n))).expect("it is there");
                    file.read_exact(&mut [0; SMALL_BYTES]).expect("that long");
                }
            }),
            writes: false,
        },
        Work {
            title: format!("create, write and close {FILES} files"),
            guest: each_file(
                r#"(call $open_at (i32.const 0) (i32.const 5) (i32.const 1))"#,
                "write",
            ),
            native: Box::new(|dir| {
                for n in 0..FILES {
                    let mut file = std::fs::File::create(dir.join(name(n))).expect("a new file");
                    file.write_all(&[b'x'; SMALL_BYTES]).expect("room for it");
                }
            }),
            writes: true,
        },
        Work {
            title: format!("list {FILES} entries"),
            guest: "(call $list (call $open_at (i32.const 13) (i32.const 1) (i32.const 2)))".into(),
            native: Box::new(|dir| {
                let entries = std::fs::read_dir(dir).expect("a directory");
                assert_eq!(
                    entries
                        .inspect(|entry| drop(entry.as_ref().expect("an entry").file_name()))
                        .count(),
                    FILES + 1
                );
            }),
            writes: false,
        },
    ];
    for step in [1 << 10, 8 << 10, 64 << 10] {
        let kib = step >> 10;
        let create = "(call $open_at (i32.const 8) (i32.const 5) (i32.const 9))";
        let open = "(call $open_at (i32.const 8) (i32.const 5) (i32.const 0))";
        let through =
            |call: &str, fd: &str| format!("(call $through_{call} {fd} (i32.const {step}))");
        works.push(Work {
            title: format!("read 64 MiB by {kib} KiB"),
            guest: through("read", open),
            native: Box::new(move |dir| read_through(dir, step)),
            writes: false,
        });
        works.push(Work {
            title: format!("write 64 MiB by {kib} KiB"),
            guest: through("write", create),
            native: Box::new(move |dir| write_through(dir, step)),
            writes: true,
        });
        works.push(Work {
            title: format!("write and read back 64 MiB by {kib} KiB"),
            guest: through("write", create) + &through("read", open),
            native: Box::new(move |dir| {
                write_through(dir, step);
                read_through(dir, step);
            }),
            writes: true,
        });
    }
    works
}

impl Work {
    fn measure(&self, shared: &Path, rounds: usize) {
        let wasm = module_of(&self.guest);
        let engine = Engine::with_cache(CompilationCache::in_memory());
        let module = Module::from_bytes_on(&engine, "files", wasm.clone()).expect("our own module");
        let ours = |dir: &Path| {
            let overlay = Overlay::new(dir).expect("an overlay");
            let limits = Limits { watchdog: None, ..Limits::default() };
            let spec =
                GuestSpec::new(module.clone()).limits(limits).mount(Mount::new(overlay, "/"));
            let finished = run(spec).expect("our own module");
            assert!(finished.exit.success(), "{}", finished.exit);
        };
        #[cfg(feature = "oracle")]
        let peer = peer::Peer::new(&wasm);
        #[cfg(feature = "oracle")]
        let theirs = |dir: &Path| peer.run(dir);
        type Case<'a> = (&'a str, &'a dyn Fn(&Path));
        let cases: &[Case<'_>] = &[
            ("std::fs, natively", &*self.native),
            ("ours, on an overlay", &ours),
            #[cfg(feature = "oracle")]
            ("wasmtime-wasi, on a real directory", &theirs),
        ];
        println!("\n{}", self.title);
        let mut times = vec![Vec::new(); cases.len()];
        // The first round compiles and warms up.
        for round in 0..=rounds {
            for (i, (_, case)) in cases.iter().enumerate() {
                let time = self.time(shared, case);
                if round > 0 {
                    times[i].push(time);
                }
            }
        }
        let medians: Vec<Duration> = times.into_iter().map(median).collect();
        for ((name, _), time) in cases.iter().zip(&medians) {
            let of_std = time.as_secs_f64() / medians[0].as_secs_f64();
            println!("  {name:<36} {time:>12.2?} {of_std:>7.2}x");
        }
    }

    fn time(&self, shared: &Path, case: &dyn Fn(&Path)) -> Duration {
        let fresh = self.writes.then(|| tempfile::tempdir().expect("a temporary directory"));
        let dir = fresh.as_ref().map_or(shared, |fresh| fresh.path());
        let start = Instant::now();
        case(dir);
        start.elapsed()
    }
}

fn name(n: usize) -> String {
    format!("f{n:04}")
}

fn read_through(dir: &Path, step: usize) {
    let (mut file, mut buffer) =
        (std::fs::File::open(dir.join("large")).expect("it is there"), vec![0; step]);
    while file.read(&mut buffer).expect("readable") > 0 {}
}

fn write_through(dir: &Path, step: usize) {
    let (mut file, bytes) =
        (std::fs::File::create(dir.join("large")).expect("a new file"), vec![b'x'; step]);
    (0..LARGE_BYTES / step).for_each(|_| file.write_all(&bytes).expect("room for it"));
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Opens each of the small files, makes one call and closes it.
fn each_file(open: &str, call: &str) -> String {
    format!(
        "(loop $next
            (call $number (local.get $i))
            (local.set $fd {open})
            (call $must (i32.ne (call $once_{call} (local.get $fd) (i32.const {SMALL_BYTES}))
                (i32.const {SMALL_BYTES})))
            (call $must (call $close (local.get $fd)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const {FILES}))))"
    )
}

/// A program. Its memory: at 0 the name of a small file, at 8 that of the large one, at 13 that of the
/// directory; at 16 what calls give back, at 24 one vector over the buffer at 64 KiB.
fn module_of(body: &str) -> Vec<u8> {
    let through = |call: &str| {
        format!(
            r#"(func $once_{call} (param $fd i32) (param $len i32) (result i32)
                (i32.store (i32.const 24) (i32.const 65536))
                (i32.store (i32.const 28) (local.get $len))
                (call $must (call ${call} (local.get $fd) (i32.const 24) (i32.const 1) (i32.const 20)))
                (i32.load (i32.const 20)))
            (func $through_{call} (param $fd i32) (param $step i32) (local $left i32)
                (local.set $left (i32.const {LARGE_BYTES}))
                (loop $next
                    (local.set $left (i32.sub (local.get $left)
                        (call $once_{call} (local.get $fd) (local.get $step))))
                    (br_if $next (i32.gt_s (local.get $left) (i32.const 0))))
                (call $must (call $close (local.get $fd))))"#
        )
    };
    let (read, write) = (through("read"), through("write"));
    let wat = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "path_open"
                (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_readdir"
                (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
            (memory (export "memory") 2)
            (data (i32.const 0) "f0000\00\00\00large.")
            (func $must (param i32) (if (local.get 0) (then unreachable)))
            ;; With the rights to read and to list; to write as well, if it may create (1).
            (func $open_at (param $name i32) (param $len i32) (param $oflags i32) (result i32)
                (call $must (call $open (i32.const 3) (i32.const 0)
                    (local.get $name) (local.get $len) (local.get $oflags)
                    (select (i64.const 0x42) (i64.const 0x4002)
                        (i32.and (local.get $oflags) (i32.const 1)))
                    (i64.const 0) (i32.const 0) (i32.const 16)))
                (i32.load (i32.const 16)))
            ;; Writes four digits into the name of a small file.
            (func $number (param $n i32) (local $at i32)
                (local.set $at (i32.const 4))
                (loop $next
                    (i32.store8 (local.get $at)
                        (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
                    (local.set $n (i32.div_u (local.get $n) (i32.const 10)))
                    (local.set $at (i32.sub (local.get $at) (i32.const 1)))
                    (br_if $next (local.get $at))))
            {read}
            {write}
            ;; By 4 KiB, as the C library does: goes on behind the last entry that is there wholly.
            (func $list (param $fd i32) (local $cookie i64) (local $at i32) (local $next i32)
                (loop $again
                    (call $must (call $readdir (local.get $fd) (i32.const 65536) (i32.const 4096)
                        (local.get $cookie) (i32.const 20)))
                    (local.set $at (i32.const 65536))
                    (block $done
                        (loop $entry
                            (local.set $next (i32.add (local.get $at) (i32.const 24)))
                            (br_if $done (i32.gt_u (local.get $next)
                                (i32.add (i32.const 65536) (i32.load (i32.const 20)))))
                            (local.set $next
                                (i32.add (local.get $next) (i32.load offset=16 (local.get $at))))
                            (br_if $done (i32.gt_u (local.get $next)
                                (i32.add (i32.const 65536) (i32.load (i32.const 20)))))
                            (local.set $cookie (i64.load (local.get $at)))
                            (local.set $at (local.get $next))
                            (br $entry)))
                    (br_if $again (i32.eq (i32.load (i32.const 20)) (i32.const 4096)))))
            (func (export "_start") (local $i i32) (local $fd i32) {body}))"#
    );
    wat::parse_str(wat).expect("our own module")
}

#[cfg(feature = "oracle")]
mod peer {
    use std::path::Path;

    use wasmtime::{Config, Engine, InstancePre, Linker, Module, Store};
    use wasmtime_wasi::p1::{self, WasiP1Ctx};
    use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

    /// A program under wasmtime-wasi, compiled once, on an engine as ours is.
    pub(crate) struct Peer {
        linked: InstancePre<WasiP1Ctx>,
    }

    impl Peer {
        pub(crate) fn new(wasm: &[u8]) -> Peer {
            let mut config = Config::new();
            config.epoch_interruption(true).cranelift_nan_canonicalization(true);
            let engine = Engine::new(&config).expect("an engine");
            let mut linker = Linker::new(&engine);
            p1::add_to_linker_sync(&mut linker, |cx| cx).expect("its own functions");
            let module = Module::new(&engine, wasm).expect("our own module");
            Peer { linked: linker.instantiate_pre(&module).expect("preview 1 only") }
        }

        /// On a real directory.
        pub(crate) fn run(&self, dir: &Path) {
            let mut builder = WasiCtxBuilder::new();
            builder.allow_blocking_current_thread(true);
            builder.preopened_dir(dir, "/", FsPerms::ReadWrite).expect("a directory");
            let mut store = Store::new(self.linked.module().engine(), builder.build_p1());
            store.set_epoch_deadline(1);
            let instance = self.linked.instantiate(&mut store).expect("our own module");
            let start = instance.get_typed_func::<(), ()>(&mut store, "_start").expect("a program");
            start.call(&mut store, ()).expect("it ends");
        }
    }
}
