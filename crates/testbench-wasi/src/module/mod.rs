//! A module: found, recognised, compiled, and checked against what guests may import.

mod bytes;
mod imports;
mod sniff;
mod types;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use testbench_clock::{Clock, SystemClock};
use wasmtime::ExternType;

pub use self::bytes::Bytes;
pub use self::types::Signature;
pub(crate) use self::types::show;

use self::imports::explain_imports;
use self::sniff::sniff;
use crate::cache::{Compiled, ContentHash};
use crate::engine::{self, Engine, Flavour};
use crate::error::{ModuleError, NameList};
use crate::sys::Identity;

/// A WebAssembly module that has been compiled. Cloning is cheap.
///
/// ```
/// use testbench_wasi::Module;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wasm = wat::parse_str(r#"(module (func (export "answer")))"#)?;
/// let module = Module::from_bytes("lib", wasm)?;
/// assert_eq!(module.exports(), ["answer"]);
/// let not_a_program = module.check_command().unwrap_err();
/// assert!(not_a_program.to_string().contains("no `_start` function"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Module {
    inner: Arc<ModuleInner>,
}

#[derive(Clone)]
struct ModuleInner {
    name: String,
    source: Source,
    hash: ContentHash,
    engine: Engine,
    /// For the engine's own flavour, which counts no fuel.
    compiled: Arc<Compiled>,
    sections: Option<Arc<[CustomSection]>>,
}

/// Where a module's content is, for compiling it for another flavour.
#[derive(Clone)]
enum Source {
    Bytes(Bytes),
    /// Read again when needed: large modules are not kept in memory besides their code.
    File(PathBuf),
}

impl Module {
    /// The largest file that is read as a module: 512 MiB, more than any compiler can take.
    pub const BYTES_MAX: u64 = 512 << 20;

