//! Where programs come from: a directory of `<program>.wasm` files, or modules in memory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use testbench_clock::{Guard, Lifetime, Lookup, Scope};

use crate::engine::Engine;
use crate::error::ModuleError;
use crate::module::{Bytes, Module};

/// The programs that a spawn may find. Cloning is cheap.
///
/// A directory is looked at anew for each program, so that files may come, change and go. A file
/// that has not changed since it was last used is not read again.
///
/// ```
/// use testbench_wasi::{GuestSpec, Programs, run};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = tempfile::tempdir()?;
/// let wasm = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#)?;
/// std::fs::write(dir.path().join("true.wasm"), wasm)?;
///
/// let programs = Programs::open(dir.path())?;
/// assert_eq!(programs.names()?, ["true"]);
/// let module = programs.module("true").expect("it is there")?;
/// assert!(run(GuestSpec::new(module))?.exit.success());
/// assert!(programs.module("false").is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Programs {
    inner: Arc<Inner>,
}

struct Inner {
    source: Source,
    engine: Engine,
}

enum Source {
    Dir(PathBuf),
    Modules { label: String, modules: BTreeMap<OsString, Bytes> },
}

/// Why a directory of programs cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramsError {
    /// The directory is not there or cannot be listed.
    #[error(
        "toolchain {dir}: cannot be listed: {source}; it must be a directory of `<program>.wasm` files",
        dir = dir.display()
    )]
    Unreadable {
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl Programs {
    /// The programs in the directory `dir`, which may be empty.
    ///
    /// # Errors
    ///
    /// When `dir` is not a directory that can be listed.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, ProgramsError> {
        Programs::open_on(Engine::shared(), dir)
    }

    /// As [`Programs::open`], compiled and run by another engine.
    ///
    /// # Errors
    ///
    /// As [`Programs::open`].
    pub fn open_on(engine: &Engine, dir: impl Into<PathBuf>) -> Result<Self, ProgramsError> {
        let source = Source::Dir(dir.into());
        let programs = Programs { inner: Arc::new(Inner { source, engine: engine.clone() }) };
        programs.names()?;
        Ok(programs)
    }

    /// Programs that are in memory or part of this program, each by its name without `.wasm`.
    /// `label` stands for the directory in messages. Of several with the same name, the last is
    /// used.
    pub fn from_modules<N: Into<OsString>, B: Into<Bytes>>(
        label: impl Into<String>,
        modules: impl IntoIterator<Item = (N, B)>,
    ) -> Self {
        Programs::from_modules_on(Engine::shared(), label, modules)
    }

    /// As [`Programs::from_modules`], compiled and run by another engine.
    pub fn from_modules_on<N: Into<OsString>, B: Into<Bytes>>(
        engine: &Engine,
        label: impl Into<String>,
        modules: impl IntoIterator<Item = (N, B)>,
    ) -> Self {
        let modules = modules.into_iter().map(|(name, bytes)| (name.into(), bytes.into()));
        let source = Source::Modules { label: label.into(), modules: modules.collect() };
        Programs { inner: Arc::new(Inner { source, engine: engine.clone() }) }
    }

    /// The module of the program with exactly this name, compiled; `None` if there is none. A name
    /// with a `/` never is one: it is a path, and paths are not joined onto the directory.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be run: see [`Module::from_file`].
    pub fn module(&self, program: impl AsRef<OsStr>) -> Option<Result<Module, ModuleError>> {
        let program = program.as_ref();
        let engine = &self.inner.engine;
        match &self.inner.source {
            Source::Dir(dir) => match Module::from_file_on(engine, dir.join(file_name(program)?)) {
                // A dangling symlink is a program that is broken, not one that is missing.
                Err(ModuleError::Missing { .. }) if !self.contains(program) => None,
                found => Some(found),
            },
            Source::Modules { modules, .. } => {
                let bytes = modules.get(program)?.clone();
                Some(Module::from_bytes_on(engine, program.to_string_lossy(), bytes))
            }
        }
    }

    /// Whether there is a program with exactly this name, even if it cannot be run.
    pub fn contains(&self, program: impl AsRef<OsStr>) -> bool {
        let program = program.as_ref();
        match &self.inner.source {
            Source::Dir(_) => self.path(program).is_some(),
            Source::Modules { modules, .. } => modules.contains_key(program),
        }
    }

    /// The file of the program with exactly this name; `None` if there is none, or if it is in
    /// memory.
    pub fn path(&self, program: impl AsRef<OsStr>) -> Option<PathBuf> {
        let Source::Dir(dir) = &self.inner.source else { return None };
        let path = dir.join(file_name(program.as_ref())?);
        path.symlink_metadata().is_ok().then_some(path)
    }

    /// The names of all programs, sorted by their bytes.
    ///
    /// # Errors
    ///
    /// When the directory cannot be listed any more.
    pub fn names(&self) -> Result<Vec<OsString>, ProgramsError> {
        match &self.inner.source {
            Source::Dir(dir) => {
                list(dir).map_err(|source| ProgramsError::Unreadable { dir: dir.clone(), source })
            }
            Source::Modules { modules, .. } => Ok(modules.keys().cloned().collect()),
        }
    }

    /// The program whose name is most like `program`, if one is like it at all: for messages.
    pub fn nearest(&self, program: impl AsRef<OsStr>) -> Option<OsString> {
        /// Two slips, such as swapped letters.
        const DISTANCE_MAX: usize = 2;
        let wanted = program.as_ref().to_string_lossy();
        let names = self.names().ok()?;
        let near = names.into_iter().map(|name| {
            let distance = strsim::levenshtein(&wanted, &name.to_string_lossy());
            (distance, name)
        });
        let (distance, name) = near.min()?;
        // A name that shares no letter with a short one is not like it.
        (distance <= DISTANCE_MAX.min(wanted.len().saturating_sub(1))).then_some(name)
    }

    /// The directory, if it is one.
    pub fn dir(&self) -> Option<&Path> {
        match &self.inner.source {
            Source::Dir(dir) => Some(dir),
            Source::Modules { .. } => None,
        }
    }
}

