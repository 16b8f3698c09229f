//! [`Toolchain`]: where a session finds programs, as one or several directories asked in order.
//!
//! One directory is asked for a name like this, and the first answer counts:
//!
//! 1. its manifest, `testbench.toml`: an alias;
//! 2. the file with exactly this name, `<program>.wasm`;
//! 3. a versioned name: `python3` is `python-3.12.wasm`, the highest version that fits;
//! 4. a multicall module: a program of the manifest that lists the name, or `coreutils.wasm` for
//!    the names of the GNU core utilities.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use testbench_wasi::{Engine, Module, ModuleError};

use crate::manifest::{Entry, Manifest, ManifestError};
use crate::names;

/// The programs that a session runs as guests.
///
/// A directory is looked at anew for each spawn, so files in it may come and go; its manifest
/// `testbench.toml` is read once. A module is compiled at its first use and kept.
#[derive(Clone, Debug, Default)]
pub struct Toolchain {
    /// Asked in this order.
    layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
struct Layer {
    programs: testbench_wasi::Programs,
    manifest: Manifest,
}

/// Why a directory is no toolchain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolchainError {
    /// It cannot be listed.
    #[error(transparent)]
    Dir(#[from] testbench_wasi::ProgramsError),
    /// Its `testbench.toml` cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl Toolchain {
    /// The programs in the directory `dir`: each file `<program>.wasm` is one, and
    /// `testbench.toml` there may say more.
    ///
    /// # Errors
    ///
    /// When `dir` is not a directory that can be listed, and when its manifest is wrong.
    pub fn open(dir: impl AsRef<Path>) -> Result<Toolchain, ToolchainError> {
        Toolchain::open_on(Engine::shared(), dir)
    }

    /// Like [`Toolchain::open`], compiled and run by another engine: with its own cache, say, or without
    /// interruption.
    ///
    /// # Errors
    ///
    /// As [`Toolchain::open`].
    pub fn open_on(engine: &Engine, dir: impl AsRef<Path>) -> Result<Toolchain, ToolchainError> {
        let programs = testbench_wasi::Programs::open_on(engine, dir.as_ref())?;
        let manifest = Manifest::read(dir.as_ref())?;
        Ok(Toolchain { layers: vec![Layer { programs, manifest }] })
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

    /// Like [`Toolchain::builtin`], compiled and run by another engine.
    #[cfg(feature = "guests")]
    pub fn builtin_on(engine: &Engine) -> Toolchain {
        let guests = crate::builtin::GUESTS.iter().copied();
        testbench_wasi::Programs::from_modules_on(engine, "the built-in tools", guests).into()
    }

    /// The modules of [`Toolchain::builtin`], each by its program's name, ordered by name: to write
    /// them out, as `testbench toolchain init` does.
    ///
    /// ```
    /// use testbench_harness::Toolchain;
    ///
    /// let (_, cat) = Toolchain::builtin_modules().find(|(name, _)| *name == "cat").unwrap();
    /// assert!(cat.starts_with(b"\0asm"));
    /// ```
    #[cfg(feature = "guests")]
    pub fn builtin_modules() -> impl ExactSizeIterator<Item = (&'static str, &'static [u8])> {
        crate::builtin::GUESTS.iter().copied()
    }

    /// Adds `other`, which is asked for programs that this one does not have.
    pub fn or(mut self, other: Toolchain) -> Toolchain {
        self.layers.extend(other.layers);
        self
    }

    /// Finds the program of this name: by the manifest, by its exact name, as a version of it, or as
    /// one of a multicall module's. Its module is not looked into.
    ///
    /// A name with a `/` is never found: paths are not joined onto a directory.
    pub fn find(&self, program: impl AsRef<OsStr>) -> Option<Tool> {
        self.layers.iter().find_map(|layer| layer.find(program.as_ref()).ok())
    }

    /// As [`Toolchain::find`], with a line for each place that was asked.
    pub(crate) fn look_up(
        &self,
        name: &OsStr,
        mut why: impl FnMut(String, String),
    ) -> Option<Tool> {
        self.layers.iter().find_map(|layer| {
            let found = layer.find(name);
            let said = found.as_ref().map_or_else(String::clone, Tool::describe_match);
            why(layer.describe(), said);
            found.ok()
        })
    }

    /// The names of all programs, sorted by their bytes. A directory that cannot be listed any
    /// more has none.
    pub fn names(&self) -> Vec<OsString> {
        let mut names = BTreeSet::new();
        for layer in &self.layers {
            names.extend(layer.programs.names().into_iter().flatten());
            let also = layer.manifest.names().filter(|name| layer.find(name).is_ok());
            names.extend(also.map(OsStr::to_owned));
        }
        names.into_iter().collect()
    }

    /// The program whose name is most like `program`, if one is like it at all: for messages.
    pub fn nearest(&self, program: impl AsRef<OsStr>) -> Option<OsString> {
        self.layers.iter().find_map(|layer| layer.programs.nearest(program.as_ref()))
    }

    /// The manifests' table for the program of this name.
    pub(crate) fn entry(&self, name: &OsStr) -> Option<(&Entry, &Path)> {
        self.layers
            .iter()
            .find_map(|layer| layer.manifest.entry(name).zip(layer.manifest.path.as_deref()))
    }

    /// Whether it stands in for programs directly in `dir`.
    pub(crate) fn claims(&self, dir: &Path) -> bool {
        self.layers.iter().any(|layer| layer.manifest.claims(dir))
    }

    /// The directories for which it stands in.
    pub(crate) fn claimed(&self) -> Vec<PathBuf> {
        let all = self.layers.iter().flat_map(|layer| layer.manifest.claimed());
        let mut claimed =
            if self.layers.is_empty() { Manifest::default().claimed() } else { vec![] };
        for dir in all {
            if !claimed.contains(&dir) {
                claimed.push(dir);
            }
        }
        claimed
    }

    /// Whether there is nowhere to look for programs.
    pub(crate) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Where programs are looked for, such as `tools/`; `None` if nowhere.
    pub(crate) fn describe(&self) -> Option<String> {
        let places: Vec<String> = self.layers.iter().map(Layer::describe).collect();
        (!places.is_empty()).then(|| places.join(" or "))
    }

    /// The result of `testbench_wasi::active_programs` in a session: the layer that is asked first, or
    /// one without programs, which hides that of an outer session.
    pub(crate) fn first(&self) -> testbench_wasi::Programs {
        let none = || testbench_wasi::Programs::from_modules::<&str, Vec<u8>>("no toolchain", []);
        self.layers.first().map_or_else(none, |layer| layer.programs.clone())
    }
}

/// Without a manifest, though the directory may have one: [`Toolchain::open`] reads it.
impl From<testbench_wasi::Programs> for Toolchain {
    fn from(programs: testbench_wasi::Programs) -> Toolchain {
        Toolchain { layers: vec![Layer { programs, manifest: Manifest::default() }] }
    }
}

/// How a name was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Match {
    /// `<program>.wasm` is there.
    Exact,
    /// The manifest says that it runs the module of another program.
    Alias,
    /// The module is a version of it.
    Version,
    /// The module does what its `argv[0]` says, and this is one of its names.
    Multicall,
}

impl Layer {
    /// Fails with the reason, for an explanation.
    fn find(&self, name: &OsStr) -> Result<Tool, String> {
        let entry = self.manifest.entry(name);
        if let Some(alias) = entry.and_then(|entry| entry.alias.as_ref()) {
            return match self.programs.contains(alias) {
                true => Ok(self.tool(alias.into(), Match::Alias, entry)),
                false => {
                    Err(format!("testbench.toml makes it an alias, but there is no `{alias}.wasm`"))
                }
            };
        }
        if self.programs.contains(name) {
            return Ok(self.tool(name.to_owned(), Match::Exact, entry));
        }
        let missed = || {
            let name = name.display();
            format!("no `{name}.wasm`, no version of it, and no multicall module")
        };
        let all = self.programs.names().map_err(|_| missed())?;
        if let Some(version) = names::best_version(name, &all) {
            let entry = entry.or_else(|| self.manifest.entry(version));
            return Ok(self.tool(version.to_owned(), Match::Version, entry));
        }
        let multicall = self.manifest.multicall(name).or_else(|| names::core_utility(name));
        match multicall.filter(|module| self.programs.contains(module)) {
            Some(module) => {
                let entry = entry.or_else(|| self.manifest.entry(module));
                Ok(self.tool(module.to_owned(), Match::Multicall, entry))
            }
            None => Err(missed()),
        }
    }

