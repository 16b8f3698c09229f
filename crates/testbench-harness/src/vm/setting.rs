//! [`Setting`]: a script's value of an option; [`command`] takes the options of `run`.

use std::collections::BTreeMap;
#[cfg(any(feature = "lua", feature = "rhai"))]
use std::ffi::OsString;

#[cfg(any(feature = "lua", feature = "rhai"))]
use crate::{Command, sys};

/// The options of a function, by name.
pub(super) type Settings = BTreeMap<String, Setting>;

/// A value of a script.
#[derive(Clone, Debug)]
pub(super) enum Setting {
    Text(Vec<u8>),
    Integer(i64),
    List(Vec<Setting>),
    Map(Settings),
    /// A value of another type, with its text if it is as simple as a number.
    Other {
        kind: String,
        text: Option<String>,
    },
}

/// An option that a function does not take.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingError {
    #[error("`{function}` has no option `{option}`; there are {known}")]
    Unknown { function: &'static str, option: String, known: &'static str },
    #[error("the option `{name}` is {wanted}, not {found}")]
    Kind { name: String, wanted: &'static str, found: String },
}

impl Setting {
    pub(super) fn bytes(self, name: &str) -> Result<Vec<u8>, SettingError> {
        match self {
            Setting::Text(bytes) => Ok(bytes),
            other => Err(other.is_not("a string", name)),
        }
    }

    #[cfg(feature = "scripts")]
    pub(super) fn text(self, name: &str) -> Result<String, SettingError> {
        Ok(String::from_utf8_lossy(&self.bytes(name)?).into_owned())
    }

    pub(super) fn map(self, name: &str) -> Result<Settings, SettingError> {
        match self {
            Setting::Map(map) => Ok(map),
            // In Lua an empty table is as much a list as a map.
            Setting::List(list) if list.is_empty() => Ok(Settings::new()),
            other => Err(other.is_not("a map", name)),
        }
    }

    /// The error of the option `name`, which is to be `wanted`.
    pub(super) fn is_not(&self, wanted: &'static str, name: &str) -> SettingError {
        let found = match self {
            Setting::Text(_) => "a string".to_owned(),
            Setting::Integer(number) => number.to_string(),
            Setting::List(_) => "a list".to_owned(),
            Setting::Map(_) => "a map".to_owned(),
            Setting::Other { kind, .. } => kind.clone(),
        };
        SettingError::Kind { name: name.to_owned(), wanted, found }
    }
}

/// The command of `run(program, args, options)`.
#[cfg(any(feature = "lua", feature = "rhai"))]
pub(super) fn command(
    program: OsString,
    args: Vec<OsString>,
    options: Settings,
) -> Result<Command, SettingError> {
    let mut command = Command::new(program);
    command.args(args);
    for (name, value) in options {
        match name.as_str() {
            "stdin" => _ = command.stdin_bytes(value.bytes(&name)?),
            "env" => {
                for (key, value) in value.map(&name)? {
                    let value = match value {
                        Setting::Integer(number) => number.to_string().into_bytes(),
                        Setting::Other { text: Some(text), .. } => text.into_bytes(),
                        value => value.bytes(&key)?,
                    };
                    command.env(key, sys::os_string(value));
                }
            }
            "cwd" => _ = command.current_dir(sys::os_string(value.bytes(&name)?)),
            "arg0" => _ = command.arg0(sys::os_string(value.bytes(&name)?)),
            _ => {
                let known = "stdin, env, cwd and arg0";
                return Err(SettingError::Unknown { function: "run", option: name, known });
            }
        }
    }
    Ok(command)
}
