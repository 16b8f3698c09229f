//! Results on stdout: text for people, or one JSON object.

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde::Serialize;

use crate::args::Format;
use crate::failure::Failure;

/// Prints bytes for the subcommand `name`.
pub(crate) fn print(name: &str, text: impl AsRef<[u8]>) -> Result<ExitCode, Failure> {
    match io::stdout().write_all(text.as_ref()) {
        // A reader that has seen enough, such as `head`, is no failure.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::own(name, e)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

impl Format {
    /// Prints a result of the subcommand `name`: as JSON `value` with `schema` as its first field,
    /// else `text`.
    pub(crate) fn print(
        self,
        name: &str,
        schema: &'static str,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<ExitCode, Failure> {
        #[derive(Serialize)]
        struct Object<'v, T> {
            schema: &'static str,
            #[serde(flatten)]
            value: &'v T,
        }
        if !self.json {
            return print(name, text());
        }
        let json = serde_json::to_string_pretty(&Object { schema, value });
        print(name, json.map_err(|e| Failure::own(name, e))? + "\n")
    }
}
