//! Why a call of a plugin gave no value.

use std::io;
use std::sync::Arc;

use super::Signature;
use crate::backtrace::Frame;
use crate::error::{ModuleError, NameList, StartError};
use crate::exit::Exit;

/// Why a plugin was not made, or a call of it gave no value.
///
/// [`PluginError::Ended`] is the only one after which the plugin's instance is gone; see
/// [`AfterEnd`](crate::AfterEnd). After each other one it goes on as if the call had not been made,
/// and holds no memory for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The module cannot be run, or the guest's specification is wrong.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It exports nothing of this name.
    #[error("`{plugin}` exports no `{name}`{hint}; it exports {exports}", hint = nearest_hint(nearest))]
    NoExport {
        /// The plugin's name.
        plugin: String,
        /// The name that was asked for.
        name: String,
        /// The most similar name of a function that it exports.
        nearest: Option<String>,
        /// All that it exports.
        exports: NameList,
    },
    /// What it exports under this name is no function.
    #[error("`{plugin}` exports `{name}`, but that is {found}, not a function")]
    NotAFunction {
        /// The plugin's name.
        plugin: String,
        /// The export's name.
        name: String,
        /// What it is.
        found: String,
    },
    /// The function takes or gives other types.
    #[error("`{name}` of `{plugin}` is a function {found}, and was called as {wanted}")]
    Signature {
        /// The plugin's name.
        plugin: String,
        /// The function's name.
        name: String,
        /// As what it was called.
        wanted: Signature,
        /// What it is.
        found: Signature,
    },
    /// A call with bytes or JSON needs the memory that they go through.
    #[error("`{plugin}` exports no memory named `memory`, through which bytes could be passed")]
    NoMemory {
        /// The plugin's name.
        plugin: String,
    },
    /// The plugin ended during the call: it trapped, exited, reached a limit or was killed.
    #[error("`{plugin}` ended in `{function}`: {exit}")]
    Ended {
        /// The plugin's name.
        plugin: String,
        /// The function of it that was called; `start` stands for its start section.
        function: String,
        /// How it ended.
        exit: Exit,
        /// Where it was, as in [`Finished::backtrace`](crate::Finished::backtrace).
        backtrace: Arc<[Frame]>,
    },
    /// It ended in an earlier call, and is to stay so: [`AfterEnd::Refuse`](crate::AfterEnd).
    #[error(
        "`{plugin}` has ended in an earlier call ({exit}); `restart` makes a new instance of it"
    )]
    Over {
        /// The plugin's name.
        plugin: String,
        /// How it ended then.
        exit: Exit,
    },
    /// The plugin's allocator has no memory left: it gave a null pointer.
    #[error("`{alloc}` of `{plugin}` gave no memory for {bytes} bytes")]
    OutOfMemory {
        /// The plugin's name.
        plugin: String,
        /// The name of the function that allocates.
        alloc: String,
        /// How much was asked for.
        bytes: u32,
    },
    /// The plugin gave a place that is not, or not all, in its memory.
    #[error(
        "`{function}` of `{plugin}` gave {bytes} bytes at {address:#x}, outside of its memory of \
         {memory_bytes} bytes"
    )]
    BadPointer {
        /// The plugin's name.
        plugin: String,
        /// The function that gave it.
        function: String,
        /// Where the bytes were said to begin.
        address: u32,
        /// How many they were said to be.
        bytes: u32,
        /// How large the memory is.
        memory_bytes: u64,
    },
    /// What was to be passed does not fit 32-bit addresses.
    #[error("{bytes} bytes cannot be passed to `{plugin}`: its addresses have 32 bits")]
    InputTooLong {
        /// The plugin's name.
        plugin: String,
        /// How much it was.
        bytes: usize,
    },
    /// The answer is longer than [`Limits::output_bytes_max`](crate::Limits::output_bytes_max).
    #[error(
        "`{method}` of `{plugin}` answered with {bytes} bytes, more than {bytes_max} (limit \
         `output_bytes_max`)"
    )]
    OutputTooLong {
        /// The plugin's name.
        plugin: String,
        /// The method that was called.
        method: String,
        /// How much it was.
        bytes: u32,
        /// The bound.
        bytes_max: u64,
    },
    /// The input could not be written as JSON.
    #[error("the input of `{method}` of `{plugin}` cannot be written as JSON: {source}")]
    Encode {
        /// The plugin's name.
        plugin: String,
        /// The method that was to be called.
        method: String,
        /// What serde says.
        source: serde_json::Error,
    },
    /// The answer is not UTF-8, as JSON has to be.
    #[error("`{method}` of `{plugin}` answered with bytes that are not UTF-8: {source}")]
    NotUtf8 {
        /// The plugin's name.
        plugin: String,
        /// The method that was called.
        method: String,
        /// Where it is not.
        source: std::str::Utf8Error,
    },
    /// The answer is not JSON, or not of the type that was asked for.
    #[error(
        "`{method}` of `{plugin}` answered {answer:?}, which is not what was asked for: {source}"
    )]
    Decode {
        /// The plugin's name.
        plugin: String,
        /// The method that was called.
        method: String,
        /// The answer; of a long one, its beginning.
        answer: String,
        /// What serde says.
        source: serde_json::Error,
    },
    /// The system gave no thread, which a call needs where little stack is left, and the watchdog.
    #[error("no thread for `{plugin}`: {source}")]
    Thread {
        /// The plugin's name.
        plugin: String,
        /// What the system answered.
        source: io::Error,
    },
}

impl From<ModuleError> for PluginError {
    fn from(error: ModuleError) -> Self {
        PluginError::Start(StartError::Module(error))
    }
}

fn nearest_hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}
