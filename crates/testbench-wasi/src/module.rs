//! A module: found, recognised, compiled, and checked against what guests may import.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmparser::{BinaryReaderError, Validator, WasmFeatures};
use wasmtime::ExternType;

use crate::cache::CompilationCache;
use crate::compiled::Compiled;
use crate::engine::{self, Flavour};
use crate::error::{ImportHint, ModuleError, NameList, UnknownImports};
use crate::kernel::{Process, Thread};
use crate::sniff::{Sniffed, sniff};
use crate::spec::ProcessSpec;
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
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    source: Source,
    hash: ContentHash,
    cache: CompilationCache,
    /// For the common flavour.
    compiled: Arc<Compiled>,
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
    /// still in [`CompilationCache::shared`].
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is not a core module that can be compiled. Imports are not
    /// looked at: see [`Module::check_command`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ModuleError> {
        Module::from_file_in(CompilationCache::shared(), path)
    }

    /// As [`Module::from_file`], with a cache of one's own.
    ///
    /// # Errors
    ///
    /// As [`Module::from_file`].
    pub fn from_file_in(
        cache: &CompilationCache,
        path: impl AsRef<Path>,
    ) -> Result<Self, ModuleError> {
        let path = path.as_ref();
        let name = match path.extension() {
            Some(extension) if extension == "wasm" => path.file_stem(),
            _ => path.file_name(),
        };
        let name = name.unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let source = Source::File(path.to_owned());
        let identity = identity(path)?;
        if let Some((hash, compiled)) = cache.known_file(path, &identity) {
            return Ok(Module::from_parts(cache, name, source, hash, compiled));
        }
        let bytes = read(path)?;
        let (hash, compiled) = compile(cache, &name, &bytes)?;
        cache.know_file(path, identity, hash);
        Ok(Module::from_parts(cache, name, source, hash, compiled))
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
        Module::from_bytes_in(CompilationCache::shared(), name, bytes)
    }

    /// As [`Module::from_bytes`], with a cache of one's own.
    ///
    /// # Errors
    ///
    /// As [`Module::from_file`].
    pub fn from_bytes_in(
        cache: &CompilationCache,
        name: impl Into<String>,
        bytes: impl Into<Bytes>,
    ) -> Result<Self, ModuleError> {
        let (name, bytes) = (name.into(), bytes.into());
        let (hash, compiled) = compile(cache, &name, bytes.as_ref())?;
        Ok(Module::from_parts(cache, name, Source::Bytes(bytes), hash, compiled))
    }

    /// Whether this is a program whose imports are all provided: whether [`run`](crate::run()) would
    /// start it.
    ///
    /// # Errors
    ///
    /// What stands in the way.
    pub fn check_command(&self) -> Result<(), ModuleError> {
        self.check_imports(&self.inner.compiled)?;
        let module = self.inner.compiled.any();
        match module.get_export("_start") {
            Some(ExternType::Func(ty)) if ty.params().len() == 0 && ty.results().len() == 0 => {
                Ok(())
            }
            Some(other) => {
                Err(ModuleError::StartType { module: self.name().to_owned(), found: show(&other) })
            }
            None => Err(ModuleError::NoStart {
                module: self.name().to_owned(),
                exports: NameList(self.exports().into_iter().map(|e| format!("`{e}`")).collect()),
            }),
        }
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
                match ContentHash::of(bytes.as_ref()) == self.inner.hash {
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

    /// Names the compiler that made this module's code, with its version and settings: where it
    /// is the same, the code is the same.
    pub fn compiler_fingerprint(&self) -> String {
        let compiled = &self.inner.compiled;
        let engine = &compiled.engines().on_demand().engine;
        engine::compiler_fingerprint(engine, compiled.flavour()).to_hex().to_string()
    }

    /// The same module under another name.
    pub fn with_name(&self, name: impl Into<String>) -> Self {
        let Inner { source, hash, cache, compiled, .. } = &*self.inner;
        Module::from_parts(cache, name.into(), source.clone(), *hash, compiled.clone())
    }

    fn from_parts(
        cache: &CompilationCache,
        name: String,
        source: Source,
        hash: ContentHash,
        compiled: Arc<Compiled>,
    ) -> Self {
        let cache = cache.clone();
        Module { inner: Arc::new(Inner { name, source, hash, cache, compiled }) }
    }

    /// The code for a flavour.
    pub(crate) fn compiled(&self, flavour: Flavour) -> Result<Arc<Compiled>, ModuleError> {
        let inner = &self.inner;
        if flavour == inner.compiled.flavour() {
            return Ok(inner.compiled.clone());
        }
        if let Some(compiled) = inner.cache.known(inner.hash, flavour) {
            return Ok(compiled);
        }
        inner.cache.compile(&inner.name, self.bytes()?.as_ref(), inner.hash, flavour)
    }

    /// Whether everything that the module imports is there.
    fn check_imports(&self, compiled: &Compiled) -> Result<(), ModuleError> {
        match compiled.linked(compiled.best_place()) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explain_imports(compiled, &error)),
        }
    }

    /// Why linking failed. Costs more than linking, so it is asked only then.
    fn explain_imports(&self, compiled: &Compiled, error: &wasmtime::Error) -> ModuleError {
        let name = self.name().to_owned();
        let host = compiled.engines().on_demand();
        let Ok(process) = Process::new(ProcessSpec::hermetic("nobody")) else {
            return ModuleError::Unsupported { module: name, reason: chain(error) };
        };
        // The linker tells names and types to who has a store; nothing runs in this one.
        let mut store = wasmtime::Store::new(&host.engine, Thread::new(process));
        let (mut unknown, mut mistyped) = (Vec::new(), None);
        for import in compiled.any().imports() {
            let (import_module, import_name) = (import.module(), import.name());
            let Ok(provided) = host.linker.get(&mut store, import_module, import_name) else {
                unknown.push((import_module.to_owned(), import_name.to_owned()));
                continue;
            };
            let (wanted, provided) = (show(&import.ty()), show(&provided.ty(&store)));
            if wanted != provided && mistyped.is_none() {
                mistyped = Some(ModuleError::ImportType {
                    module: name.clone(),
                    import_module: import_module.to_owned(),
                    import_name: import_name.to_owned(),
                    wanted,
                    provided,
                });
            }
        }
        let Some((first_module, first_name)) = unknown.first() else {
            let reason = chain(error);
            return mistyped.unwrap_or(ModuleError::Unsupported { module: name, reason });
        };
        let known = host.linker.iter(&mut store).map(|(module, name, _)| (module, name));
        let hint = hint(first_module, first_name, known);
        let imports = unknown.iter().map(|(module, name)| format!("{module}::{name}")).collect();
        ModuleError::UnknownImport { module: name, unknown: UnknownImports { imports, hint } }
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

/// A module's content: owned, shared, or part of the program.
#[derive(Clone)]
pub struct Bytes(Repr);

#[derive(Clone)]
enum Repr {
    Shared(Arc<[u8]>),
    Static(&'static [u8]),
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Repr::Shared(bytes) => bytes,
            Repr::Static(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes(Repr::Shared(bytes.into()))
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(bytes: Arc<[u8]>) -> Self {
        Bytes(Repr::Shared(bytes))
    }
}

impl From<&'static [u8]> for Bytes {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes(Repr::Static(bytes))
    }
}

impl<const N: usize> From<&'static [u8; N]> for Bytes {
    fn from(bytes: &'static [u8; N]) -> Self {
        Bytes(Repr::Static(bytes))
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.as_ref().len())
    }
}

