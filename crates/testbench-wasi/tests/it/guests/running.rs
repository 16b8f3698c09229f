//! How guests end: exits, traps, limits, kills; and that hostile ones end at all.

use std::sync::Arc;
use std::time::Duration;

use testbench_clock::{Clock, MockClock};
use testbench_wasi::{
    Cancel, CompilationCache, Engine, EngineConfig, Exit, Finished, GuestSpec, Limit, Limits,
    Module, TrapKind, run, start,
};

const ENDLESS: &str = r#"(module $endless
    (func $spin (loop $again (br $again)))
    (func $_start (export "_start") (call $spin)))"#;

fn spec(wat: &str) -> GuestSpec {
    let wasm = wat::parse_str(wat).expect("the test's own module");
    GuestSpec::new(Module::from_bytes("guest", wasm).expect("the test's own module"))
}

/// A program with this body for `_start`.
fn program(body: &str) -> GuestSpec {
    spec(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (table $table 2 funcref)
            (type $unary (func (param i32)))
            (func $start (export "_start") {body}))"#
    ))
}

/// The same guest on another engine.
fn on(spec: GuestSpec, config: EngineConfig) -> GuestSpec {
    GuestSpec::new(spec.module().on(&config.build().unwrap()).unwrap())
}

fn finished(spec: GuestSpec) -> Finished {
    run(spec).expect("the guest should be started")
}

fn limited(spec: GuestSpec, limits: Limits) -> Finished {
    finished(spec.limits(limits))
}

fn millis(watchdog_ms: u64) -> Limits {
    Limits { watchdog: Some(Duration::from_millis(watchdog_ms)), ..Limits::default() }
}

#[test]
fn exits() {
    let code = |body: &str| finished(program(body)).exit.code();
    assert_eq!(code(""), Some(0));
    assert_eq!(code("(call $exit (i32.const 0))"), Some(0));
    assert_eq!(code("(call $exit (i32.const 42))"), Some(42));
    // The whole number is kept.
    assert_eq!(code("(call $exit (i32.const 256))"), Some(256));
    assert_eq!(code("(call $exit (i32.const -1))"), Some(u32::MAX));
    let after_exit = finished(program("(call $exit (i32.const 7)) (unreachable)"));
    assert_eq!(after_exit.exit.code(), Some(7));
    assert!(after_exit.backtrace.is_empty());
}

#[test]
fn every_trap_has_its_kind_and_text() {
    let bodies = [
        "(unreachable)",
        "(drop (i32.load (i32.const 65536)))",
        "(i32.store (i32.const -4) (i32.const 0))",
        "(drop (table.get $table (i32.const 2)))",
        "(call_indirect $table (type $unary) (i32.const 0) (i32.const 1))",
        "(table.set $table (i32.const 1) (ref.func $start))
         (call_indirect $table (type $unary) (i32.const 0) (i32.const 1))",
        "(drop (i32.div_s (i32.const -2147483648) (i32.const -1)))",
        "(drop (i64.rem_u (i64.const 1) (i64.const 0)))",
        "(drop (i32.trunc_f64_s (f64.const nan)))",
        "(drop (i32.atomic.load (i32.const 1)))",
        "(call_ref $unary (i32.const 0) (ref.null $unary))",
        "(call $start)",
    ];
    let mut text = String::new();
    for body in bodies {
        let body = format!("{body} (; declared: ;) (drop (ref.func $start))");
        match finished(program(&body)).exit {
            Exit::Trap(trap) => text += &format!("{:?}: {}\n", trap.kind, trap.message),
            other => panic!("{body}: {other}"),
        }
    }
    insta::assert_snapshot!(text, @r"
        Unreachable: `unreachable` was executed (an abort, a panic or a failed assertion)
        MemoryOutOfBounds: out of bounds memory access
        MemoryOutOfBounds: out of bounds memory access
        TableOutOfBounds: out of bounds table access
        IndirectCallToNull: indirect call to an empty table element
        BadSignature: indirect call to a function of another type
        IntegerOverflow: integer overflow
        DivisionByZero: integer division by zero
        BadConversionToInteger: a float does not fit the integer it is converted to
        UnalignedAtomic: unaligned atomic access
        NullReference: a null reference was used
        StackOverflow: the call stack is exhausted (512 KiB; endless recursion?)
        ");
}

#[test]
fn an_uncaught_exception_is_a_trap() {
    let thrown = finished(spec(
        r#"(module (tag $oops (param i32))
            (func $thrower (throw $oops (i32.const 1)))
            (func (export "_start") (call $thrower)))"#,
    ));
    insta::assert_snapshot!(thrown.exit, @r"
        trap: an exception was thrown that nothing catches
            at thrower
            at function 1
        ");
}

#[test]
fn final_exceptions_work() {
    let caught = finished(spec(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (tag $oops (param i32))
            (func $thrower (throw $oops (i32.const 23)))
            (func (export "_start")
                (block $caught (result i32)
                    (try_table (catch $oops $caught) (call $thrower))
                    (i32.const 0))
                (call $exit)))"#,
    ));
    assert_eq!(caught.exit.code(), Some(23));
}

