//! Why a call of a plugin fails.

use std::io;
use std::sync::Arc;

use crate::backtrace::Frame;
use crate::error::{ModuleError, NameList, StartError};
use crate::exit::Exit;
use crate::module::Signature;

/// Why a plugin was not made, or a call of it failed.
///
/// [`PluginError::Ended`] is the only one after which the plugin's instance is gone; see
/// [`AfterEnd`](crate::AfterEnd). After each other one it goes on as if the call had not been made,
/// and holds no memory for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are the values in the text")]
pub enum PluginError {
    /// The module cannot be run, or the guest's specification is wrong.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It exports nothing of this name. `nearest` is the function with the most similar name.
    #[error("`{plugin}` exports no `{name}`{hint}; it exports {exports}", hint = nearest_hint(nearest))]
    NoExport { plugin: String, name: String, nearest: Option<String>, exports: NameList },
    /// The export of this name is not a function.
    #[error("`{plugin}` exports `{name}`, but that is {found}, not a function")]
    NotAFunction { plugin: String, name: String, found: String },
    /// The function has other parameter or result types.
    #[error("`{name}` of `{plugin}` is a function {found}, and was called as {wanted}")]
    Signature { plugin: String, name: String, wanted: Signature, found: Signature },
    /// A call with bytes or JSON needs the memory that they go through.
    #[error("`{plugin}` exports no memory named `memory`, through which bytes could be passed")]
    NoMemory { plugin: String },
    /// The plugin ended during the call of `function` (`start` stands for its start section): it trapped,
    /// exited, reached a limit or was killed. `backtrace` is that of
    /// [`Finished`](crate::Finished::backtrace).
    #[error("`{plugin}` ended in `{function}`: {exit}")]
    Ended { plugin: String, function: String, exit: Exit, backtrace: Arc<[Frame]> },
    /// It ended in an earlier call, and does not restart: [`AfterEnd::Refuse`](crate::AfterEnd).
    #[error(
        "`{plugin}` has ended in an earlier call ({exit}); `restart` makes a new instance of it"
    )]
    Over { plugin: String, exit: Exit },
    /// The plugin's allocator has no memory left: it returned a null pointer.
    #[error("`{alloc}` of `{plugin}` gave no memory for {bytes} bytes")]
    OutOfMemory { plugin: String, alloc: String, bytes: u32 },
    /// The plugin returned a range of bytes that is not inside its memory.
    #[error(
        "`{function}` of `{plugin}` gave {bytes} bytes at {address:#x}, outside of its memory of \
         {memory_bytes} bytes"
    )]
    BadPointer { plugin: String, function: String, address: u32, bytes: u64, memory_bytes: u64 },
    /// The input does not fit 32-bit addresses.
    #[error("{bytes} bytes cannot be passed to `{plugin}`: its addresses have 32 bits")]
    InputTooLong { plugin: String, bytes: usize },
    /// The output is longer than [`Limits::output_bytes_max`](crate::Limits::output_bytes_max).
    #[error(
        "`{method}` of `{plugin}` returned {bytes} bytes, more than {bytes_max} (limit \
         `output_bytes_max`)"
    )]
    OutputTooLong { plugin: String, method: String, bytes: u32, bytes_max: u64 },
    /// The input could not be written as JSON.
    #[error("the input of `{method}` of `{plugin}` cannot be written as JSON: {source}")]
    Encode { plugin: String, method: String, source: serde_json::Error },
    /// The output is not UTF-8, as JSON has to be.
    #[error("`{method}` of `{plugin}` returned bytes that are not UTF-8: {source}")]
    NotUtf8 { plugin: String, method: String, source: std::str::Utf8Error },
    /// The output is not JSON, or not of the expected type. Of a long output, `answer` is the beginning.
    #[error(
        "`{method}` of `{plugin}` returned {answer:?}, not JSON of the expected type: {source}"
    )]
    Decode { plugin: String, method: String, answer: String, source: serde_json::Error },
    /// The system refused a thread, which the watchdog needs, and a call where little stack is left.
    #[error("no thread for `{plugin}`: {source}")]
    Thread { plugin: String, source: io::Error },
}

impl From<ModuleError> for PluginError {
    fn from(error: ModuleError) -> Self {
        PluginError::Start(StartError::Module(error))
    }
}

fn nearest_hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}
