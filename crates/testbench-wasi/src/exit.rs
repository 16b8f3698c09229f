//! Why a guest ended, and its whole result.

use std::fmt;
use std::process::{ExitStatus, Output};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use testbench_clock::{Stuck, StuckReport};
use wasmtime::{GcHeapOutOfMemory, ThrownException, Trap, WasmBacktrace};

use crate::backtrace::{Frame, frames};
use crate::limits::{Limit, Limits};

/// The whole result of a guest that has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finished {
    /// Why it ended.
    pub exit: Exit,
    /// The bytes written to stdout, if that was [`Stdout::Capture`](crate::Stdout::Capture).
    pub stdout: Vec<u8>,
    /// The bytes written to stderr, if that was [`Stdout::Capture`](crate::Stdout::Capture).
    pub stderr: Vec<u8>,
    /// How far the guest's monotonic clock moved from its start to its end.
    pub virtual_time: Duration,
    /// Every limit that it reached, in order, each once; also those that it survived.
    pub limits_hit: Vec<Limit>,
    /// Where it was when a trap, a limit or a kill ended it, innermost call first. Empty after
    /// an exit, and after a kill that came while it waited in a call to the host.
    pub backtrace: Arc<[Frame]>,
}

impl Finished {
    /// The result of a program that was no guest, without output.
    pub fn new(exit: Exit) -> Finished {
        Finished {
            exit,
            stdout: Vec::new(),
            stderr: Vec::new(),
            virtual_time: Duration::ZERO,
            limits_hit: Vec::new(),
            backtrace: Arc::default(),
        }
    }
}

/// The result as the standard library has it.
impl From<Finished> for Output {
    fn from(finished: Finished) -> Output {
        let Finished { exit, stdout, stderr, .. } = finished;
        Output { status: exit.status(), stdout, stderr }
    }
}

/// Why it ended, and below that each limit that it had reached and survived:
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

/// Why a guest ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Exit {
    /// It returned from `_start` (0) or called `proc_exit`. The whole number is kept; a process
    /// on Unix would show its lowest eight bits.
    Code(u32),
    /// It did something that WebAssembly forbids.
    Trap(TrapReport),
    /// It reached a limit that no errno can report.
    Limit(Limit),
    /// It waited for something that can never come.
    Deadlock(Arc<StuckReport>),
    /// It was ended from outside, for this reason.
    Killed(Arc<str>),
    /// It was no guest but a program of the host's, and this signal ended it.
    Signal(i32),
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

    /// The number, on Linux, of the signal that ended it, unless it ended by itself: `SIGABRT` for a
    /// trap, `SIGKILL` for a limit, a deadlock or a kill.
    pub fn signal(&self) -> Option<i32> {
        match self {
            Exit::Code(_) => None,
            Exit::Signal(number) => Some(*number),
            Exit::Trap(_) => Some(6),
            Exit::Limit(_) | Exit::Deadlock(_) | Exit::Killed(_) => Some(9),
        }
    }

    /// The status that a parent sees: the low eight bits of the code, or the signal. Windows has no
    /// signals, so there it is the code with which a POSIX shell reports one.
    pub fn status(&self) -> ExitStatus {
        let code = self.code().unwrap_or_default() & 0xff;
        let number = self.signal().map(|number| number & 0x7f);
        // Unix: the layout of a wait status, a signal in the low seven bits, else the code above them.
        #[cfg(unix)]
        return std::os::unix::process::ExitStatusExt::from_raw(
            number.unwrap_or((code << 8) as i32),
        );
        #[cfg(not(unix))]
        std::os::windows::process::ExitStatusExt::from_raw(
            number.map_or(code, |number| 128 + number as u32),
        )
    }

    /// How a program of the host's ended that left this status.
    pub fn of_status(status: ExitStatus) -> Exit {
        #[cfg(unix)]
        if let Some(number) = std::os::unix::process::ExitStatusExt::signal(&status) {
            return Exit::Signal(number);
        }
        Exit::Code(status.code().unwrap_or_default().cast_unsigned())
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
            Exit::Signal(number) => write!(f, "ended by signal {number}"),
        }
    }
}

/// Host functions end a guest by returning its exit as an error.
impl std::error::Error for Exit {}

impl From<Stuck> for Exit {
    fn from(stuck: Stuck) -> Self {
        match stuck {
            Stuck::Deadlock(report) => Exit::Deadlock(report),
            other => Exit::Killed(other.to_string().into()),
        }
    }
}

/// The forbidden operation that ended a guest, and where.
///
/// The text is the same in every run, whatever the compiler and the machine: no code addresses
/// are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrapReport {
    /// The forbidden operation.
    pub kind: TrapKind,
    /// The same as a sentence, with details where there are some.
    pub message: String,
    /// Where the guest was, innermost call first; at most
    /// [`BACKTRACE_FRAMES_MAX`](crate::BACKTRACE_FRAMES_MAX) calls.
    pub backtrace: Arc<[Frame]>,
}

impl fmt::Display for TrapReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trap: {}", self.message)?;
        self.backtrace.iter().try_for_each(|frame| write!(f, "\n    at {frame}"))
    }
}

