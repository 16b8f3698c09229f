//! How a guest ended, and what is left of it.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use testbench_clock::StuckReport;
use wasmtime::{GcHeapOutOfMemory, ThrownException, Trap, WasmBacktrace};

use crate::kernel::Stop;
use crate::limits::{Limit, Limits};

/// What is left of a guest that has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finished {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote to stdout, if that was [`Stdout::Capture`](crate::Stdout::Capture).
    pub stdout: Vec<u8>,
    /// What it wrote to stderr, if that was [`Stdout::Capture`](crate::Stdout::Capture).
    pub stderr: Vec<u8>,
    /// How far the guest's monotonic clock moved from its start to its end.
    pub virtual_time: Duration,
    /// Every limit that it reached, in order, each once; also those that it survived.
    pub limits_hit: Vec<Limit>,
    /// Where it was when a trap, a limit or a kill ended it, innermost call first. Empty after
    /// an exit, and after a kill that came while it waited in a call to the host.
    pub backtrace: Arc<[Frame]>,
}

/// How it ended, and below that each limit that it had reached and survived:
///
/// ```text
/// exited with code 1
///     had wanted more than 8 open files (limit `open_files_max`)
/// ```
impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exit.fmt(f)?;
        let end = self.exit.limit();
        let mut survived = self.limits_hit.iter().filter(|&limit| Some(limit) != end.as_ref());
        survived.try_for_each(|limit| write!(f, "\n    had wanted {limit}"))
    }
}

/// How a guest ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Exit {
    /// It returned from `_start` (0) or called `proc_exit`. The whole number is kept; a process
    /// on Unix would show its lowest eight bits.
    Code(u32),
    /// It did what WebAssembly forbids.
    Trap(TrapReport),
    /// It reached a limit that cannot be answered by an errno.
    Limit(Limit),
    /// It waited for something that can never come.
    Deadlock(Arc<StuckReport>),
    /// It was ended from outside, for this reason.
    Killed(Arc<str>),
}

impl Exit {
    /// The limit that ended the guest, if one did: that of [`Exit::Limit`], or [`Limit::Stack`] for a
    /// [`TrapKind::StackOverflow`].
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Exit::Limit(limit) => Some(limit.clone()),
            Exit::Trap(trap) if trap.kind == TrapKind::StackOverflow => Some(Limit::Stack),
            _ => None,
        }
    }

    /// Whether the guest ended by itself with exit code 0.
    pub fn success(&self) -> bool {
        matches!(self, Exit::Code(0))
    }

    /// The exit code, if the guest ended by itself.
    pub fn code(&self) -> Option<u32> {
        match self {
            Exit::Code(code) => Some(*code),
            _ => None,
        }
    }
}

/// One sentence, with a trap's backtrace below it.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exited with code {code}"),
            Exit::Trap(trap) => trap.fmt(f),
            Exit::Limit(limit) => write!(f, "ended by a limit: it wanted {limit}"),
            Exit::Deadlock(report) => {
                write!(f, "deadlock: it waits for something that can never come\n{report}")
            }
            Exit::Killed(why) => write!(f, "killed: {why}"),
        }
    }
}

/// What a guest did that WebAssembly forbids, and where.
///
/// The text is the same in every run, whatever the compiler and the machine: no code addresses
/// are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrapReport {
    /// What was forbidden.
    pub kind: TrapKind,
    /// The same as a sentence, with details where there are some.
    pub message: String,
    /// Where it was, innermost call first; at most [`BACKTRACE_FRAMES_MAX`] calls.
    pub backtrace: Arc<[Frame]>,
}

/// How many calls of a backtrace are kept: enough to see where a recursion comes from.
pub const BACKTRACE_FRAMES_MAX: usize = 64;

impl fmt::Display for TrapReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trap: {}", self.message)?;
        for frame in self.backtrace.iter() {
            write!(f, "\n    at {frame}")?;
        }
        Ok(())
    }
}

