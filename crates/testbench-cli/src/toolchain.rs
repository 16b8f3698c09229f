//! `testbench toolchain`: writes out the built-in tools, and lists the programs of a toolchain.
#![allow(clippy::disallowed_methods, reason = "toolchains are directories of the real disk")]

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;
use testbench_harness::Toolchain;

use crate::args::{Format, ToolchainCommand};
use crate::failure::{Failure, OWN};

/// Runs the subcommand.
pub(crate) fn toolchain(command: &ToolchainCommand) -> Result<ExitCode, Failure> {
    match command {
        ToolchainCommand::Init { dir, force, format } => init(dir, *force, *format),
        ToolchainCommand::List { dir, format } => list(dir.as_deref(), *format),
    }
}

fn init(dir: &Path, force: bool, format: Format) -> Result<ExitCode, Failure> {
    let attempt = format!("toolchain init {}", dir.display());
    fs::create_dir_all(dir).map_err(|e| Failure::own(&attempt, e))?;
    let file = |name: &str| dir.join(format!("{name}.wasm"));
    let (mut written, mut unchanged) = (Vec::new(), Vec::new());
    // Every file is looked at before any is written.
    for (name, module) in Toolchain::builtin_modules() {
        match fs::read(file(name)) {
            Ok(found) if found == module => unchanged.push(name),
            Ok(_) if !force => {
                let file = file(name);
                return Err(Failure::new(
                    OWN,
                    format_args!(
                        "{attempt}: `{}` is there and holds something else; nothing was written. \
                         Give another directory, or replace such files with `--force`",
                        file.display()
                    ),
                ));
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                let at = format!("{attempt}: {}", file(name).display());
                return Err(Failure::own(at, e));
            }
            _ => written.push(name),
        }
    }
    for (name, module) in Toolchain::builtin_modules().filter(|(name, _)| written.contains(name)) {
        write(&file(name), module)
            .map_err(|e| Failure::own(format_args!("{attempt}: {name}.wasm"), e))?;
    }
    let made = json!({ "dir": dir, "written": written, "unchanged": unchanged });
    format.print("toolchain", "testbench-toolchain-init/1", &made, || {
        let there = match unchanged.len() {
            0 => String::new(),
            n => format!(", {n} were there already"),
        };
        format!("wrote {} programs to {}{there}\n", written.len(), dir.display())
    })
}

/// Writes the whole file or nothing.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".testbench-").tempfile_in(dir)?;
    file.write_all(content)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Others may use the toolchain, while a temporary file is for its owner alone.
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path)?;
    Ok(())
}

#[derive(Serialize)]
struct Program {
    name: String,
    /// The name of its module, which other names may run too.
    module: String,
    #[serde(rename = "match")]
    matched: String,
    bytes: Option<u64>,
}

fn list(dir: Option<&Path>, format: Format) -> Result<ExitCode, Failure> {
    let builtin = |name: &str| {
        Toolchain::builtin_modules()
            .find(|(n, _)| *n == name)
            .map(|(_, module)| module.len() as u64)
    };
    let toolchain = match dir {
        None => Toolchain::builtin(),
        Some(dir) => Toolchain::open(dir).map_err(|e| Failure::own("toolchain list", e))?,
    };
    let programs = toolchain.names().into_iter().filter_map(|name| {
        let tool = toolchain.find(&name)?;
        let module = tool.name().to_string_lossy().into_owned();
        let bytes = match tool.path() {
            Some(path) => fs::metadata(path).ok().map(|found| found.len()),
            None => builtin(&module),
        };
        let matched = format!("{:?}", tool.matched()).to_lowercase();
        Some(Program { name: name.to_string_lossy().into_owned(), module, matched, bytes })
    });
    let programs: Vec<Program> = programs.collect();
    let listed = json!({ "programs": programs });
    format.print("toolchain", "testbench-toolchain-list/1", &listed, || as_text(&programs))
}

fn as_text(programs: &[Program]) -> String {
    let width = programs.iter().map(|program| program.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Program { name, module, matched, bytes } in programs {
        let size = bytes.map_or("gone".to_owned(), size);
        let also = match matched.as_str() {
            "exact" => String::new(),
            matched => format!("  {matched}: {module}.wasm"),
        };
        text += &format!("{name:width$}  {size:>10}{also}\n");
    }
    text
}

/// A size for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