#[test]
fn garbage_collected_guests_work() {
    let collected = finished(spec(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (type $cell (struct (field i32) (field (ref null $cell))))
            (func (export "_start") (local $list (ref null $cell)) (local $i i32)
                (loop $again
                    (local.set $list (struct.new $cell (local.get $i) (ref.null $cell)))
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $i) (i32.const 100000))))
                (call $exit (i32.rem_u (struct.get $cell 0 (local.get $list)) (i32.const 256)))))"#,
    ));
    assert_eq!(collected.exit.code(), Some(99_999 % 256));
}

#[test]
fn a_backtrace_names_functions_and_no_addresses() {
    let trapped = finished(spec(
        r#"(module $named
            (func $_ZN4core9panicking5panic17h0123456789abcdefE (unreachable))
            (func $_Z5outeri (call $_ZN4core9panicking5panic17h0123456789abcdefE))
            (func (call $_Z5outeri))
            (func $main (call 2))
            (func (export "_start") (call $main)))"#,
    ));
    let Exit::Trap(trap) = &trapped.exit else { panic!("{}", trapped.exit) };
    assert_eq!(trap.kind, TrapKind::Unreachable);
    assert_eq!(trap.backtrace, trapped.backtrace);
    insta::assert_snapshot!(trapped.exit, @r"
        trap: `unreachable` was executed (an abort, a panic or a failed assertion)
            at core::panicking::panic
            at outer(int)
            at function 2
            at main
            at function 4
        ");
}

#[test]
fn endless_recursion_ends_and_says_where_it_came_from() {
    let overflowed = finished(spec(
        r#"(module
            (func $again (call $again))
            (func (export "_start") (call $again)))"#,
    ));
    let Exit::Trap(trap) = &overflowed.exit else { panic!("{}", overflowed.exit) };
    assert_eq!(trap.kind, TrapKind::StackOverflow);
    assert_eq!(trap.backtrace.len(), testbench_wasi::BACKTRACE_FRAMES_MAX);
    assert!(trap.backtrace.iter().all(|frame| frame.function == "again"));
    assert_eq!(overflowed.limits_hit, [Limit::Stack]);
}

#[test]
fn a_start_section_may_trap_or_exit_or_loop() {
    let with = |body: &str| {
        spec(&format!(
            r#"(module
                (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (memory (export "memory") 1)
                (func $init {body}) (start $init)
                (func (export "_start") (call $exit (i32.const 9))))"#
        ))
    };
    assert_eq!(finished(with("")).exit.code(), Some(9));
    assert_eq!(finished(with("(call $exit (i32.const 3))")).exit.code(), Some(3));
    insta::assert_snapshot!(finished(with("(unreachable)")).exit, @r"
        trap: `unreachable` was executed (an abort, a panic or a failed assertion)
            at init
        ");
    let looped = limited(with("(loop $l (br $l))"), millis(20));
    assert!(matches!(looped.exit, Exit::Limit(Limit::Watchdog { .. })), "{}", looped.exit);
}

#[test]
fn segments_that_do_not_fit_trap() {
    let data = r#"(module (memory (export "memory") 1) (data (i32.const 65535) "xy")
        (func (export "_start")))"#;
    let elements =
        r#"(module (table 1 funcref) (elem (i32.const 1) func 0) (func (export "_start")))"#;
    insta::assert_snapshot!(finished(spec(data)).exit, @"trap: out of bounds memory access");
    insta::assert_snapshot!(finished(spec(elements)).exit, @"trap: out of bounds table access");
}

