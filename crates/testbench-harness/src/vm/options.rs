//! [`Options`]: the named options of a function that a script calls. Every language passes its
//! values as JSON.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

#[cfg(any(feature = "lua", feature = "rhai"))]
use crate::Command;
use crate::sys;

/// The options of one call. Taking them out by name leaves the unknown ones.
pub(super) struct Options {
    function: &'static str,
    values: Map<String, Value>,
    known: Vec<&'static str>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum OptionError {
    #[error("`{function}` has no option `{option}`; there are {}", known.join(", "))]
    Unknown { function: &'static str, option: String, known: Vec<&'static str> },
    #[error("the option `{name}`: {source}")]
    Value { name: &'static str, source: Box<dyn Error + Send + Sync> },
}

impl OptionError {
    /// The error of an option whose value cannot be used.
    pub(super) fn value(
        name: &'static str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> OptionError {
        OptionError::Value { name, source: source.into() }
    }
}

impl Options {
    pub(super) fn new(function: &'static str, values: Map<String, Value>) -> Options {
        Options { function, values, known: Vec::new() }
    }

    pub(super) fn take<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, OptionError> {
        self.known.push(name);
        let value = self.values.remove(name).map(serde_json::from_value).transpose();
        value.map_err(|error| OptionError::value(name, error))
    }

    /// The entries of an option that is a map; none if it is not given.
    pub(super) fn entries<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<BTreeMap<String, T>, OptionError> {
        Ok(self.take(name)?.unwrap_or_default())
    }

    /// Fails if an option is left that was not taken.
    pub(super) fn end(self) -> Result<(), OptionError> {
        let Options { function, values, known } = self;
        match values.into_iter().next() {
            None => Ok(()),
            Some((option, _)) => Err(OptionError::Unknown { function, option, known }),
        }
    }
}

/// A string, or a value as simple as a number.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a string is wanted")]
pub(super) enum Text {
    Utf8(String),
    /// A string of a script that is not UTF-8.
    Bytes(Vec<u8>),
    Number(serde_json::Number),
    Bool(bool),
}

impl Text {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        match self {
            Text::Utf8(text) => text.into_bytes(),
            Text::Bytes(bytes) => bytes,
            Text::Number(number) => number.to_string().into_bytes(),
            Text::Bool(holds) => holds.to_string().into_bytes(),
        }
    }

    pub(super) fn into_os_string(self) -> OsString {
        sys::os_string(self.into_bytes())
    }
}

/// The command of `run(program, args, options)`.
#[cfg(any(feature = "lua", feature = "rhai"))]
pub(super) fn command(
    program: OsString,
    args: Vec<OsString>,
    mut options: Options,
) -> Result<Command, OptionError> {
    let mut command = Command::new(program);
    command.args(args);
    if let Some(stdin) = options.take::<Text>("stdin")? {
        command.stdin_bytes(stdin.into_bytes());
    }
    for (key, value) in options.entries::<Text>("env")? {
        command.env(key, value.into_os_string());
    }
    if let Some(dir) = options.take::<Text>("cwd")? {
        command.current_dir(dir.into_os_string());
    }
    if let Some(name) = options.take::<Text>("arg0")? {
        command.arg0(name.into_os_string());
    }
    options.end()?;
    Ok(command)
}