/// The directory, or the label of modules in memory.
impl fmt::Display for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner.source {
            Source::Dir(dir) => dir.display().fmt(f),
            Source::Modules { label, .. } => f.write_str(label),
        }
    }
}

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Programs({self})")
    }
}

static INSTALLED: Scope<Programs> = Scope::new("toolchain");

/// Installs `programs` on this thread until the guard drops.
#[track_caller]
pub fn install_programs(programs: Programs) -> Guard {
    let lifetime = Lifetime::new("toolchain");
    install_programs_for(programs, &lifetime).owning(lifetime)
}

/// Installs `programs` on this thread until the guard drops, as a part of a session.
#[track_caller]
pub fn install_programs_for(programs: Programs, lifetime: &Lifetime) -> Guard {
    INSTALLED.install(Arc::new(programs), lifetime)
}

/// The programs of this thread.
pub fn active_programs() -> Lookup<Programs> {
    INSTALLED.get()
}

/// `<program>.wasm`, if that is the name of one file.
fn file_name(program: &OsStr) -> Option<OsString> {
    let bytes = program.as_encoded_bytes();
    let is_separator = |byte: &u8| *byte == 0 || std::path::is_separator(char::from(*byte));
    if bytes.is_empty() || bytes.iter().any(is_separator) {
        return None;
    }
    let mut file_name = program.to_owned();
    file_name.push(".wasm");
    Some(file_name)
}

#[allow(clippy::disallowed_methods, reason = "a toolchain is on the real disk")]
fn list(dir: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let file_name = PathBuf::from(entry?.file_name());
        if file_name.extension() == Some(OsStr::new("wasm")) {
            names.extend(file_name.file_stem().map(OsStr::to_owned));
        }
    }
    names.sort_unstable();
    Ok(names)
}