#[test]
fn the_watchdog_ends_an_endless_loop_and_tells_where_it_was() {
    let ended = limited(spec(ENDLESS), millis(30));
    insta::assert_snapshot!(ended.exit, @"ended by a limit: it wanted more than 30ms of real time (limit `watchdog`)");
    assert_eq!(ended.limits_hit, [Limit::Watchdog { after: Duration::from_millis(30) }]);
    let at: Vec<_> = ended.backtrace.iter().map(|frame| frame.function.as_str()).collect();
    assert_eq!(at, ["spin", "_start"]);
}

#[test]
fn the_watchdog_ends_a_long_bulk_instruction() {
    // Each fills 64 MiB over and over; checks are between them only.
    let body = "(drop (memory.grow (i32.const 1024)))
        (loop $l (memory.fill (i32.const 0) (i32.const 7) (i32.const 67108864)) (br $l))";
    let ended = limited(program(body), millis(30));
    assert!(matches!(ended.exit, Exit::Limit(Limit::Watchdog { .. })), "{}", ended.exit);
}

#[test]
fn another_thread_ends_an_endless_loop() {
    let cancel = Cancel::new();
    let handle = std::thread::spawn({
        let cancel = cancel.clone();
        move || cancel.cancel("enough")
    });
    let ended = finished(spec(ENDLESS).cancel(cancel.clone()));
    handle.join().unwrap();
    insta::assert_snapshot!(ended.exit, @"killed: enough");
    assert!(cancel.is_cancelled());
    // A handle that was used ends a later guest before it begins.
    let ended = finished(program("(call $exit (i32.const 1))").cancel(cancel));
    insta::assert_snapshot!(ended.exit, @"killed: enough");
    assert!(ended.backtrace.is_empty());
}

#[test]
fn one_kill_ends_one_guest() {
    // In real time all of them run at once; on a timeline they would take turns.
    let clock: Arc<dyn Clock> = testbench_clock::current();
    let guests: Vec<_> = (0..4)
        .map(|i| start(spec(ENDLESS).name(format!("g{i}")).clock(clock.clone())).unwrap())
        .collect();
    for (i, guest) in guests.iter().enumerate() {
        guest.kill(format!("number {i}"));
        let ended = guest.wait(&*clock).unwrap();
        assert_eq!(ended.exit.to_string(), format!("killed: number {i}"));
        assert!(guests[i + 1..].iter().all(|later| later.try_wait().is_none()));
    }
}

#[test]
fn a_guest_that_has_not_had_its_turn_can_be_killed() {
    // This thread has the turn, so the guest waits for its own until it is killed.
    let clock = MockClock::builder().build();
    let guest = start(spec(ENDLESS).clock(clock.clone())).unwrap();
    guest.kill("before it began");
    let ended = guest.wait(&*clock).unwrap();
    assert_eq!(ended.exit.to_string(), "killed: before it began");
}

#[test]
fn many_kills_at_once_all_arrive() {
    // All share the engine's counter, so each kill sends every guest to its flag.
    for _ in 0..20 {
        let clock: Arc<dyn Clock> = testbench_clock::current();
        let guests: Vec<_> =
            (0..8).map(|_| start(spec(ENDLESS).clock(clock.clone())).unwrap()).collect();
        std::thread::scope(|scope| {
            for guest in &guests {
                scope.spawn(|| guest.kill("all"));
            }
        });
        for guest in &guests {
            assert_eq!(guest.wait(&*clock).unwrap().exit.to_string(), "killed: all");
        }
    }
}

#[test]
fn started_guests_have_ids_that_are_no_process_ids() {
    let clock = MockClock::builder().build();
    let first = start(program("").clock(clock.clone())).unwrap();
    let second = start(program("").clock(clock.clone())).unwrap();
    assert!(first.id() > 4_194_304 && second.id() > first.id());
    assert_eq!(start(program("").clock(clock.clone()).id(7)).unwrap().id(), 7);
    assert!(first.wait(&*clock).unwrap().exit.success());
    // Killing and waiting again change nothing.
    first.kill("too late");
    assert!(first.wait(&*clock).unwrap().exit.success());
    assert!(first.try_wait().unwrap().exit.success());
}