    fn tool(&self, name: OsString, matched: Match, entry: Option<&Entry>) -> Tool {
        let home = Home::Toolchain(self.programs.clone());
        Tool { home, name, matched, entry: entry.cloned() }
    }

    fn describe(&self) -> String {
        match self.programs.dir() {
            Some(dir) => dir.join("").display().to_string(),
            None => self.programs.to_string(),
        }
    }
}

/// A program that a toolchain has.
#[derive(Clone, Debug)]
pub struct Tool {
    home: Home,
    name: OsString,
    matched: Match,
    entry: Option<Entry>,
}

/// Where the module of a program is.
#[derive(Clone, Debug)]
enum Home {
    Toolchain(testbench_wasi::Programs),
    File(PathBuf),
}

impl Tool {
    /// The module in a file of its own.
    pub(crate) fn of_file(path: &Path) -> Tool {
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_owned();
        Tool { home: Home::File(path.to_owned()), name, matched: Match::Exact, entry: None }
    }

    /// The name of its module, without `.wasm`.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// How it was found.
    pub fn matched(&self) -> &Match {
        &self.matched
    }

    /// Its `argv[0]`, if the manifest sets it; else that is the name as it was called.
    pub fn argv0(&self) -> Option<&OsStr> {
        self.entry.as_ref()?.argv0.as_ref().map(OsStr::new)
    }

