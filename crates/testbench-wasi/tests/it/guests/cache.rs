//! Compiled modules on disk: what is found again, and what is never trusted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use testbench_wasi::{CompilationCache, Engine, EngineConfig, GuestSpec, Module, run};

/// Changes the content of a file.
type Damage = fn(&mut Vec<u8>);

/// A directory for one test's cache.
struct Dir {
    dir: tempfile::TempDir,
}

impl Dir {
    fn new() -> Self {
        Dir { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("compiled")
    }

    /// As a new process sees it: nothing in memory.
    fn cache(&self) -> CompilationCache {
        CompilationCache::at(self.path())
    }

    /// The only file with this extension.
    fn only(&self, extension: &str) -> PathBuf {
        let [file] = &self.all(extension)[..] else { panic!("not exactly one .{extension}") };
        file.clone()
    }

    fn all(&self, extension: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path()) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
    }
}

fn wasm(code: u32) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const {code}))))"#
    ))
    .unwrap()
}

/// Loads the module with a cache and runs it.
fn code(cache: &CompilationCache, code: u32) -> Option<u32> {
    let module =
        Module::from_bytes_on(&Engine::with_cache(cache.clone()), "tool", wasm(code)).unwrap();
    run(GuestSpec::new(module)).unwrap().exit.code()
}

/// Whether two paths are the same file with the same content since it was made.
fn stamp(path: &Path) -> (u64, std::time::SystemTime) {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).unwrap();
    (metadata.ino(), metadata.created().unwrap_or(std::time::UNIX_EPOCH))
}

#[test]
fn a_second_process_finds_what_the_first_compiled() {
    let dir = Dir::new();
    assert_eq!(code(&dir.cache(), 7), Some(7));
    let before = stamp(&dir.only("cwasm"));
    assert_eq!(code(&dir.cache(), 7), Some(7));
    assert_eq!(stamp(&dir.only("cwasm")), before, "it was compiled again");
    assert_eq!(dir.cache().disk_entries(), 1);
    // Nothing is left over, and no other user can look.
    assert!(dir.all("tmp").is_empty());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path()), 0o700);
    assert_eq!(mode(&dir.only("cwasm")), 0o600);
}

#[test]
fn what_is_found_is_what_runs() {
    // Shows that the artifact on disk is used at all: the index of one module is pointed at the
    // (valid) artifact of another, as only the owner of the directory could do.
    let dir = Dir::new();
    assert_eq!(code(&dir.cache(), 1), Some(1));
    let index_of_one = dir.only("b3");
    assert_eq!(code(&dir.cache(), 2), Some(2));
    let index_of_two = dir.all("b3").into_iter().find(|path| *path != index_of_one).unwrap();
    fs::copy(index_of_two, index_of_one).unwrap();
    assert_eq!(code(&dir.cache(), 1), Some(2));
}

#[test]
fn flavours_are_kept_apart() {
    let dir = Dir::new();
    let cache = dir.cache();
    let module =
        Module::from_bytes_on(&Engine::with_cache(cache.clone()), "tool", wasm(3)).unwrap();
    assert_eq!(run(GuestSpec::new(module.clone())).unwrap().exit.code(), Some(3));
    let other = EngineConfig::new().canonical_nans(false).cache(cache).build().unwrap();
    let native = GuestSpec::new(module.on(&other).unwrap());
    assert_eq!(run(native).unwrap().exit.code(), Some(3));
    let mut fuel = GuestSpec::new(module);
    fuel.limits_mut().fuel = Some(1000);
    assert_eq!(run(fuel).unwrap().exit.code(), Some(3));
    assert_eq!(dir.all("b3").len(), 3);
}

#[test]
fn a_damaged_artifact_is_compiled_again() {
    let damages: [(&str, Damage); 6] = [
        ("empty", |bytes| bytes.clear()),
        ("cut in half", |bytes| bytes.truncate(bytes.len() / 2)),
        ("longer", |bytes| bytes.push(0)),
        ("first bit", |bytes| bytes[0] ^= 1),
        ("bit in the middle", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        }),
        ("other content", |bytes| *bytes = b"\x7fELF but not really".to_vec()),
    ];
    for (what, damage) in damages {
        let dir = Dir::new();
        assert_eq!(code(&dir.cache(), 7), Some(7));
        let path = dir.only("cwasm");
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        damage(&mut damaged);
        fs::write(&path, &damaged).unwrap();
        assert_eq!(code(&dir.cache(), 7), Some(7), "{what}");
        assert_eq!(fs::read(&path).unwrap(), whole, "{what}: it was not replaced");
    }
}

#[test]
fn a_damaged_index_is_written_again() {
    let damages: [(&str, Damage); 5] = [
        ("empty", |bytes| bytes.clear()),
        ("cut", |bytes| bytes.truncate(63)),
        ("longer", |bytes| bytes.push(b'\n')),
        ("not hexadecimal", |bytes| bytes[0] = b'x'),
        ("another hash", |bytes| bytes[0] = if bytes[0] == b'0' { b'1' } else { b'0' }),
    ];
    for (what, damage) in damages {
        let dir = Dir::new();
        assert_eq!(code(&dir.cache(), 7), Some(7));
        let path = dir.only("b3");
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        damage(&mut damaged);
        fs::write(&path, &damaged).unwrap();
        assert_eq!(code(&dir.cache(), 7), Some(7), "{what}");
        assert_eq!(fs::read(&path).unwrap(), whole, "{what}: it was not written again");
    }
}