#[test]
fn memory_is_refused_at_its_limit() {
    // Grows page by page until refused, then exits with the number of pages.
    let body = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (call $exit (memory.size))";
    let limits = Limits { memory_bytes_max: 10 << 16, ..Limits::default() };
    let grown = limited(program(body), limits);
    assert_eq!(grown.exit.code(), Some(10));
    assert_eq!(grown.limits_hit, [Limit::Memory { bytes_max: 10 << 16 }]);
    // By default as well.
    let grown = finished(program(
        &body.replace("(memory.grow (i32.const 1))", "(memory.grow (i32.const 256))"),
    ));
    assert_eq!(grown.exit.code(), Some(64 * 256 - 255));
    assert_eq!(grown.limits_hit, [Limit::Memory { bytes_max: Limits::MEMORY_BYTES_MAX }]);
}

#[test]
fn a_memory_that_is_too_large_from_the_start() {
    let huge = spec(r#"(module (memory (export "memory") 65536) (func (export "_start")))"#);
    insta::assert_snapshot!(finished(huge).exit, @"ended by a limit: it wanted a memory larger than 1073741824 bytes (limit `memory_bytes_max`)");
    let exact = spec(r#"(module (memory (export "memory") 16384) (func (export "_start")))"#);
    assert!(finished(exact).exit.success());
}

#[test]
fn tables_are_refused_at_their_limit() {
    let body = "(loop $l (br_if $l (i32.ne
            (table.grow $table (ref.null func) (i32.const 7)) (i32.const -1))))
        (call $exit (table.size $table))";
    let grown = finished(program(body));
    let max = Limits::TABLE_ELEMENTS_MAX;
    assert_eq!(grown.exit.code(), Some(u32::try_from(max - (max - 2) % 7).unwrap()));
    assert_eq!(grown.limits_hit, [Limit::Table { elements_max: max }]);
    // More than a slot of the pool holds.
    let limits = Limits { table_elements_max: 200_001, ..Limits::default() };
    let grown = limited(program(body), limits);
    assert_eq!(grown.exit.code(), Some(200_001 - (200_001 - 2) % 7));

    let huge = spec(r#"(module (table 4000000000 funcref) (func (export "_start")))"#);
    insta::assert_snapshot!(finished(huge).exit, @"ended by a limit: it wanted a table of more than 100000 elements (limit `table_elements_max`)");
}