/// Declares each kind once: its name, wasmtime's name for it, and its sentence.
macro_rules! trap_kinds {
    ($($(#[$doc:meta])* $kind:ident = $theirs:ident, $text:literal;)*) => {
        /// The forbidden operation, in the words of the WebAssembly specification.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum TrapKind {
            $($(#[$doc])* $kind,)*
            /// An exception that nothing catches.
            UncaughtException,
            /// Any other one; [`TrapReport::message`] names it.
            Other,
        }

        fn kind_and_message(trap: Trap) -> (TrapKind, String) {
            match trap {
                $(Trap::$theirs => (TrapKind::$kind, $text.to_owned()),)*
                other => {
                    let text = other.to_string();
                    (TrapKind::Other, text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned())
                }
            }
        }
    };
}

trap_kinds! {
    /// `unreachable` was executed, as `abort` and a Rust panic do.
    Unreachable = UnreachableCodeReached,
        "`unreachable` was executed (an abort, a panic or a failed assertion)";
    /// More calls within calls than the stack holds (512 KiB of the guest's frames).
    StackOverflow = StackOverflow, "the call stack is exhausted (512 KiB; endless recursion?)";
    /// A load or store outside the memory.
    MemoryOutOfBounds = MemoryOutOfBounds, "out of bounds memory access";
    /// A table access outside the table.
    TableOutOfBounds = TableOutOfBounds, "out of bounds table access";
    /// A call through a table element that is empty.
    IndirectCallToNull = IndirectCallToNull, "indirect call to an empty table element";
    /// A call through a table element of another type.
    BadSignature = BadSignature, "indirect call to a function of another type";
    /// An integer division whose result does not fit.
    IntegerOverflow = IntegerOverflow, "integer overflow";
    /// An integer division by zero.
    DivisionByZero = IntegerDivisionByZero, "integer division by zero";
    /// A float that does not fit the integer to which it is converted.
    BadConversionToInteger = BadConversionToInteger,
        "a float does not fit the integer it is converted to";
    /// An atomic access that is not aligned.
    UnalignedAtomic = HeapMisaligned, "unaligned atomic access";
    /// A null reference was used.
    NullReference = NullReference, "a null reference was used";
}

/// The error with which a host function ends its guest.
///
/// wasmtime adds a backtrace of the guest to every error of a host function, looked up in the module's
/// debug information, unless the error carries one already. An exit is no failure
/// and needs none, so it carries an empty one.
pub(crate) fn exit_error(exit: Exit) -> wasmtime::Error {
    /// No code ever runs in this store, so a backtrace captured in it is empty.
    static NOWHERE: LazyLock<Option<wasmtime::Store<()>>> = LazyLock::new(|| {
        let mut config = wasmtime::Config::new();
        config.enable_compiler(false);
        config.wasm_backtrace_max_frames(None);
        let engine = wasmtime::Engine::new(&config).ok()?;
        Some(wasmtime::Store::new(&engine, ()))
    });
    let error = wasmtime::Error::from(exit);
    match &*NOWHERE {
        Some(nowhere) => error.context(WasmBacktrace::capture(nowhere)),
        None => error,
    }
}

/// Why the guest ended whose call failed with `error`, and where it was.
///
/// `stopped` is why the guest was told to end, if it was.
pub(crate) fn exit_of(
    error: &wasmtime::Error,
    stopped: Option<Exit>,
    limits: &Limits,
) -> (Exit, Arc<[Frame]>) {
    let backtrace = frames(error);
    let exit = match (error.downcast_ref::<Exit>(), error.downcast_ref::<Trap>(), stopped) {
        (Some(Exit::Code(code)), _, _) => Exit::Code(*code),
        // The first reason counts: a wait that was ended from outside only knows that it was.
        (Some(_), _, Some(first)) => first,
        (Some(exit), _, None) => exit.clone(),
        (None, Some(Trap::OutOfFuel), _) => {
            Exit::Limit(Limit::Fuel { units: limits.fuel.unwrap_or_default() })
        }
        // `struct.new` and its like cannot return -1, as `memory.grow` does.
        _ if error.is::<GcHeapOutOfMemory<()>>() => {
            Exit::Limit(Limit::Memory { bytes_max: limits.memory_bytes_max })
        }
        // It trapped by itself, even if it was told to end at the same moment.
        (None, Some(_), _) | (None, None, None) => {
            Exit::Trap(trap_report(error, backtrace.clone()))
        }
        (None, None, Some(exit)) => exit,
    };
    (exit, backtrace)
}

fn trap_report(error: &wasmtime::Error, backtrace: Arc<[Frame]>) -> TrapReport {
    let (kind, mut message) = match error.downcast_ref::<Trap>() {
        Some(trap) => kind_and_message(*trap),
        None if error.is::<ThrownException>() => {
            let text = "an exception was thrown that nothing catches";
            (TrapKind::UncaughtException, text.to_owned())
        }
        None => (TrapKind::Other, error.root_cause().to_string()),
    };
    // A host function that was given a bad address says which and where.
    if let Some(detail) = error.downcast_ref::<String>() {
        message = format!("{message}: {detail}");
    }
    TrapReport { kind, message, backtrace }
}