    /// The module in the file at `path`, named after the file without its `.wasm`.
    ///
    /// It is compiled at once, unless a module with the same content was compiled before and is
    /// still in [`CompilationCache::shared`](crate::CompilationCache::shared).
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is not a core module that can be compiled. Imports are not
    /// looked at: see [`Module::check_command`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ModuleError> {
        Module::from_file_on(Engine::shared(), path)
    }

    /// As [`Module::from_file`], compiled and run by another engine.
    ///
    /// # Errors
    ///
    /// As [`Module::from_file`].
    pub fn from_file_on(engine: &Engine, path: impl AsRef<Path>) -> Result<Self, ModuleError> {
        let path = path.as_ref();
        let name = match path.extension() {
            Some(extension) if extension == "wasm" => path.file_stem(),
            _ => path.file_name(),
        };
        let name = name.unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let source = Source::File(path.to_owned());
        let identity = identity(path)?;
        let cache = &engine.config().cache;
        if !engine.config().custom_sections
            && let Some((hash, compiled)) =
                cache.known_file(path, &identity, engine.config().flavour)
        {
            let engine = engine.clone();
            return Ok(ModuleInner { name, source, hash, engine, compiled, sections: None }.into());
        }
        let module = Module::compile(engine, name, source, &read(path)?)?;
        // The times of a file that was changed just now may not show its next change.
        if identity.is_settled(SystemClock::new("module").wall()) {
            cache.know_file(path, identity, module.hash());
        }
        Ok(module)
    }

    /// The module that consists of `bytes`.
    ///
    /// # Errors
    ///
    /// As [`Module::from_file`].
    pub fn from_bytes(
        name: impl Into<String>,
        bytes: impl Into<Bytes>,
    ) -> Result<Self, ModuleError> {
        Module::from_bytes_on(Engine::shared(), name, bytes)
    }

    /// As [`Module::from_bytes`], compiled and run by another engine.
    ///
    /// # Errors
    ///
    /// As [`Module::from_file`].
    pub fn from_bytes_on(
        engine: &Engine,
        name: impl Into<String>,
        bytes: impl Into<Bytes>,
    ) -> Result<Self, ModuleError> {
        let bytes = bytes.into();
        Module::compile(engine, name.into(), Source::Bytes(bytes.clone()), &bytes)
    }

    /// Whether this is a program whose imports are all provided: whether [`run`](crate::run()) would
    /// start it.
    ///
    /// # Errors
    ///
    /// The reason why not.
    pub fn check_command(&self) -> Result<(), ModuleError> {
        self.check_imports(&self.inner.compiled)?;
        if self.starter("_start")? {
            return Ok(());
        }
        Err(ModuleError::NoStart {
            module: self.name().to_owned(),
            exports: NameList(self.exports()),
        })
    }

    /// The functions of `names` that the module exports, if it could be started with them.
    ///
    /// # Errors
    ///
    /// When an import is not provided, or one of the exports is no function `() -> ()`.
    pub(crate) fn starters(&self, names: &[String]) -> Result<Vec<String>, ModuleError> {
        self.check_imports(&self.inner.compiled)?;
        let mut found = Vec::new();
        for name in names {
            if self.starter(name)? {
                found.push(name.clone());
            }
        }
        Ok(found)
    }

    /// The name by which errors and reports know it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The file from which it was read, if it was.
    pub fn path(&self) -> Option<&Path> {
        match &self.inner.source {
            Source::File(path) => Some(path),
            Source::Bytes(_) => None,
        }
    }

    /// The hash of its content.
    pub fn hash(&self) -> ContentHash {
        self.inner.hash
    }

    /// Its content, read again if it came from a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read any more, or has other content by now.
    pub fn bytes(&self) -> Result<Bytes, ModuleError> {
        match &self.inner.source {
            Source::Bytes(bytes) => Ok(bytes.clone()),
            Source::File(path) => {
                let bytes = Bytes::from(read(path)?);
                match ContentHash::of(&bytes) == self.inner.hash {
                    true => Ok(bytes),
                    false => Err(ModuleError::Changed { path: path.clone() }),
                }
            }
        }
    }

    /// The names of its exports, in the module's order.
    pub fn exports(&self) -> Vec<String> {
        self.inner.compiled.any().exports().map(|export| export.name().to_owned()).collect()
    }

    /// Its imports as module and name, in the module's order.
    pub fn imports(&self) -> Vec<(String, String)> {
        let module = self.inner.compiled.any();
        module.imports().map(|i| (i.module().to_owned(), i.name().to_owned())).collect()
    }

    /// Its custom sections in the module's order, if its engine was told to keep them:
    /// [`EngineConfig::custom_sections`](crate::EngineConfig::custom_sections).
    pub fn custom_sections(&self) -> Option<&[CustomSection]> {
        self.inner.sections.as_deref()
    }

    /// The same module, compiled by another engine.
    ///
    /// # Errors
    ///
    /// As [`Module::bytes`], and when that engine refuses it.
    pub fn on(&self, engine: &Engine) -> Result<Self, ModuleError> {
        let (name, source) = (self.name().to_owned(), self.inner.source.clone());
        Module::compile(engine, name, source, &self.bytes()?)
    }

    /// The engine that compiled it.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Names the compiler that made this module's code, with its version and settings: where it
    /// is the same, the code is the same.
    pub fn compiler_fingerprint(&self) -> String {
        let compiled = &self.inner.compiled;
        let engine = &compiled.engines.on_demand.engine;
        engine::compiler_fingerprint(engine, compiled.flavour).to_hex().to_string()
    }

    /// The same module under another name.
    pub fn with_name(&self, name: impl Into<String>) -> Self {
        ModuleInner { name: name.into(), ..ModuleInner::clone(&self.inner) }.into()
    }

    /// Compiles `content`, if it looks like a core module.
    fn compile(
        engine: &Engine,
        name: String,
        source: Source,
        content: &[u8],
    ) -> Result<Self, ModuleError> {
        check_size(&name, content.len() as u64)?;
        sniff(&name, content)?;
        let hash = ContentHash::of(content);
        let compiled =
            engine.config().cache.compile(&name, content, hash, engine.config().flavour)?;
        let sections = engine.config().custom_sections.then(|| custom_sections(content));
        Ok(ModuleInner { name, source, hash, engine: engine.clone(), compiled, sections }.into())
    }

    /// The code that counts fuel, or the one that does not.
    pub(crate) fn compiled(&self, fuel: bool) -> Result<Arc<Compiled>, ModuleError> {
        let inner = &self.inner;
        if !fuel {
            return Ok(inner.compiled.clone());
        }
        let flavour = Flavour { fuel, ..inner.compiled.flavour };
        let cache = &inner.engine.config().cache;
        if let Some(compiled) = cache.known(inner.hash, flavour) {
            return Ok(compiled);
        }
        cache.compile(&inner.name, &self.bytes()?, inner.hash, flavour)
    }

    /// Whether there is an export of this name. Fails if it is not a function `() -> ()`.
    fn starter(&self, name: &str) -> Result<bool, ModuleError> {
        match self.inner.compiled.any().get_export(name) {
            Some(ExternType::Func(ty)) if ty.params().len() == 0 && ty.results().len() == 0 => {
                Ok(true)
            }
            Some(other) => Err(ModuleError::StartType {
                module: self.name().to_owned(),
                function: name.to_owned(),
                found: show(&other),
            }),
            None => Ok(false),
        }
    }

    /// Fails unless everything that the module imports exists.
    fn check_imports(&self, compiled: &Compiled) -> Result<(), ModuleError> {
        match compiled.linked(compiled.best_place()) {
            Ok(_) => Ok(()),
            Err(error) => Err(explain_imports(self.name(), compiled, &error)),
        }
    }
}