#[test]
fn more_memories_and_tables_than_allowed() {
    let memories = |n: usize| {
        spec(&format!(r#"(module {} (func (export "_start")))"#, "(memory 1)".repeat(n)))
    };
    assert!(finished(memories(8)).exit.success());
    insta::assert_snapshot!(finished(memories(9)).exit, @"ended by a limit: it wanted more than 8 memories (limit `memories_max`)");
    let tables = |n: usize| {
        spec(&format!(r#"(module {} (func (export "_start")))"#, "(table 1 funcref)".repeat(n)))
    };
    assert!(finished(tables(16)).exit.success());
    insta::assert_snapshot!(finished(tables(17)).exit, @"ended by a limit: it wanted more than 16 tables (limit `tables_max`)");
    let limits = Limits { instances_max: 0, ..Limits::default() };
    insta::assert_snapshot!(limited(memories(1), limits).exit, @"ended by a limit: it wanted more than 0 instances (limit `instances_max`)");
}

#[test]
fn a_gc_heap_counts_as_memory() {
    let hoard = spec(
        r#"(module
            (type $bytes (array i8))
            (type $cell (struct (field (ref $bytes)) (field (ref null $cell))))
            (func (export "_start") (local $list (ref null $cell))
                (loop $again
                    (local.set $list (struct.new $cell
                        (array.new_default $bytes (i32.const 1000000)) (local.get $list)))
                    (br $again))))"#,
    );
    let limits = Limits { memory_bytes_max: 64 << 20, ..millis(20_000) };
    let ended = limited(hoard, limits);
    assert_eq!(ended.limits_hit, [Limit::Memory { bytes_max: 64 << 20 }], "{}", ended.exit);
    insta::assert_snapshot!(ended.exit, @"ended by a limit: it wanted a memory larger than 67108864 bytes (limit `memory_bytes_max`)");
}

#[test]
fn a_bad_address_given_to_the_host_traps_and_says_where() {
    let call = |pointer: &str| {
        finished(spec(&format!(
            r#"(module
                (import "wasi_snapshot_preview1" "random_get" (func $get (param i32 i32) (result i32)))
                (memory (export "memory") 1)
                (func $_start (export "_start") (drop (call $get (i32.const {pointer}) (i32.const 8)))))"#
        )))
    };
    let Exit::Trap(trap) = call("65530").exit else { panic!("it should trap") };
    assert_eq!(trap.kind, TrapKind::MemoryOutOfBounds);
    assert_eq!(trap.backtrace[0].function, "_start");
    assert!(trap.message.contains("random_get"), "{}", trap.message);
    assert!(call("65528").exit.success());
}

#[test]
fn fuel_ends_a_guest_at_the_same_instruction_each_time() {
    let counting = || {
        spec(
            r#"(module (memory (export "memory") 1)
                (func (export "_start") (local $i i32)
                    (loop $l
                        (local.set $i (i32.add (local.get $i) (i32.const 1)))
                        (i32.store (i32.const 0) (local.get $i))
                        (br $l))))"#,
        )
    };
    let limits = Limits { fuel: Some(100_000), ..Limits::default() };
    let ended = limited(counting(), limits);
    insta::assert_snapshot!(ended.exit, @"ended by a limit: it wanted more than 100000 units of work (limit `fuel`)");
    assert_eq!(ended.limits_hit, [Limit::Fuel { units: 100_000 }]);
    // Enough fuel changes nothing; none at all ends it at once.
    let enough = Limits { fuel: Some(1000), ..Limits::default() };
    assert_eq!(limited(program("(call $exit (i32.const 5))"), enough).exit.code(), Some(5));
    let none = Limits { fuel: Some(0), ..Limits::default() };
    let ended = limited(program(""), none);
    assert!(matches!(ended.exit, Exit::Limit(Limit::Fuel { units: 0 })), "{}", ended.exit);
}

#[test]
fn a_guest_with_fuel_can_be_killed_too() {
    let limits = Limits { fuel: Some(u64::MAX), ..millis(30) };
    let ended = limited(spec(ENDLESS), limits);
    assert!(matches!(ended.exit, Exit::Limit(Limit::Watchdog { .. })), "{}", ended.exit);
}

#[test]
fn traps_are_the_same_in_every_run_and_flavour() {
    let trap = |change: fn(GuestSpec) -> GuestSpec| {
        let body = "(drop (i32.load (i32.const 70000)))";
        finished(change(program(body))).exit.to_string()
    };
    let first = trap(|spec| spec);
    let flavours: [fn(GuestSpec) -> GuestSpec; 4] = [
        |spec| spec,
        |spec| spec.limits(Limits { fuel: Some(1000), ..Limits::default() }),
        |spec| on(spec, EngineConfig::new().canonical_nans(false)),
        |spec| on(spec, EngineConfig::new().interruptible(false)),
    ];
    for change in flavours {
        assert_eq!(trap(change), first);
    }
    insta::assert_snapshot!(first, @r"
        trap: out of bounds memory access
            at start
        ");
}

#[test]
fn nan_bits_are_canonical_unless_asked_otherwise() {
    // 0/0 has the sign bit set on x86-64 and not on ARM; canonical NaNs have it clear everywhere.
    let body = "(local $zero f32)
        (call $exit (i32.reinterpret_f32 (f32.div (local.get $zero) (local.get $zero))))";
    assert_eq!(finished(program(body)).exit.code(), Some(0x7fc0_0000));
    let native =
        finished(on(program(body), EngineConfig::new().canonical_nans(false))).exit.code().unwrap();
    assert_eq!(native & 0x7fff_ffff, 0x7fc0_0000);
    #[cfg(target_arch = "x86_64")]
    assert_eq!(native, 0xffc0_0000);
}

#[test]
fn guests_run_where_little_stack_is_left() {
    let deep = spec(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func $down (param $n i32)
                (if (local.get $n) (then (call $down (i32.sub (local.get $n) (i32.const 1))))))
            (func (export "_start") (call $down (i32.const 5000)) (call $exit (i32.const 4))))"#,
    );
    let deep = deep.module().bytes().unwrap();
    let endless = spec("(module (func $f (call $f)) (func (export \"_start\") (call $f)))");
    for kilobytes in [64, 256, 700, 900, 2048] {
        let (deep, endless) = (deep.clone(), endless.module().clone());
        let on_small_stack = move || {
            // Compiled there as well.
            let cache = CompilationCache::in_memory();
            let deep = Module::from_bytes_on(&Engine::with_cache(cache), "deep", deep).unwrap();
            let overflowed = finished(GuestSpec::new(endless));
            assert_eq!(overflowed.limits_hit, [Limit::Stack]);
            finished(GuestSpec::new(deep)).exit.code()
        };
        let thread = std::thread::Builder::new().stack_size(kilobytes << 10);
        let code = thread.spawn(on_small_stack).unwrap().join().unwrap();
        assert_eq!(code, Some(4), "{kilobytes} KiB");
    }
}