#[test]
fn half_an_entry_is_none() {
    for extension in ["cwasm", "b3"] {
        let dir = Dir::new();
        assert_eq!(code(&dir.cache(), 7), Some(7));
        fs::remove_file(dir.only(extension)).unwrap();
        assert_eq!(code(&dir.cache(), 7), Some(7));
        dir.only(extension);
    }
}

#[test]
fn what_is_not_a_plain_file_is_not_opened() {
    // A symlink to a good artifact, and a FIFO without a writer.
    let dir = Dir::new();
    assert_eq!(code(&dir.cache(), 7), Some(7));
    let path = dir.only("cwasm");
    let elsewhere = dir.dir.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert_eq!(code(&dir.cache(), 7), Some(7));
    assert!(fs::symlink_metadata(&path).unwrap().is_file(), "the symlink was followed");

    fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(code(&dir.cache(), 7), Some(7));
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
}

#[test]
fn a_directory_open_to_others_is_not_used() {
    for mode in [0o777, 0o770, 0o702, 0o755] {
        let dir = Dir::new();
        fs::create_dir(dir.path()).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(code(&dir.cache(), 7), Some(7));
        assert_eq!(dir.cache().disk_entries(), 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "mode {mode:o}");
    }
}

#[test]
fn a_directory_of_another_user_is_not_used() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can make one.
    }
    let dir = Dir::new();
    assert_eq!(code(&dir.cache(), 7), Some(7));
    std::os::unix::fs::chown(dir.path(), Some(65_534), None).unwrap();
    assert_eq!(code(&dir.cache(), 7), Some(7));
    assert_eq!(dir.cache().disk_entries(), 0);
    // Neither is a file of another user in a directory of ours.
    std::os::unix::fs::chown(dir.path(), Some(0), None).unwrap();
    let path = dir.only("cwasm");
    std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
    assert_eq!(code(&dir.cache(), 7), Some(7));
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(&path).unwrap()), 0);
}

#[test]
fn a_symlink_to_a_directory_is_not_used() {
    let dir = Dir::new();
    let real = dir.dir.path().join("real");
    fs::create_dir(&real).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(&real, dir.path()).unwrap();
    assert_eq!(code(&dir.cache(), 7), Some(7));
    assert_eq!(fs::read_dir(&real).unwrap().count(), 0);
}

#[test]
fn a_directory_that_cannot_be_made_or_written_does_no_harm() {
    // Under a file no user can make anything.
    let dir = Dir::new();
    let file = dir.dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(code(&CompilationCache::at(file.join("compiled")), 7), Some(7));
    if PathBuf::from("/proc/self").exists() {
        assert_eq!(code(&CompilationCache::at("/proc/self/compiled"), 7), Some(7));
    }
    if !rustix::process::geteuid().is_root() {
        fs::create_dir(dir.path()).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
        assert_eq!(code(&dir.cache(), 7), Some(7));
    }
}

#[test]
fn entries_survive_being_replaced_while_they_run() {
    let dir = Dir::new();
    let module = Module::from_bytes_on(&Engine::with_cache(dir.cache()), "tool", wasm(7)).unwrap();
    // Now mapped from the disk, by a second cache.
    let mapped = Module::from_bytes_on(&Engine::with_cache(dir.cache()), "tool", wasm(7)).unwrap();
    for file in dir.all("cwasm").into_iter().chain(dir.all("b3")) {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(code(&dir.cache(), 7), Some(7));
    assert_eq!(run(GuestSpec::new(mapped)).unwrap().exit.code(), Some(7));
    assert_eq!(run(GuestSpec::new(module)).unwrap().exit.code(), Some(7));
}

#[test]
fn many_writers_at_once() {
    let dir = Dir::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // A cache each, as processes have; and one cache used by several threads.
                let cache = dir.cache();
                std::thread::scope(|scope| {
                    for n in [1, 2, 3, 1, 2, 3] {
                        let cache = &cache;
                        scope.spawn(move || assert_eq!(code(cache, n), Some(n)));
                    }
                });
            });
        }
    });
    assert!(dir.all("tmp").is_empty());
    assert_eq!(dir.all("b3").len(), 3);
    for n in 1..=3 {
        assert_eq!(code(&dir.cache(), n), Some(n));
    }
}

#[test]
fn one_compilation_serves_all_threads() {
    let cache = CompilationCache::in_memory();
    let engine = Engine::with_cache(cache.clone());
    let hashes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Module::from_bytes_on(&engine, "tool", wasm(9)).unwrap()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap().hash()).collect()
    });
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(cache.compilations(), 1);
    assert_eq!(cache.disk_entries(), 0);
    assert_eq!(cache.dir(), None);
}
