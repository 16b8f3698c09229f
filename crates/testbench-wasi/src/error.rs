//! Why a module is refused, and why a guest was not started.

use std::fmt;
use std::io;
use std::path::PathBuf;

use testbench_clock::Ended;
use testbench_overlay::{Errno, GuestPath};

/// Why a module cannot be run. Each text names the module or its path, the cause, and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are the values in the text")]
pub enum ModuleError {
    /// There is no file at the path.
    #[error("{path}: there is no such file", path = path.display())]
    Missing { path: PathBuf },
    /// The file exists and cannot be read, or is a directory.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The file's content has changed since the module was made.
    #[error("{path}: has changed since it was first read; open it again", path = path.display())]
    Changed { path: PathBuf },
    /// The module is larger than [`Module::BYTES_MAX`](crate::Module::BYTES_MAX).
    #[error("`{module}` has {bytes} bytes; modules of up to {bytes_max} bytes are read")]
    TooLarge { module: String, bytes: u64, bytes_max: u64 },
    /// The content is not WebAssembly; `found` is a clause that tells its kind.
    #[error("`{module}` is not a WebAssembly module: {found}")]
    NotWasm { module: String, found: String },
    /// The content starts like a module and ends too early, or is WebAssembly of another version.
    #[error(
        "`{module}` is damaged: {reason} (at byte {offset}); copy it again, or rebuild it with its \
         compiler"
    )]
    Corrupt { module: String, offset: u64, reason: String },
    /// It is well-formed, but uses something that is not supported here.
    #[error("`{module}` cannot be compiled: {reason}")]
    Unsupported { module: String, reason: String },
    /// It uses the exception handling that preceded the final one.
    #[error(
        "`{module}` uses the legacy exception handling instructions (`try`, `catch`, `rethrow`), \
         which were replaced before WebAssembly 3.0; rebuild it for the final ones (clang: \
         `-mllvm -wasm-use-legacy-eh=false`), or translate it with binaryen's `wasm-opt \
         --translate-to-exnref`"
    )]
    LegacyExceptions { module: String },
    /// It is a component, not a core module.
    #[error(
        "`{module}` is a WebAssembly component (WASI preview 2); only core modules are run so far: \
         build it for `wasm32-wasip1`"
    )]
    Component { module: String },
    /// It has a memory that threads can share, and threads are not supported yet.
    #[error(
        "`{module}` has a shared memory, as programs with threads have, which is not supported so \
         far; build it without threads (target `wasm32-wasip1`)"
    )]
    Threads { module: String },
    /// It imports functions that do not exist here: `unknown`, each as `module::name`. `hint` is the name
    /// that was probably meant, or the modules that are known.
    #[error("`{module}` imports {unknown}, which nothing provides; {hint}")]
    UnknownImport { module: String, unknown: NameList, hint: String },
    /// It imports a known function with another signature than that function has.
    #[error(
        "`{module}` imports `{import_module}::{import_name}` as {wanted}, but it is {provided}; was \
         the module built for another version of WASI?"
    )]
    ImportType {
        module: String,
        import_module: String,
        import_name: String,
        wanted: String,
        provided: String,
    },
    /// It is a library: it has no `_start`. `exports` lists its exports.
    #[error(
        "`{module}` is not a program: it has no `_start` function (it exports {exports}); link it as a \
         command, not as a library or reactor"
    )]
    NoStart { module: String, exports: NameList },
    /// Its `_start`, or another function that is to start it, takes parameters or has results.
    #[error("`{module}` cannot be started: its `{function}` is {found}, not a function `() -> ()`")]
    StartType { module: String, function: String, found: String },
    /// wasmtime could not set up an engine on this machine.
    #[error("no engine for `{module}`: {reason}")]
    Engine { module: String, reason: String },
}

/// Names in an error's text, where a few stand for many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameList(pub Vec<String>);

impl fmt::Display for NameList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// As many as fit a line or two; a module built for another host has dozens of unknown imports.
        const SHOWN_MAX: usize = 12;
        let quoted: Vec<String> =
            self.0.iter().take(SHOWN_MAX).map(|name| format!("`{name}`")).collect();
        match (&self.0[..], self.0.len().saturating_sub(SHOWN_MAX)) {
            ([], _) => f.write_str("nothing"),
            (_, 0) => f.write_str(&quoted.join(", ")),
            (_, more) => write!(f, "{} and {more} more", quoted.join(", ")),
        }
    }
}

/// Why a guest was not started. Nothing of it has run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are the values in the text")]
pub enum StartError {
    /// The module cannot be run.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// An argument contains a NUL byte, which would end it early in the guest; `argv[0]` has index 0.
    #[error("argument {index} of `{guest}` contains a NUL byte")]
    NulInArgument { guest: String, index: usize },
    /// An environment variable that the guest could not read back.
    #[error("environment variable {key:?} of `{guest}` {why}")]
    Environment { guest: String, key: String, why: &'static str },
    /// The working directory is not an absolute path.
    #[error("the working directory {cwd:?} of `{guest}` is not an absolute path")]
    RelativeCwd { guest: String, cwd: String },
    /// The working directory cannot be opened; `ENOENT` if it is in no mount.
    #[error(
        "the guest's working directory `{}` cannot be opened: {errno}; it must be a directory in \
         one of the guest's mounts",
        GuestPath::new(guest_path)
    )]
    Cwd { guest_path: Vec<u8>, errno: Errno },
    /// A mount cannot be opened.
    #[error("the guest's mount `{}` cannot be opened: {errno}", GuestPath::new(guest_path))]
    Mount { guest_path: Vec<u8>, errno: Errno },
    /// The session from which clock or files were to be taken has ended.
    #[error("`{guest}` was not started: {ended}")]
    SessionEnded {
        guest: String,
        #[source]
        ended: Ended,
    },
    /// The system refused a thread for the guest.
    #[error("no thread for `{guest}`: {source}")]
    Thread { guest: String, source: io::Error },
}