/// What was forbidden, in the words of the WebAssembly specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrapKind {
    /// `unreachable` was executed, as `abort` and a Rust panic do.
    Unreachable,
    /// More calls within calls than the stack holds (512 KiB of the guest's frames).
    StackOverflow,
    /// A load or store outside the memory.
    MemoryOutOfBounds,
    /// A table access outside the table.
    TableOutOfBounds,
    /// A call through a table element that is empty.
    IndirectCallToNull,
    /// A call through a table element of another type.
    BadSignature,
    /// An integer division whose result does not fit.
    IntegerOverflow,
    /// An integer division by zero.
    DivisionByZero,
    /// A float that does not fit the integer to which it is converted.
    BadConversionToInteger,
    /// An atomic access that is not aligned.
    UnalignedAtomic,
    /// A null reference was used.
    NullReference,
    /// An exception that nothing catches.
    UncaughtException,
    /// Something else; the message says what.
    Other,
}

/// One call of a backtrace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Frame {
    /// The function's name, demangled; `function 7` where the module does not name it.
    pub function: String,
    /// The source file, if the module carries debug information.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u32>,
    /// The column in the line, from 1.
    pub column: Option<u32>,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.function)?;
        if let Some(file) = &self.file {
            write!(f, " ({file}")?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// The error with which a host function ends its guest.
///
/// wasmtime gives every error that comes from a host function a backtrace of the guest, looked up
/// in the module's debug information, unless the error carries one already. An exit is no failure
/// and wants none, so it carries an empty one.
pub(crate) fn stop_error(stop: Stop) -> wasmtime::Error {
    /// No code ever runs in this store, so a backtrace captured in it is empty.
    static NOWHERE: LazyLock<Option<wasmtime::Store<()>>> = LazyLock::new(|| {
        let mut config = wasmtime::Config::new();
        config.enable_compiler(false);
        config.wasm_backtrace_max_frames(None);
        let engine = wasmtime::Engine::new(&config).ok()?;
        Some(wasmtime::Store::new(&engine, ()))
    });
    let error = wasmtime::Error::from(stop);
    match &*NOWHERE {
        Some(nowhere) => error.context(WasmBacktrace::capture(nowhere)),
        None => error,
    }
}

/// What `error`, which came out of a call into a guest, says about its end.
///
/// `stopped` is why the guest was told to end, if it was.
pub(crate) fn exit_of(
    error: &wasmtime::Error,
    stopped: Option<Stop>,
    limits: &Limits,
) -> (Exit, Arc<[Frame]>) {
    let backtrace = frames(error);
    let exit = match (error.downcast_ref::<Stop>(), error.downcast_ref::<Trap>(), stopped) {
        (Some(Stop::Exit(code)), _, _) => Exit::Code(*code),
        // The first reason counts: a wait that was ended from outside only knows that it was.
        (Some(_), _, Some(first)) => exit_of_stop(first),
        (Some(stop), _, None) => exit_of_stop(stop.clone()),
        (None, Some(Trap::OutOfFuel), _) => {
            Exit::Limit(Limit::Fuel { units: limits.fuel.unwrap_or_default() })
        }
        // `struct.new` and its like cannot answer -1, as `memory.grow` does.
        _ if error.is::<GcHeapOutOfMemory<()>>() => {
            Exit::Limit(Limit::Memory { bytes_max: limits.memory_bytes_max })
        }
        // It trapped by itself, be it at the same moment.
        (None, Some(_), _) | (None, None, None) => {
            Exit::Trap(trap_report(error, backtrace.clone()))
        }
        (None, None, Some(stop)) => exit_of_stop(stop),
    };
    (exit, backtrace)
}

fn exit_of_stop(stop: Stop) -> Exit {
    match stop {
        Stop::Exit(code) => Exit::Code(code),
        Stop::Limit(limit) => Exit::Limit(limit),
        Stop::Deadlock(report) => Exit::Deadlock(report),
        Stop::Killed(why) => Exit::Killed(why),
    }
}

fn trap_report(error: &wasmtime::Error, backtrace: Arc<[Frame]>) -> TrapReport {
    let (kind, message) = match error.downcast_ref::<Trap>() {
        Some(trap) => {
            let kind = kind_of(*trap);
            let message = match kind {
                TrapKind::Other => {
                    let text = trap.to_string();
                    text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned()
                }
                known => describe(known).to_owned(),
            };
            (kind, message)
        }
        None if error.is::<ThrownException>() => {
            let kind = TrapKind::UncaughtException;
            (kind, describe(kind).to_owned())
        }
        None => (TrapKind::Other, error.root_cause().to_string()),
    };
    // A host function that was given a bad address says which and where.
    let message = match error.downcast_ref::<String>() {
        Some(detail) => format!("{message}: {detail}"),
        None => message,
    };
    TrapReport { kind, message, backtrace }
}

fn kind_of(trap: Trap) -> TrapKind {
    match trap {
        Trap::UnreachableCodeReached => TrapKind::Unreachable,
        Trap::StackOverflow => TrapKind::StackOverflow,
        Trap::MemoryOutOfBounds => TrapKind::MemoryOutOfBounds,
        Trap::TableOutOfBounds => TrapKind::TableOutOfBounds,
        Trap::IndirectCallToNull => TrapKind::IndirectCallToNull,
        Trap::BadSignature => TrapKind::BadSignature,
        Trap::IntegerOverflow => TrapKind::IntegerOverflow,
        Trap::IntegerDivisionByZero => TrapKind::DivisionByZero,
        Trap::BadConversionToInteger => TrapKind::BadConversionToInteger,
        Trap::HeapMisaligned => TrapKind::UnalignedAtomic,
        Trap::NullReference => TrapKind::NullReference,
        _ => TrapKind::Other,
    }
}

fn describe(kind: TrapKind) -> &'static str {
    match kind {
        TrapKind::Unreachable => {
            "`unreachable` was executed (an abort, a panic or a failed assertion)"
        }
        TrapKind::StackOverflow => "the call stack is exhausted (512 KiB; endless recursion?)",
        TrapKind::MemoryOutOfBounds => "out of bounds memory access",
        TrapKind::TableOutOfBounds => "out of bounds table access",
        TrapKind::IndirectCallToNull => "indirect call to an empty table element",
        TrapKind::BadSignature => "indirect call to a function of another type",
        TrapKind::IntegerOverflow => "integer overflow",
        TrapKind::DivisionByZero => "integer division by zero",
        TrapKind::BadConversionToInteger => "a float does not fit the integer it is converted to",
        TrapKind::UnalignedAtomic => "unaligned atomic access",
        TrapKind::NullReference => "a null reference was used",
        TrapKind::UncaughtException => "an exception was thrown that nothing catches",
        TrapKind::Other => "unknown trap",
    }
}

