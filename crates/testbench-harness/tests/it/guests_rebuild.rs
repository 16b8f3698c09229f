//! The committed guest programs are what their sources compile to.
//!
//! `guests/README.md` names the packages that the bytes depend on. Where exactly these are installed,
//! a copy of the sources is built in another directory and compared byte for byte. With other
//! versions it is built too, but other bytes are only reported: a distribution's update of its
//! compiler is not a mistake of ours. Without the packages the test says on standard error that
//! nothing was built, or fails if `TESTBENCH_GUEST_COMPILER=required` is set.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Far above every program of ours: a program that grows past it should say why.
const WASM_BYTES_MAX: usize = 128 * 1024;

#[test]
fn every_source_has_its_module_and_its_row_in_the_readme() {
    let sources = names_with_extension("c");
    assert!(sources.len() >= 16, "only {sources:?} were found in {}", guests().display());
    assert_eq!(sources, names_with_extension("wasm"), "sources (left), modules (right)");

    let plugins = guests().join("plugins");
    assert_eq!(
        names_in(&plugins, "c"),
        names_in(&plugins, "wasm"),
        "sources (left), modules (right)"
    );

    let rows: BTreeSet<String> = readme()
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name != "program" && name != "---")
        .collect();
    assert_eq!(sources, rows, "sources (left), rows of the table in guests/README.md (right)");
}

#[test]
fn modules_are_small_core_modules() {
    for name in names_with_extension("wasm") {
        let bytes =
            fs::read(guests().join(&name).with_extension("wasm")).expect("a readable module");
        assert!(bytes.starts_with(b"\0asm\x01\0\0\0"), "{name}.wasm is not a core module");
        assert!(bytes.len() <= WASM_BYTES_MAX, "{name}.wasm has {} bytes", bytes.len());
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "continuous integration insists by the environment")]
fn rebuilding_gives_the_committed_bytes() {
    let compiler = installed_compiler();
    if let Compiler::Missing(what) = &compiler {
        assert!(
            std::env::var_os("TESTBENCH_GUEST_COMPILER").is_none_or(|wish| wish != "required"),
            "the guests' compiler is required here, but {what}"
        );
        notice(&format!("SKIPPED: guests were not rebuilt and compared: {what}"));
        return;
    }

    let copy = copy_of_the_sources();
    let built = Command::new("sh").arg(copy.join("build.sh")).output().expect("sh runs");
    assert!(built.status.success(), "build.sh: {}", String::from_utf8_lossy(&built.stderr));

    let plugins = names_in(&guests().join("plugins"), "wasm").into_iter();
    let differing: Vec<String> = names_with_extension("wasm")
        .into_iter()
        .chain(plugins.map(|name| format!("plugins/{name}")))
        .filter(|name| {
            let module = Path::new(name).with_extension("wasm");
            fs::read(guests().join(&module)).ok() != fs::read(copy.join(&module)).ok()
        })
        .collect();
    match compiler {
        Compiler::Other(versions) if !differing.is_empty() => notice(&format!(
            "SKIPPED: guests were rebuilt, but not compared, since other packages make other \
             bytes: {versions}"
        )),
        _ => assert!(
            differing.is_empty(),
            "the committed modules of {differing:?} are not what their sources compile to; \
             run guests/build.sh and commit the result"
        ),
    }
}

/// What there is of the packages that the README lists.
enum Compiler {
    /// All, in exactly those versions.
    Pinned,
    /// All, but these in other versions: a distribution updates its packages.
    Other(String),
    /// Not all.
    Missing(String),
}

fn installed_compiler() -> Compiler {
    let readme = readme();
    let pinned: Vec<(&str, &str)> = readme
        .split("```")
        .nth(1)
        .expect("a block of versions in guests/README.md")
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    assert_eq!(pinned.len(), 4, "compiler, runtime, linker and libc: {pinned:?}");

    let mut others = Vec::new();
    for (package, version) in pinned {
        let asked = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output();
        let installed = match asked {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => {
                return Compiler::Missing(format!(
                    "dpkg-query cannot be asked for {package}: {error}"
                ));
            }
        };
        if installed.is_empty() {
            return Compiler::Missing(format!("{package} {version} is not installed"));
        }
        if installed != version {
            others.push(format!("{package} {installed} (pinned: {version})"));
        }
    }
    if others.is_empty() { Compiler::Pinned } else { Compiler::Other(others.join(", ")) }
}

/// Written past the test runner's capture: a comparison that did not happen must be seen.
fn notice(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).expect("standard error");
}

/// Copies all but the modules to a fresh directory.
fn copy_of_the_sources() -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests-rebuilt");
    if copy.exists() {
        fs::remove_dir_all(&copy).expect("the last run's copy is removed");
    }
    for dir in ["", "plugins"] {
        let (from, to) = (guests().join(dir), copy.join(dir));
        fs::create_dir_all(&to).expect("a directory for the copy");
        for entry in fs::read_dir(from).expect("the guests' directory") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension != "wasm") {
                fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
            }
        }
    }
    copy
}

fn names_with_extension(wanted: &str) -> BTreeSet<String> {
    names_in(&guests(), wanted)
}

fn names_in(dir: &Path, wanted: &str) -> BTreeSet<String> {
    fs::read_dir(dir)
        .expect("the guests' directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == wanted))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect()
}

fn readme() -> String {
    fs::read_to_string(guests().join("README.md")).expect("guests/README.md")
}

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guests")
}