/// The BLAKE3 hash of a module's content, shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of `content`.
    pub fn of(content: &[u8]) -> Self {
        ContentHash(*blake3::hash(content).as_bytes())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Compiles what looks like a core module, for the common flavour.
fn compile(
    cache: &CompilationCache,
    name: &str,
    content: &[u8],
) -> Result<(ContentHash, Arc<Compiled>), ModuleError> {
    check_size(name, content.len() as u64)?;
    let module = || name.to_owned();
    match sniff(content) {
        Sniffed::Core => {}
        Sniffed::Component => return Err(ModuleError::Component { module: module() }),
        Sniffed::Damaged { offset, reason } => {
            return Err(ModuleError::Corrupt { module: module(), offset, reason });
        }
        Sniffed::Other(looks_like) => {
            return Err(ModuleError::NotWasm { module: module(), looks_like });
        }
    }
    let hash = ContentHash::of(content);
    Ok((hash, cache.compile(name, content, hash, Flavour::default())?))
}

/// What a compiler's error means for the module: damaged, outdated, or too new.
pub(crate) fn diagnose(name: &str, bytes: &[u8], error: &wasmtime::Error) -> ModuleError {
    let module = name.to_owned();
    let Err(all) = validate(bytes, WasmFeatures::all() - WasmFeatures::LEGACY_EXCEPTIONS) else {
        // Valid with everything on, so it is a proposal that is off here, or a compiler's limit.
        return ModuleError::Unsupported { module, reason: chain(error) };
    };
    if validate(bytes, WasmFeatures::all()).is_ok() {
        return ModuleError::LegacyExceptions { module };
    }
    ModuleError::Corrupt {
        module,
        offset: all.offset() as u64,
        reason: all.message().to_owned(),
    }
}

fn validate(bytes: &[u8], features: WasmFeatures) -> Result<(), BinaryReaderError> {
    Validator::new_with_features(features).validate_all(bytes).map(|_| ())
}

/// The error and its causes in one line.
fn chain(error: &wasmtime::Error) -> String {
    format!("{error:#}")
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
    // It may grow while it is read; one byte too many is noticed by whoever gets the bytes.
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

/// The nearest name in the same module, or the modules that there are.
fn hint<'a>(
    module: &str,
    name: &str,
    known: impl Iterator<Item = (&'a str, &'a str)>,
) -> ImportHint {
    let (mut modules, mut names) = (Vec::new(), Vec::new());
    for (known_module, known_name) in known {
        modules.push(format!("`{known_module}`"));
        if known_module == module {
            names.push(known_name);
        }
    }
    names.sort_unstable();
    match names.into_iter().min_by_key(|known| edit_distance(name, known)) {
        Some(nearest) => ImportHint::Nearest(nearest.to_owned()),
        None => {
            modules.sort_unstable();
            modules.dedup();
            ImportHint::KnownModules(NameList(modules))
        }
    }
}

/// How many bytes must be inserted, removed or replaced to make `b` of `a` (Levenshtein).
pub(crate) fn edit_distance(a: &str, b: &str) -> usize {
    /// Longer names are hostile or mangled, and nothing is near to them.
    const BYTES_MAX: usize = 128;
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() > BYTES_MAX || b.len() > BYTES_MAX {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// A type as the specification writes it, near enough: `a function (i32, i32) -> i32`.
fn show(ty: &ExternType) -> String {
    match ty {
        ExternType::Func(ty) => {
            let list = |types: Vec<String>| types.join(", ");
            let params = list(ty.params().map(|ty| ty.to_string()).collect());
            let results = list(ty.results().map(|ty| ty.to_string()).collect());
            let results = if results.is_empty() { "()" } else { &results };
            format!("a function ({params}) -> {results}")
        }
        ExternType::Global(ty) => format!("a global of type {}", ty.content()),
        ExternType::Table(_) => "a table".to_owned(),
        ExternType::Memory(ty) if ty.is_shared() => "a shared memory".to_owned(),
        ExternType::Memory(_) => "a memory".to_owned(),
        ExternType::Tag(_) => "an exception tag".to_owned(),
    }
}
