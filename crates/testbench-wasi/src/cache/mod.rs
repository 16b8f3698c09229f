//! Compiled modules, in memory and on disk.
//!
//! A module is compiled once in a process, and once on a machine as long as the cache directory
//! is kept. In memory, an entry is found by the content of the module and the flavour for which
//! it was compiled. On disk (see [`disk`]), the key covers also the compiler, the processor's
//! features and every option that wasmtime does not check when it loads an artifact.
//!
//! Every entry on disk is verified in this process before it is used: a damaged or foreign entry is
//! compiled again and replaced. A directory that cannot be used is no error, only slow: modules are
//! then kept in memory, and one warning says so.

mod compiled;
mod diagnose;
mod disk;
mod hash;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

pub(crate) use self::compiled::Compiled;
pub use self::hash::ContentHash;

use self::compiled::Artifact;
use self::diagnose::{diagnose, has_shared_memory};
use self::disk::Disk;
use crate::engine::{self, Engines, Flavour};
use crate::error::ModuleError;
use crate::sys::Identity;
use crate::threads::with_enough_stack;

/// Where compiled modules are kept.
///
/// Cloning is cheap, and clones are the same cache. The cache of [`CompilationCache::shared`] is
/// used wherever none is given.
#[derive(Clone, Debug)]
pub struct CompilationCache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None`: nothing is kept.
    memory: Option<Mutex<Memory>>,
    disk: Option<Disk>,
    compiled: AtomicU64,
}

impl CompilationCache {
    /// The cache of this process: in memory, and in the user's cache directory
    /// (`~/.cache/testbench` on Linux), shared with all other processes of the user.
    pub fn shared() -> &'static CompilationCache {
        static SHARED: LazyLock<CompilationCache> = LazyLock::new(|| match default_dir() {
            Some(dir) => CompilationCache::at(dir),
            None => CompilationCache::in_memory(),
        });
        &SHARED
    }

    /// A cache in memory and in `dir`, which is made when first needed, for its owner only.
    ///
    /// If it exists and others can write to it, or it belongs to another user, or it cannot be
    /// written, the cache is in memory only and one warning is logged.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        CompilationCache::new(Some(Mutex::default()), Some(Disk::new(dir.into())))
    }

    /// A cache in memory only.
    pub fn in_memory() -> Self {
        CompilationCache::new(Some(Mutex::default()), None)
    }

    /// No cache: each module is compiled anew, and its code goes when the module does.
    pub fn off() -> Self {
        CompilationCache::new(None, None)
    }

    /// The directory on disk, unless the cache is in memory only.
    pub fn dir(&self) -> Option<&Path> {
        self.inner.disk.as_ref().map(|disk| &*disk.path)
    }

    /// How many compiled modules are on disk, damaged and foreign ones included.
    pub fn disk_entries(&self) -> usize {
        self.inner.disk.as_ref().map_or(0, Disk::len)
    }

    /// How many modules were compiled for lack of compiled code in this cache, since the process
    /// started; a module counts once for each configuration in which it is needed.
    pub fn compilations(&self) -> u64 {
        self.inner.compiled.load(Ordering::Relaxed)
    }

    fn new(memory: Option<Mutex<Memory>>, disk: Option<Disk>) -> Self {
        CompilationCache { inner: Arc::new(Inner { memory, disk, compiled: AtomicU64::new(0) }) }
    }

    fn memory(&self) -> Option<MutexGuard<'_, Memory>> {
        self.inner.memory.as_ref().map(lock)
    }

    /// The code that was compiled in this process, if it is still kept.
    pub(crate) fn known(&self, hash: ContentHash, flavour: Flavour) -> Option<Arc<Compiled>> {
        let memory = self.memory()?;
        // A compilation under way is not waited for here.
        memory.slots.get(&(hash, flavour))?.try_lock().ok()?.clone()
    }

    /// The code that was compiled from the file at `path` in this process, if the file is unchanged.
    pub(crate) fn known_file(
        &self,
        path: &Path,
        identity: &Identity,
        flavour: Flavour,
    ) -> Option<(ContentHash, Arc<Compiled>)> {
        let hash = match self.memory()?.files.get(path) {
            Some((known, hash)) if known == identity => *hash,
            _ => return None,
        };
        Some((hash, self.known(hash, flavour)?))
    }

    /// Remembers the hash of a file, to be looked up with [`CompilationCache::known_file`].
    pub(crate) fn know_file(&self, path: &Path, identity: Identity, hash: ContentHash) {
        let Some(mut memory) = self.memory() else { return };
        if memory.files.len() >= Memory::MODULES_MAX {
            memory.files.clear();
        }
        memory.files.insert(path.to_owned(), (identity, hash));
    }

    /// The compiled form of `bytes`, whose hash is `hash`.
    pub(crate) fn compile(
        &self,
        name: &str,
        bytes: &[u8],
        hash: ContentHash,
        flavour: Flavour,
    ) -> Result<Arc<Compiled>, ModuleError> {
        let slot = self.memory().map(|mut memory| memory.slot(hash, flavour)).unwrap_or_default();
        // A second compilation of the same module waits here; other modules are not held up.
        let mut slot = lock(&slot);
        if let Some(compiled) = &*slot {
            return Ok(compiled.clone());
        }
        let made = with_enough_stack(|| self.load_or_compile(name, bytes, hash, flavour));
        let made = made.map_err(|source| no_engine(name, &source))?;
        let compiled = Arc::new(made?);
        *slot = Some(compiled.clone());
        Ok(compiled)
    }

    fn load_or_compile(
        &self,
        name: &str,
        bytes: &[u8],
        hash: ContentHash,
        flavour: Flavour,
    ) -> Result<Compiled, ModuleError> {
        let engines = flavour.engines().map_err(|error| no_engine(name, &error))?;
        let key = disk_key(hash, &engines, flavour);
        let disk = self.inner.disk.as_ref();
        let load = |artifact| Compiled::from_artifact(flavour, Arc::clone(&engines), &artifact);
        match disk.and_then(|disk| disk.load(&key)).map(load) {
            Some(Ok(compiled)) => return Ok(compiled),
            Some(Err(error)) => tracing::debug!(module = name, %error, "compiling again"),
            None => {}
        }
        self.inner.compiled.fetch_add(1, Ordering::Relaxed);
        let span = tracing::debug_span!("compile", module = name, bytes = bytes.len());
        let artifact = span
            .in_scope(|| engines.compiler().precompile_module(bytes))
            .map_err(|error| diagnose(name, bytes, &error))?;
        if has_shared_memory(bytes) {
            return Err(ModuleError::Threads { module: name.to_owned() });
        }
        if let Some(disk) = disk
            && let Some(stored) = disk.store(&key, &artifact)
        {
            match load(stored) {
                Ok(compiled) => return Ok(compiled),
                // Such as a disk from which no code may be run (`noexec`).
                Err(error) => disk.warn(&format_args!("{error:#}")),
            }
        }
        load(Artifact::Bytes(artifact)).map_err(|error| {
            let reason = format!("{error:#}");
            ModuleError::Unsupported { module: name.to_owned(), reason }
        })
    }
}

type Slot = Arc<Mutex<Option<Arc<Compiled>>>>;

/// The modules compiled in this process.
#[derive(Debug, Default)]
struct Memory {
    slots: HashMap<(ContentHash, Flavour), Slot>,
    /// The hashes of files, so that an unchanged file is not read and hashed again.
    files: HashMap<PathBuf, (Identity, ContentHash)>,
}

impl Memory {
    /// More programs than a toolchain has. Without a bound, a process that runs generated modules
    /// would keep them all.
    const MODULES_MAX: usize = 512;

    /// The place of a module. A new one in a full memory takes the place of all that are not in use.
    fn slot(&mut self, hash: ContentHash, flavour: Flavour) -> Slot {
        let key = (hash, flavour);
        if self.slots.len() >= Memory::MODULES_MAX && !self.slots.contains_key(&key) {
            self.slots.retain(|_, slot| match slot.try_lock() {
                Ok(compiled) => compiled.as_ref().is_some_and(|c| Arc::strong_count(c) > 1),
                // It is compiled right now.
                Err(_) => true,
            });
        }
        self.slots.entry(key).or_default().clone()
    }
}

/// Covers all that an artifact depends on: the module, the compiler with its settings, and the options that
/// wasmtime does not check when it loads one.
fn disk_key(hash: ContentHash, engines: &Engines, flavour: Flavour) -> blake3::Hash {
    let mut key = blake3::Hasher::new();
    key.update(b"testbench-wasi compiled module 1");
    key.update(hash.as_bytes());
    key.update(engine::compiler_fingerprint(engines.compiler(), flavour).as_bytes());
    key.finalize()
}

fn no_engine(name: &str, error: &dyn std::fmt::Display) -> ModuleError {
    ModuleError::Engine { module: name.to_owned(), reason: format!("{error:#}") }
}

/// The only place in this crate where the environment is read.
fn default_dir() -> Option<PathBuf> {
    let dirs = directories::ProjectDirs::from("", "", "testbench")?;
    Some(dirs.cache_dir().join("compiled"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The values behind these locks are replaced in one step, so they are whole even after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
