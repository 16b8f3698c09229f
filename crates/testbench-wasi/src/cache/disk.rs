//! Compiled modules on disk.
//!
//! Two files make an entry: `<key>.b3` says which artifact belongs to a key, by the BLAKE3 hash of
//! its content, and `<hash>.cwasm` is the artifact. wasmtime maps an artifact and runs its
//! code, so these rules hold:
//!
//! - the directory belongs to this user and is closed to all others;
//! - before an artifact is mapped, the very file that is open is read and hashed;
//! - an artifact is written under another name and renamed when it is complete, is never changed
//!   in place, and goes away only by losing its name: a file that others have mapped stays whole.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::compiled::Artifact;
use crate::sys::{PrivateDir, touch};

/// The size that the directory may have. Compiled interpreters have 60 MB; a few dozen of them fit.
const BYTES_MAX: u64 = 2 << 30;

/// A directory of compiled modules, opened when first used.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) path: PathBuf,
    dir: OnceLock<Option<PrivateDir>>,
    bytes_max: u64,
    warned: AtomicBool,
}

impl Disk {
    pub(super) fn new(path: PathBuf) -> Self {
        Disk { path, dir: OnceLock::new(), bytes_max: BYTES_MAX, warned: AtomicBool::new(false) }
    }

    /// How many artifacts there are.
    pub(super) fn len(&self) -> usize {
        let entries = self.dir().and_then(|dir| dir.entries().ok()).unwrap_or_default();
        entries.iter().filter(|(name, _)| name.ends_with(".cwasm")).count()
    }

    /// The verified artifact for a key; `None` if there is none, or it is damaged.
    pub(super) fn load(&self, key: &blake3::Hash) -> Option<Artifact> {
        let dir = self.dir()?;
        let (index, recorded) = read_index(dir, key)?;
        let mut file = dir.open(&artifact_name(&recorded)).ok()?;
        let mut hasher = blake3::Hasher::new();
        let read = hasher.update_reader(&mut file).map(drop);
        if read.is_err() || hasher.finalize() != recorded {
            tracing::debug!(%key, ?read, "a compiled module in the cache is damaged");
            return None;
        }
        // The order of eviction; nothing else depends on it.
        let _ = touch(&index).and_then(|()| touch(&file));
        Some(Artifact::File(file))
    }

    /// Keeps an artifact for a key and returns the file that it is in now; `None`, after a
    /// warning, if it cannot be kept.
    pub(super) fn store(&self, key: &blake3::Hash, artifact: &[u8]) -> Option<Artifact> {
        let dir = self.dir()?;
        self.make_room(dir, artifact.len() as u64);
        let hash = blake3::hash(artifact);
        let stored = dir.publish(&artifact_name(&hash), artifact).and_then(|file| {
            dir.publish(&index_name(key), hash.to_hex().as_bytes())?;
            Ok(file)
        });
        stored.map(Artifact::File).inspect_err(|error| self.warn(error)).ok()
    }

    /// Warns once that the directory cannot be used.
    pub(super) fn warn(&self, error: &dyn std::fmt::Display) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "compiled modules are not kept on disk: {}: {error}; each process compiles anew",
                self.path.display(),
            );
        }
    }

    fn dir(&self) -> Option<&PrivateDir> {
        let open = || {
            let opened = PrivateDir::open_or_create(&self.path);
            opened.inspect_err(|error| self.warn(error)).ok()
        };
        self.dir.get_or_init(open).as_ref()
    }

    /// Removes the least recently used entries until `bytes` more fit.
    fn make_room(&self, dir: &PrivateDir, bytes: u64) {
        let Ok(mut entries) = dir.entries() else { return };
        let mut total =
            entries.iter().map(|(_, file)| file.len()).sum::<u64>().saturating_add(bytes);
        entries.sort_by_cached_key(|(name, file)| (file.modified().ok(), name.clone()));
        for (name, file) in entries {
            if total <= self.bytes_max {
                break;
            }
            if dir.remove(&name).is_ok() {
                total -= file.len();
            }
        }
    }
}

fn index_name(key: &blake3::Hash) -> String {
    format!("{}.b3", key.to_hex())
}

fn artifact_name(hash: &blake3::Hash) -> String {
    format!("{}.cwasm", hash.to_hex())
}

/// The file that names the artifact of `key`, and the artifact's hash.
fn read_index(dir: &PrivateDir, key: &blake3::Hash) -> Option<(File, blake3::Hash)> {
    let file = dir.open(&index_name(key)).ok()?;
    let mut text = String::new();
    // One byte more than a hash, so that longer files are noticed.
    (&file).take(65).read_to_string(&mut text).ok()?;
    Some((file, blake3::Hash::from_hex(&text).ok()?))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_least_recently_used_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(dir.path().join("compiled"));
        // Room for two artifacts of 1,000 bytes with their indexes of 64, not for three.
        disk.bytes_max = 2500;
        let key = |n: u8| blake3::hash(&[n]);
        let store = |n: u8| assert!(disk.store(&key(n), &[n; 1000]).is_some());
        let age = |seconds| {
            let then = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            for entry in disk.path.read_dir().unwrap() {
                File::open(entry.unwrap().path()).unwrap().set_modified(then).unwrap();
            }
        };
        store(1);
        age(1000);
        store(2);
        age(2000);
        assert!(disk.load(&key(1)).is_some(), "looked at last, so it stays");
        store(3);
        let present = [1, 2, 3].map(|n| disk.load(&key(n)).is_some());
        assert_eq!(present, [true, false, true]);
        assert_eq!(disk.len(), 2);
        // An artifact that does not fit at all evicts everything and is kept: the bound is on what was
        // there before.
        assert!(disk.store(&key(4), &[4; 9000]).is_some());
        assert_eq!(disk.len(), 1);
    }
}