impl From<ModuleInner> for Module {
    fn from(inner: ModuleInner) -> Self {
        Module { inner: Arc::new(inner) }
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("name", &self.inner.name)
            .field("path", &self.path())
            .field("hash", &self.inner.hash)
            .finish_non_exhaustive()
    }
}

/// A section of a module that is not part of its code: names, debug information, notes of the
/// tools that made it.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomSection {
    name: String,
    data: Vec<u8>,
}

impl CustomSection {
    /// Its name, such as `producers`; several sections may have the same.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its content.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

impl fmt::Debug for CustomSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomSection({:?}, {} bytes)", self.name, self.data.len())
    }
}

/// The custom sections of a valid module.
fn custom_sections(content: &[u8]) -> Arc<[CustomSection]> {
    let payloads = wasmparser::Parser::new(0).parse_all(content);
    let sections = payloads.filter_map(|payload| match payload {
        Ok(wasmparser::Payload::CustomSection(section)) => {
            Some(CustomSection { name: section.name().to_owned(), data: section.data().to_vec() })
        }
        _ => None,
    });
    sections.collect()
}

fn check_size(module: &str, bytes: u64) -> Result<(), ModuleError> {
    if bytes > Module::BYTES_MAX {
        let (module, bytes_max) = (module.to_owned(), Module::BYTES_MAX);
        return Err(ModuleError::TooLarge { module, bytes, bytes_max });
    }
    Ok(())
}

/// Tells whether a file is still the one that it was, without reading it.
///
/// A FIFO or a device would block or never end, so it is refused here, before it is opened.
#[allow(clippy::disallowed_methods, reason = "modules come from the real disk")]
fn identity(path: &Path) -> Result<Identity, ModuleError> {
    let metadata = std::fs::metadata(path).map_err(|source| unreadable(path, source))?;
    if metadata.is_dir() {
        return Err(unreadable(path, io::ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        return Err(unreadable(path, source));
    }
    check_size(&path.display().to_string(), metadata.len())?;
    Ok(Identity::of(&metadata))
}

#[allow(clippy::disallowed_methods, reason = "modules come from the real disk")]
fn read(path: &Path) -> Result<Vec<u8>, ModuleError> {
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    let mut bytes = Vec::new();
    // It may grow while it is read; the caller refuses a file with one byte too many.
    let read = file.take(Module::BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|source| unreadable(path, source))?;
    Ok(bytes)
}

fn unreadable(path: &Path, source: io::Error) -> ModuleError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ModuleError::Missing { path },
        _ => ModuleError::Unreadable { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::CompilationCache;

    #[test]
    fn a_file_that_was_changed_just_now_is_read_again() {
        let engine = Engine::with_cache(CompilationCache::in_memory());
        let known = |path: &Path| {
            let flavour = engine.config().flavour;
            engine.config().cache.known_file(path, &identity(path).unwrap(), flavour).is_some()
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new.wasm");
        #[allow(clippy::disallowed_methods, reason = "a file of the test's own")]
        std::fs::write(&path, wat::parse_str("(module)").unwrap()).unwrap();
        Module::from_file_on(&engine, &path).unwrap();
        assert!(!known(&path), "its times do not tell it from its next version");

        let old = Path::new(env!("CARGO_MANIFEST_DIR"));
        let old = old.join("../testbench-harness/guests/exit42.wasm");
        Module::from_file_on(&engine, &old).unwrap();
        assert!(known(&old), "it need not be read again");
    }
}
