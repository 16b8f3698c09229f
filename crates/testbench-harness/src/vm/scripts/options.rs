//! The options of `testbench`, once for all languages.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use testbench_clock::WallTime;

use crate::vm::setting::{Setting, SettingError, Settings};
use crate::{Policy, Testbench, TestbenchBuilder};

/// Why the options do not make a session.
#[derive(Debug, thiserror::Error)]
pub(super) enum OptionError {
    #[error(transparent)]
    Setting(#[from] SettingError),
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

/// Makes the session that `options` describe for the script at `script`.
pub(super) fn prepare(script: &Path, options: Settings) -> Result<Prepared, OptionError> {
    let beside = script.parent().unwrap_or(Path::new(""));
    let name = script.file_name().unwrap_or(script.as_os_str()).to_string_lossy();
    let mut builder = Testbench::builder().name(name);
    let (mut root, mut made, mut toolchain) = (None, None, None);
    for (name, value) in options {
        builder = match name.as_str() {
            "name" => builder.name(value.text(&name)?),
            "clock" => {
                let instant: jiff::Timestamp =
                    value.text(&name)?.parse().map_err(OptionError::Clock)?;
                builder.clock(WallTime::from_unix_nanos(instant.as_nanosecond()))
            }
            "seed" => builder.seed(seed(value)?),
            "env" => value.map(&name)?.into_iter().try_fold(builder, |b, (key, value)| {
                Ok::<_, OptionError>(b.env(&key, value.text(&key)?))
            })?,
            "policy" => value
                .map(&name)?
                .into_iter()
                .try_fold(builder, |b, (program, value)| policy(b, program, value))?,
            "toolchain" => {
                toolchain = Some(value);
                builder
            }
            "files" | "overlay" if root.is_some() => return Err(OptionError::TwoOverlays),
            "files" => {
                let dir = make(value.map(&name)?)?;
                root = Some(dir.path().to_owned());
                made = Some(dir);
                builder
            }
            "overlay" => {
                root = Some(beside.join(value.text(&name)?));
                builder
            }
            _ => {
                let known = "clock, env, files, name, overlay, policy, seed and toolchain";
                let function = "testbench";
                return Err(SettingError::Unknown { function, option: name, known }.into());
            }
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
        Ok(match one.text("toolchain")?.as_str() {
            #[cfg(feature = "guests")]
            "builtin" => builder.toolchain(crate::Toolchain::builtin()),
            dir => builder.toolchain(beside.join(dir)),
        })
    })
}

fn policy(
    builder: TestbenchBuilder,
    program: String,
    value: Setting,
) -> Result<TestbenchBuilder, OptionError> {
    let policy = match value.text(&program)?.as_str() {
        "deny" => Policy::Deny,
        "native" => Policy::Native,
        "not found" => Policy::NotFound,
        other => {
            let wanted = "`\"deny\"`, `\"native\"` or `\"not found\"`";
            let found = format!("`{other}`");
            return Err(SettingError::Kind { name: program, wanted, found }.into());
        }
    };
    Ok(builder.policy(program, policy))
}

/// A new directory with these files; a path that ends in `/` is a directory.
fn make(files: Settings) -> Result<TempDir, OptionError> {
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
        std::fs::write(at, content.bytes(&path)?)?;
    }
    Ok(dir)
}

fn seed(value: Setting) -> Result<u64, OptionError> {
    match value {
        Setting::Integer(seed) if seed >= 0 => Ok(seed.unsigned_abs()),
        other => Err(other.is_not("an integer, not negative", "seed").into()),
    }
}
