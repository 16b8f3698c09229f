//! The options of `testbench`, once for all languages.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use testbench_clock::WallTime;

use super::ScriptError;
use crate::vm::options::{OptionError, Options, Text};
use crate::{Policy, Testbench};

/// A bench to enter, and the directory that was made for it.
pub(super) struct Prepared {
    pub(super) bench: Testbench,
    pub(super) root: Option<PathBuf>,
    pub(super) made: Option<TempDir>,
}

/// Makes the session that `options` describe for the script at `script`.
pub(super) fn prepare(script: &Path, mut options: Options) -> Result<Prepared, ScriptError> {
    let beside = script.parent().unwrap_or(Path::new(""));
    let name: Option<String> = options.take("name")?;
    let name = name.unwrap_or_else(|| super::file_name(script));
    let mut builder = Testbench::builder().name(name);
    if let Some(clock) = options.take::<String>("clock")? {
        let instant = clock.parse::<jiff::Timestamp>();
        let instant = instant.map_err(|error| OptionError::value("clock", error))?;
        builder = builder.clock(WallTime::from_unix_nanos(instant.as_nanosecond()));
    }
    if let Some(seed) = options.take("seed")? {
        builder = builder.seed(seed);
    }
    for (key, value) in options.entries::<Text>("env")? {
        builder = builder.env(key, value.into_os_string());
    }
    for (program, name) in options.entries::<String>("policy")? {
        builder = builder.policy(program, policy(&name)?);
    }
    for name in toolchains(options.take("toolchain")?)? {
        builder = match name.as_str() {
            #[cfg(feature = "guests")]
            "builtin" => builder.toolchain(crate::Toolchain::builtin()),
            dir => builder.toolchain(beside.join(dir)),
        };
    }
    let (overlay, files) = (options.take::<String>("overlay")?, options.take("files")?);
    options.end()?;
    let made = files.map(make).transpose()?;
    let root = match (overlay, &made) {
        (Some(_), Some(_)) => {
            return Err(OptionError::value("files", "it and `overlay` exclude each other").into());
        }
        (Some(dir), None) => Some(beside.join(dir)),
        (None, made) => made.as_ref().map(|dir| dir.path().to_owned()),
    };
    if let Some(root) = &root {
        builder = builder.overlay(root);
    }
    Ok(Prepared { bench: builder.build()?, root, made })
}

fn toolchains(value: Option<Value>) -> Result<Vec<String>, OptionError> {
    let names = match value {
        None => return Ok(vec!["builtin".to_owned()]),
        // In Lua an empty table is as much a list as a map.
        Some(Value::Object(map)) if map.is_empty() => return Ok(Vec::new()),
        Some(list @ Value::Array(_)) => list,
        Some(name) => Value::Array(vec![name]),
    };
    serde_json::from_value(names).map_err(|error| OptionError::value("toolchain", error))
}

fn policy(name: &str) -> Result<Policy, OptionError> {
    Ok(match name {
        "deny" => Policy::Deny,
        "native" => Policy::Native,
        "not found" => Policy::NotFound,
        _ => {
            let problem = format!("`{name}` is none of \"deny\", \"native\" and \"not found\"");
            return Err(OptionError::value("policy", problem));
        }
    })
}

/// A new directory with these files; a path that ends in `/` is a directory.
fn make(files: BTreeMap<String, Text>) -> Result<TempDir, OptionError> {
    let failed = |error: io::Error| OptionError::value("files", error);
    let dir = TempDir::new().map_err(failed)?;
    for (path, content) in files {
        let is_inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !Path::new(&path).components().all(is_inside) {
            let problem = format!("the path `{path}` is absolute or leads out of the directory");
            return Err(OptionError::value("files", problem));
        }
        write(&dir.path().join(&path), path.ends_with('/'), content).map_err(failed)?;
    }
    Ok(dir)
}

fn write(at: &Path, is_dir: bool, content: Text) -> io::Result<()> {
    if is_dir {
        return std::fs::create_dir_all(at);
    }
    if let Some(parent) = at.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(at, content.into_bytes())
}