    /// The real directories that the manifest shows it, read-only, each with the guest's path.
    pub fn mounts(&self) -> impl Iterator<Item = (&Path, &str)> {
        let mounts = self.entry.iter().flat_map(|entry| &entry.mounts);
        mounts.map(|mount| (mount.host.as_path(), mount.guest.as_str()))
    }

    /// Variables that the manifest gives it, below those of the session and the command.
    pub fn envs(&self) -> impl Iterator<Item = (&str, &str)> {
        let vars = self.entry.iter().flat_map(|entry| &entry.env);
        vars.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The file of its module; `None` if that is part of this program.
    pub fn path(&self) -> Option<PathBuf> {
        match &self.home {
            Home::Toolchain(toolchain) => toolchain.path(&self.name),
            Home::File(path) => Some(path.clone()),
        }
    }

    /// Its module, compiled.
    ///
    /// # Errors
    ///
    /// When the file has gone, or holds no module that can be compiled.
    pub fn module(&self) -> Result<Module, ModuleError> {
        match &self.home {
            Home::File(path) => Module::from_file(path),
            Home::Toolchain(toolchain) => toolchain.module(&self.name).unwrap_or_else(|| {
                let dir = toolchain.dir().unwrap_or(Path::new(""));
                Err(ModuleError::Missing { path: dir.join(file_name(&self.name)) })
            }),
        }
    }

    fn describe_match(&self) -> String {
        let file = file_name(&self.name);
        let file = file.display();
        match self.matched {
            Match::Exact => format!("`{file}`"),
            Match::Alias => format!("`{file}`, of which testbench.toml makes it an alias"),
            Match::Version => format!("`{file}`, which is a version of it"),
            Match::Multicall => format!("`{file}`, a multicall module with that name"),
        }
    }
}

/// The module's file, or the name of a program that has none.
impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path(), &self.home) {
            (Some(path), _) => path.display().fmt(f),
            (None, Home::File(path)) => path.display().fmt(f),
            (None, Home::Toolchain(toolchain)) => {
                write!(f, "`{}` of {toolchain}", self.name.display())
            }
        }
    }
}

fn file_name(program: &OsStr) -> PathBuf {
    let mut file_name = program.to_owned();
    file_name.push(".wasm");
    file_name.into()
}

/// The argument of [`TestbenchBuilder::toolchain`](crate::TestbenchBuilder::toolchain): a directory or a
/// [`Toolchain`].
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

/// A directory.
impl<P: Into<PathBuf>> From<P> for ToolchainSource {
    fn from(dir: P) -> Self {
        ToolchainSource(Source::Dir(dir.into()))
    }
}
