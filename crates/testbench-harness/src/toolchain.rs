//! [`Toolchain`]: where a session finds programs, as one or several directories asked in order.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use testbench_wasi::{Engine, Module, ModuleError, ToolchainError};

/// The programs that a session runs as guests.
///
/// A directory is looked at anew for each spawn, so files in it may come and go. A module is
/// compiled at its first use and kept.
#[derive(Clone, Debug, Default)]
pub struct Toolchain {
    /// Asked in this order.
    layers: Vec<testbench_wasi::Toolchain>,
}

impl Toolchain {
    /// The programs in the directory `dir`: each file `<program>.wasm` is one.
    ///
    /// # Errors
    ///
    /// When `dir` is not a directory that can be listed.
    pub fn open(dir: impl AsRef<Path>) -> Result<Toolchain, ToolchainError> {
        Toolchain::open_on(Engine::shared(), dir)
    }

    /// As [`Toolchain::open`], compiled and run by an engine of one's own: with another cache, say,
    /// or without interruption.
    ///
    /// # Errors
    ///
    /// As [`Toolchain::open`].
    pub fn open_on(engine: &Engine, dir: impl AsRef<Path>) -> Result<Toolchain, ToolchainError> {
        Ok(testbench_wasi::Toolchain::open_on(engine, dir.as_ref())?.into())
    }

    /// The small tools that come with the library: `cat`, `cp`, `grep`, `ls`, `sleep`, `sort` and
    /// others.
    ///
    /// They behave as POSIX says, with the options that tests want; `guests/README.md` in the
    /// source of this crate lists them all.
    #[cfg(feature = "guests")]
    pub fn builtin() -> Toolchain {
        Toolchain::builtin_on(Engine::shared())
    }

    /// As [`Toolchain::builtin`], compiled and run by an engine of one's own.
    #[cfg(feature = "guests")]
    pub fn builtin_on(engine: &Engine) -> Toolchain {
        let guests = crate::builtin::GUESTS.iter().copied();
        testbench_wasi::Toolchain::from_modules_on(engine, "the built-in tools", guests).into()
    }

    /// This toolchain, with `other` asked for what it does not have.
    pub fn or(mut self, other: Toolchain) -> Toolchain {
        self.layers.extend(other.layers);
        self
    }

    /// The program with exactly this name, if there is one. It may turn out not to be runnable.
    ///
    /// A name with a `/` never is one: paths are not joined onto a directory.
    pub fn find(&self, program: impl AsRef<OsStr>) -> Option<Tool> {
        let name = program.as_ref();
        let layer = self.layers.iter().find(|layer| layer.contains(name))?;
        Some(Tool { toolchain: layer.clone(), name: name.to_owned() })
    }

    /// The names of all programs, sorted by their bytes. A directory that cannot be listed any
    /// more has none.
    pub fn names(&self) -> Vec<OsString> {
        let names = self.layers.iter().filter_map(|layer| layer.names().ok()).flatten();
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The program whose name is most like `program`, if one is like it at all: for messages.
    pub fn nearest(&self, program: impl AsRef<OsStr>) -> Option<OsString> {
        self.layers.iter().find_map(|layer| layer.nearest(program.as_ref()))
    }

    /// Where programs are looked for, such as `tools/`; `None` if nowhere.
    pub(crate) fn describe(&self) -> Option<String> {
        let describe = |layer: &testbench_wasi::Toolchain| match layer.dir() {
            Some(dir) => Path::new(dir).join("").display().to_string(),
            None => layer.to_string(),
        };
        let places: Vec<String> = self.layers.iter().map(describe).collect();
        (!places.is_empty()).then(|| places.join(" or "))
    }

    /// What `testbench_wasi::active_toolchain` is to answer in a session: the layer that is asked
    /// first, or one without programs, which hides that of an outer session.
    pub(crate) fn first(&self) -> testbench_wasi::Toolchain {
        let none = || testbench_wasi::Toolchain::from_modules::<&str, Vec<u8>>("no toolchain", []);
        self.layers.first().cloned().unwrap_or_else(none)
    }
}

impl From<testbench_wasi::Toolchain> for Toolchain {
    fn from(toolchain: testbench_wasi::Toolchain) -> Toolchain {
        Toolchain { layers: vec![toolchain] }
    }
}

/// A program that a toolchain has.
#[derive(Clone, Debug)]
pub struct Tool {
    toolchain: testbench_wasi::Toolchain,
    name: OsString,
}

impl Tool {
    /// Its name, without `.wasm`.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// The file of its module; `None` if that is part of this program.
    pub fn path(&self) -> Option<PathBuf> {
        self.toolchain.path(&self.name)
    }

    /// Its module, compiled.
    ///
    /// # Errors
    ///
    /// When the file has gone, or holds no module that can be compiled.
    pub fn module(&self) -> Result<Module, ModuleError> {
        let gone = || {
            let dir = self.toolchain.dir().unwrap_or(Path::new(""));
            let mut file_name = self.name.clone();
            file_name.push(".wasm");
            ModuleError::Missing { path: dir.join(file_name) }
        };
        self.toolchain.module(&self.name).unwrap_or_else(|| Err(gone()))
    }
}

/// The module's file, or the name of a program that has none.
impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path() {
            Some(path) => path.display().fmt(f),
            None => write!(f, "`{}` of {}", self.name.display(), self.toolchain),
        }
    }
}

/// What [`TestbenchBuilder::toolchain`](crate::TestbenchBuilder::toolchain) takes: a directory or
/// a [`Toolchain`].
#[derive(Clone, Debug)]
pub struct ToolchainSource(Source);

#[derive(Clone, Debug)]
enum Source {
    Dir(PathBuf),
    Open(Toolchain),
}

impl ToolchainSource {
    pub(crate) fn open(self) -> Result<Toolchain, ToolchainError> {
        match self.0 {
            Source::Dir(dir) => Toolchain::open(dir),
            Source::Open(toolchain) => Ok(toolchain),
        }
    }
}

impl From<Toolchain> for ToolchainSource {
    fn from(toolchain: Toolchain) -> Self {
        ToolchainSource(Source::Open(toolchain))
    }
}

impl From<testbench_wasi::Toolchain> for ToolchainSource {
    fn from(toolchain: testbench_wasi::Toolchain) -> Self {
        Toolchain::from(toolchain).into()
    }
}

impl From<PathBuf> for ToolchainSource {
    fn from(dir: PathBuf) -> Self {
        ToolchainSource(Source::Dir(dir))
    }
}

impl From<&Path> for ToolchainSource {
    fn from(dir: &Path) -> Self {
        dir.to_owned().into()
    }
}

impl From<&PathBuf> for ToolchainSource {
    fn from(dir: &PathBuf) -> Self {
        dir.clone().into()
    }
}

impl From<&str> for ToolchainSource {
    fn from(dir: &str) -> Self {
        PathBuf::from(dir).into()
    }
}

impl From<String> for ToolchainSource {
    fn from(dir: String) -> Self {
        PathBuf::from(dir).into()
    }
}