#[test]
fn more_guests_at_once_than_the_pool_has_slots() {
    // Each waits for its own kill, so all of them hold a memory at the same time.
    let guest = spec(
        r#"(module (memory (export "memory") 1)
            (func (export "_start") (loop $l (br $l))))"#,
    );
    let module = guest.module().clone();
    let clock: Arc<dyn Clock> = testbench_clock::current();
    let guests: Vec<_> = (0..300)
        .map(|_| start(GuestSpec::new(module.clone()).clock(clock.clone())).unwrap())
        .collect();
    // Not only started, but inside: a guest that runs now finds no slot.
    assert!(finished(GuestSpec::new(module).limits(millis(50))).exit.code().is_none());
    for guest in &guests {
        guest.kill("enough");
    }
    for guest in &guests {
        let ended = guest.wait(&*clock).unwrap();
        assert!(matches!(ended.exit, Exit::Killed(_)), "{}", ended.exit);
    }
}

#[test]
fn memory_of_an_earlier_guest_is_never_seen() {
    // Exits with 1 if any of its 16 pages is not zero, and leaves all of them dirty.
    let dirty = spec(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 16)
            (data (i32.const 100) "image")
            (func (export "_start") (local $i i32)
                (if (i32.ne (i32.load8_u (i32.const 100)) (i32.const 105)) (then (call $exit (i32.const 2))))
                (local.set $i (i32.const 1024))
                (loop $l
                    (if (i64.ne (i64.load (local.get $i)) (i64.const 0)) (then (call $exit (i32.const 1))))
                    (local.set $i (i32.add (local.get $i) (i32.const 8)))
                    (br_if $l (i32.lt_u (local.get $i) (i32.const 1048576))))
                (memory.fill (i32.const 0) (i32.const 255) (i32.const 1048576))
                (drop (memory.grow (i32.const 200)))
                (memory.fill (i32.const 0) (i32.const 255) (i32.const 14155776))))"#,
    );
    let module = dirty.module().clone();
    for _ in 0..20 {
        assert_eq!(finished(GuestSpec::new(module.clone())).exit.code(), Some(0));
    }
}

#[test]
fn an_observer_sees_what_a_guest_reads_and_writes() {
    use std::sync::Mutex;
    use testbench_wasi::{Observer, Stdin, Stdout};

    type Seen = Vec<(&'static str, Vec<u8>)>;

    let seen: Arc<Mutex<Seen>> = Arc::default();
    let observer = |name: &'static str| -> Observer {
        let seen = seen.clone();
        Arc::new(move |bytes: &[u8]| seen.lock().unwrap().push((name, bytes.to_vec())))
    };
    // Copies its input to its output, as much as it gets at a time, and ends at the end of it.
    let copies = r#"(module
        (import "wasi_snapshot_preview1" "fd_read"
            (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (loop $again
                (i32.store (i32.const 0) (i32.const 16))
                (i32.store (i32.const 4) (i32.const 2))
                (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
                (if (i32.eqz (i32.load (i32.const 4))) (then return))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (br $again))))"#;
    let ended = finished(
        spec(copies)
            .stdin(Stdin::from(b"abc".to_vec()).observed(observer("in")))
            .stdout(Stdout::Capture.observed(observer("out"))),
    );
    assert_eq!(ended.stdout, b"abc", "and what it writes gets there");
    let expected: [(&str, &[u8]); 5] =
        [("in", b"ab"), ("out", b"ab"), ("in", b"c"), ("out", b"c"), ("in", b"")];
    assert_eq!(*seen.lock().unwrap(), expected.map(|(name, bytes)| (name, bytes.to_vec())));
}
