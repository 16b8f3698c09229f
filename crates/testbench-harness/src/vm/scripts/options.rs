//! The options of `testbench`, once for all languages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use testbench_clock::WallTime;

use crate::{Policy, Testbench, TestbenchBuilder, Toolchain};

/// A value of a script, as far as options need it.
#[derive(Clone, Debug)]
pub(super) enum Setting {
    Text(Vec<u8>),
    Integer(i64),
    List(Vec<Setting>),
    Map(BTreeMap<String, Setting>),
    /// Anything else, by the name of its type.
    Other(String),
}

/// Why the options do not make a session.
#[derive(Debug, thiserror::Error)]
pub(super) enum OptionError {
    #[error(
        "`testbench` has no option `{0}`; there are clock, env, files, name, overlay, policy, \
         seed and toolchain"
    )]
    Unknown(String),
    #[error("the option `{name}` is {wanted}, not {found}")]
    Kind { name: String, wanted: &'static str, found: String },
    #[error("the option `files` and the option `overlay` exclude each other")]
    TwoOverlays,
    #[error("the path `{0}` in `files` is absolute or leads out of the directory")]
    Outside(String),
    #[error("the files of the test cannot be made: {0}")]
    Files(#[from] std::io::Error),
    #[error("the option `clock`: {0}")]
    Clock(jiff::Error),
    #[error(transparent)]
    Build(#[from] crate::BuildError),
}

/// A bench to enter, and the directory that was made for it.
pub(super) struct Prepared {
    pub(super) bench: Testbench,
    pub(super) root: Option<PathBuf>,
    pub(super) made: Option<TempDir>,
}

/// Makes what `options` describe for the script at `script`.
pub(super) fn prepare(
    script: &Path,
    options: BTreeMap<String, Setting>,
) -> Result<Prepared, OptionError> {
    let beside = script.parent().unwrap_or(Path::new(""));
    let name = script.file_name().unwrap_or(script.as_os_str()).to_string_lossy();
    let mut builder = Testbench::builder().name(name);
    let (mut root, mut made, mut toolchain) = (None, None, None);
    for (name, value) in options {
        builder = match name.as_str() {
            "name" => builder.name(text(&name, value)?),
            "clock" => {
                let instant: jiff::Timestamp =
                    text(&name, value)?.parse().map_err(OptionError::Clock)?;
                builder.clock(WallTime::from_unix_nanos(instant.as_nanosecond()))
            }
            "seed" => builder.seed(seed(&name, value)?),
            "env" => map(&name, value)?.into_iter().try_fold(builder, |b, (key, value)| {
                Ok::<_, OptionError>(b.env(&key, text(&key, value)?))
            })?,
            "policy" => map(&name, value)?
                .into_iter()
                .try_fold(builder, |b, (program, value)| policy(b, program, value))?,
            "toolchain" => {
                toolchain = Some(value);
                builder
            }
            "files" | "overlay" if root.is_some() => return Err(OptionError::TwoOverlays),
            "files" => {
                let dir = make(map(&name, value)?)?;
                root = Some(dir.path().to_owned());
                made = Some(dir);
                builder
            }
            "overlay" => {
                root = Some(beside.join(text(&name, value)?));
                builder
            }
            _ => return Err(OptionError::Unknown(name)),
        };
    }
    builder = tools(builder, beside, toolchain)?;
    if let Some(root) = &root {
        builder = builder.overlay(root);
    }
    Ok(Prepared { bench: builder.build()?, root, made })
}

fn tools(
    builder: TestbenchBuilder,
    beside: &Path,
    toolchain: Option<Setting>,
) -> Result<TestbenchBuilder, OptionError> {
    let all = match toolchain {
        None => vec![Setting::Text(b"builtin".to_vec())],
        Some(Setting::List(all)) => all,
        Some(one) => vec![one],
    };
    all.into_iter().try_fold(builder, |builder, one| {
        Ok(match text("toolchain", one)?.as_str() {
            #[cfg(feature = "guests")]
            "builtin" => builder.toolchain(Toolchain::builtin()),
            dir => builder.toolchain(beside.join(dir)),
        })
    })
}

fn policy(
    builder: TestbenchBuilder,
    program: String,
    value: Setting,
) -> Result<TestbenchBuilder, OptionError> {
    let policy = match text(&program, value)?.as_str() {
        "deny" => Policy::Deny,
        "native" => Policy::Native,
        "not found" => Policy::NotFound,
        other => {
            let wanted = "`\"deny\"`, `\"native\"` or `\"not found\"`";
            return Err(OptionError::Kind { name: program, wanted, found: format!("`{other}`") });
        }
    };
    Ok(builder.policy(program, policy))
}

/// A new directory with these files; a path that ends in `/` is a directory.
fn make(files: BTreeMap<String, Setting>) -> Result<TempDir, OptionError> {
    let dir = TempDir::new()?;
    for (path, content) in files {
        let inside = Path::new(&path).components().all(|part| {
            matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir)
        });
        if !inside {
            return Err(OptionError::Outside(path));
        }
        let at = dir.path().join(&path);
        if path.ends_with('/') {
            std::fs::create_dir_all(at)?;
            continue;
        }
        if let Some(parent) = at.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let bytes = match content {
            Setting::Text(bytes) => bytes,
            other => return Err(kind(&path, "a string", &other)),
        };
        std::fs::write(at, bytes)?;
    }
    Ok(dir)
}

fn text(name: &str, value: Setting) -> Result<String, OptionError> {
    match value {
        Setting::Text(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        other => Err(kind(name, "a string", &other)),
    }
}

fn seed(name: &str, value: Setting) -> Result<u64, OptionError> {
    match value {
        Setting::Integer(seed) if seed >= 0 => Ok(seed.unsigned_abs()),
        other => Err(kind(name, "an integer, not negative", &other)),
    }
}

fn map(name: &str, value: Setting) -> Result<BTreeMap<String, Setting>, OptionError> {
    match value {
        Setting::Map(map) => Ok(map),
        // In Lua an empty table is as much a list as a map.
        Setting::List(list) if list.is_empty() => Ok(BTreeMap::new()),
        other => Err(kind(name, "a map", &other)),
    }
}

fn kind(name: &str, wanted: &'static str, found: &Setting) -> OptionError {
    let found = match found {
        Setting::Text(_) => "a string",
        Setting::Integer(n) => {
            return OptionError::Kind { name: name.to_owned(), wanted, found: n.to_string() };
        }
        Setting::List(_) => "a list",
        Setting::Map(_) => "a map",
        Setting::Other(name) => name.as_str(),
    };
    OptionError::Kind { name: name.to_owned(), wanted, found: found.to_owned() }
}