/// The frames of the guest that `error` carries; inlined calls are calls of their own.
fn frames(error: &wasmtime::Error) -> Arc<[Frame]> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Arc::default() };
    let mut frames = Vec::new();
    for frame in backtrace.frames() {
        let own_name = || match frame.func_name() {
            Some(name) => demangle(name),
            None => format!("function {}", frame.func_index()),
        };
        if frame.symbols().is_empty() {
            frames.push(Frame { function: own_name(), file: None, line: None, column: None });
        }
        for symbol in frame.symbols() {
            frames.push(Frame {
                function: symbol.name().map_or_else(own_name, demangle),
                file: symbol.file().map(str::to_owned),
                line: symbol.line(),
                column: symbol.column(),
            });
        }
    }
    frames.truncate(BACKTRACE_FRAMES_MAX);
    frames.into()
}

fn demangle(name: &str) -> String {
    /// Longer names are shown as they are, cut off: demangling may multiply their length.
    const BYTES_MAX: usize = 1024;
    if name.len() > BYTES_MAX {
        return name.chars().take(BYTES_MAX).chain(['…']).collect();
    }
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return format!("{rust:#}");
    }
    match cpp_demangle::Symbol::new(name) {
        // Without the prefix it takes a function called `s` for the type `short`.
        Ok(cpp) if name.starts_with("_Z") => cpp.demangle().unwrap_or_else(|_| name.to_owned()),
        _ => name.to_owned(),
    }
}
