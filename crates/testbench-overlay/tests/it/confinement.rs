//! Nothing outside of the root is read or written. Every attempt is made next to a control inside
//! the root that succeeds, and a file outside is looked at afterwards.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use testbench_overlay::{
    Create, Errno, Follow, Fs, GuestPath, HostDir, OpenHow, Overlay, fs, install,
};

/// A root with a way in and many ways out, and a sentinel outside.
struct Arena {
    dir: tempfile::TempDir,
    before: (String, i64, i64),
}

const WAYS_OUT: &[&str] = &[
    "../outside/secret",
    "up/secret",
    "absolute/secret",
    "chain3/secret",
    "in/../../outside/secret",
    "in/deep/../../../outside/secret",
    "file-out",
    "file-absolute",
    "proc/self/environ",
    "sub-up/outside/secret",
];

impl Arena {
    fn new() -> Arena {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        std::fs::create_dir_all(root.join("in/deep")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "secret").unwrap();
        std::fs::write(root.join("in/open"), "open").unwrap();
        symlink("../outside", root.join("up")).unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("up", root.join("chain1")).unwrap();
        symlink("chain1", root.join("chain2")).unwrap();
        symlink("./in/../chain2", root.join("chain3")).unwrap();
        symlink("../outside/secret", root.join("file-out")).unwrap();
        symlink(outside.join("secret"), root.join("file-absolute")).unwrap();
        symlink("/proc", root.join("proc")).unwrap();
        symlink("in/../..", root.join("sub-up")).unwrap();
        // The controls: the same shapes, but they stay inside.
        symlink("in/../in", root.join("back")).unwrap();
        symlink(root.canonicalize().unwrap().join("in/open"), root.join("own")).unwrap();
        symlink("back/open", root.join("chain")).unwrap();
        let before = sentinel(&outside);
        Arena { dir, before }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// The sentinel has not changed, nor has anything been added beside it.
    fn check(&self) {
        let outside = self.dir.path().join("outside");
        assert_eq!(sentinel(&outside), self.before);
        let names: Vec<_> = std::fs::read_dir(&outside).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(std::fs::read_dir(self.dir.path()).unwrap().count(), 2);
    }
}

fn sentinel(outside: &Path) -> (String, i64, i64) {
    let path = outside.join("secret");
    let metadata = std::fs::metadata(&path).unwrap();
    (std::fs::read_to_string(&path).unwrap(), metadata.mtime_nsec(), metadata.ctime_nsec())
}

/// Each operation that takes a path and might reach what it leads to.
fn attempts(tree: &dyn Fs, path: &str) -> Vec<(&'static str, Result<(), Errno>)> {
    let top = tree.root().unwrap();
    let path = GuestPath::new(path);
    let write = OpenHow { write: true, truncate: true, create: Create::IfMissing, ..OpenHow::READ };
    let create = OpenHow { write: true, create: Create::New, ..OpenHow::READ };
    let beside = [path.as_bytes(), b".new"].concat();
    let beside = GuestPath::new(&beside);
    vec![
        ("read", tree.open_at(&*top, path, &OpenHow::READ).map(drop)),
        ("stat", tree.stat_at(&*top, path, Follow::Yes).map(drop)),
        ("write", tree.open_at(&*top, path, &write).map(drop)),
        ("chmod", tree.set_mode_at(&*top, path, Follow::Yes, 0o600)),
        ("times", tree.set_times_at(&*top, path, Follow::Yes, now())),
        ("link", tree.link_at(&*top, path, Follow::Yes, &*top, GuestPath::new("linked"))),
        ("create", tree.open_at(&*top, beside, &create).map(drop)),
        ("mkdir", tree.create_dir_at(&*top, beside, 0o755)),
        ("symlink", tree.symlink_at(b"x", &*top, beside)),
        ("rename in", tree.rename_at(&*top, path, &*top, GuestPath::new("moved"))),
        ("rename out", tree.rename_at(&*top, GuestPath::new("in/open"), &*top, path)),
        ("remove", tree.remove_file_at(&*top, path)),
        ("rmdir", tree.remove_dir_at(&*top, path)),
    ]
}

fn now() -> testbench_overlay::SetTimes {
    let now = Some(testbench_overlay::SetTime::Now);
    testbench_overlay::SetTimes { atime: now, mtime: now }
}

fn trees(root: &Path) -> Vec<(&'static str, Arc<dyn Fs>)> {
    vec![
        ("overlay", Overlay::new(root).unwrap()),
        ("stacked overlay", Overlay::over(Overlay::new(root).unwrap()).build().unwrap()),
        ("host directory", Arc::new(HostDir::open(root).unwrap())),
    ]
}

#[test]
fn every_way_out_is_refused_by_every_operation() {
    for way in WAYS_OUT {
        // What ends in a symlink is inside itself: renaming, removing or covering it is no escape.
        let is_link_itself = way.starts_with("file-");
        let arena = Arena::new();
        for (tree, fs) in trees(&arena.root()) {
            for (what, result) in attempts(&*fs, way) {
                let on_the_link = is_link_itself
                    && matches!(
                        what,
                        "create"
                            | "mkdir"
                            | "symlink"
                            | "rename in"
                            | "rename out"
                            | "remove"
                            | "rmdir"
                    );
                if !on_the_link {
                    assert_eq!(result, Err(Errno::NotCapable), "{tree}: {what} {way}");
                }
            }
            arena.check();
        }
    }
}

#[test]
fn the_same_shapes_that_stay_inside_succeed() {
    let arena = Arena::new();
    for (tree, fs) in trees(&arena.root()) {
        if tree == "stacked overlay" {
            // It does not know the host's path of the directory beneath the one beneath.
            continue;
        }
        let top = fs.root().unwrap();
        for path in ["in/open", "in/deep/../open", "back/open", "chain", "own", "./in//open"] {
            let stat = fs.stat_at(&*top, GuestPath::new(path), Follow::Yes);
            assert_eq!(stat.map(|stat| stat.size), Ok(4), "{tree}: {path}");
            let write = OpenHow { write: true, ..OpenHow::READ };
            let file = fs.open_at(&*top, GuestPath::new(path), &write).unwrap();
            assert_eq!(file.write_at(b"o", 0), Ok(1), "{tree}: {path}");
        }
    }
}

#[test]
fn the_walk_is_confined_to_the_handle_that_it_starts_from() {
    let arena = Arena::new();
    for (tree, fs) in trees(&arena.root()) {
        let top = fs.root().unwrap();
        let how = OpenHow { directory: true, ..OpenHow::READ };
        let sub = fs.open_at(&*top, GuestPath::new("in"), &how).unwrap();
        let stat = |path: &str| fs.stat_at(&*sub, GuestPath::new(path), Follow::Yes).map(drop);
        assert_eq!(stat("open"), Ok(()), "{tree}");
        assert_eq!(stat("deep/../open"), Ok(()), "{tree}");
        assert_eq!(stat("../in/open"), Err(Errno::NotCapable), "{tree}");
        assert_eq!(stat(".."), Err(Errno::NotCapable), "{tree}");
        assert_eq!(stat("/in/open"), Err(Errno::NotCapable), "{tree}");
        let other = HostDir::open(arena.root()).unwrap();
        let foreign = other.root().unwrap();
        let stat = fs.stat_at(&*foreign, GuestPath::new("in"), Follow::Yes);
        assert_eq!(stat.map(drop), Err(Errno::Xdev), "{tree}");
    }
}

#[test]
fn an_absolute_link_from_a_sub_directory_must_end_within_it() {
    let arena = Arena::new();
    let real = arena.root().canonicalize().unwrap();
    symlink(real.join("in/open"), arena.root().join("in/own")).unwrap();
    symlink(real.join("back"), arena.root().join("in/other")).unwrap();
    symlink(&real, arena.root().join("in/above")).unwrap();
    for (tree, fs) in trees(&arena.root()) {
        if tree == "stacked overlay" {
            continue;
        }
        let top = fs.root().unwrap();
        let how = OpenHow { directory: true, ..OpenHow::READ };
        let sub = fs.open_at(&*top, GuestPath::new("in"), &how).unwrap();
        let size = |p: &str| fs.stat_at(&*sub, GuestPath::new(p), Follow::Yes).map(|s| s.size);
        assert_eq!(size("own"), Ok(4), "{tree}");
        // `back` itself leads to `in`, but the way there starts above it.
        assert!(size("other").is_ok(), "{tree}");
        assert_eq!(size("other/open"), Ok(4), "{tree}");
        assert_eq!(size("above"), Err(Errno::NotCapable), "{tree}");
        assert_eq!(size("above/back/.."), Err(Errno::NotCapable), "{tree}");
        let remove = fs.remove_dir_at(&*sub, GuestPath::new("above/in"));
        assert_eq!(remove, Err(Errno::NotCapable), "{tree}");
        let own = fs.stat_at(&*top, GuestPath::new("in/above/own"), Follow::Yes);
        assert_eq!(own.map(|stat| stat.size), Ok(4), "{tree}");
    }
}

#[test]
fn the_mirror_of_std_refuses_host_paths_outside_and_says_why() {
    let arena = Arena::new();
    let overlay = Overlay::new(arena.root()).unwrap();
    let _installed = install(overlay);
    for path in [arena.dir.path().join("outside/secret"), arena.root().join("../outside/secret")] {
        let error = fs::read(&path).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        let root = arena.root().canonicalize().unwrap();
        let text = error.to_string();
        assert!(text.contains(&*root.to_string_lossy()) && text.contains("passthrough"), "{text}");
        assert!(fs::write(&path, "x").is_err());
        assert!(fs::remove_file(&path).is_err());
        assert!(fs::rename(arena.root().join("in/open"), &path).is_err());
        assert!(fs::copy(arena.root().join("in/open"), &path).is_err());
    }
    assert_eq!(fs::read_to_string(arena.root().join("in/open")).unwrap(), "open");
    arena.check();
}

#[test]
fn a_directory_that_is_passed_through_is_reached_as_far_as_it_allows() {
    let arena = Arena::new();
    let outside = arena.dir.path().join("outside");
    let through = HostDir::open(&outside).unwrap().read_only();
    let overlay = Overlay::builder(arena.root()).passthrough(through).build().unwrap();
    let _installed = install(overlay);
    let secret = outside.canonicalize().unwrap().join("secret");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    let error = fs::write(&secret, "x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let error = fs::rename(&secret, arena.root().join("moved")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::CrossesDevices);
    arena.check();
}

#[test]
#[cfg(target_os = "linux")]
fn an_open_file_in_a_directory_that_is_passed_through_takes_one_descriptor() {
    const FILES: usize = 20;
    let arena = Arena::new();
    let outside = arena.dir.path().join("outside").canonicalize().unwrap();
    let through = HostDir::open(&outside).unwrap().read_only();
    let overlay = Overlay::builder(arena.root()).passthrough(through).build().unwrap();
    let _installed = install(overlay);
    // Other tests have files of their own open at the same time, but not of this directory.
    let open_beneath = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
        let targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
        targets.filter(|target| target.starts_with(&outside)).count()
    };
    let opened = |_| fs::File::open(outside.join("secret")).unwrap();
    let _first = opened(0);
    let before = open_beneath();
    let _files: Vec<_> = (0..FILES).map(opened).collect();
    assert_eq!(open_beneath() - before, FILES);
}

#[test]
fn special_files_are_listed_and_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(dir.path().join("fifo")).status().unwrap();
    assert!(fifo.success());
    for (tree, fs) in trees(dir.path()) {
        let top = fs.root().unwrap();
        let names: Vec<_> = top.read_dir().unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(names, [Box::from(&b"fifo"[..]), Box::from(&b"socket"[..])], "{tree}");
        for name in ["fifo", "socket"] {
            for write in [false, true] {
                let how = OpenHow { write, ..OpenHow::READ };
                let opened = fs.open_at(&*top, GuestPath::new(name), &how).map(drop);
                assert_eq!(opened, Err(Errno::Nxio), "{tree}: {name}");
            }
        }
    }
}

#[test]
fn odd_names_are_names() {
    let dir = tempfile::tempdir().unwrap();
    for (tree, fs) in trees(dir.path()) {
        let top = fs.root().unwrap();
        let long = "x".repeat(255);
        let odd: [&[u8]; 5] = [b"new\nline", b"\xff\xfe", b" ", b"...", long.as_bytes()];
        for name in odd {
            let how = OpenHow { write: true, create: Create::New, ..OpenHow::READ };
            fs.open_at(&*top, GuestPath::new(name), &how).unwrap();
            assert!(top.read_dir().unwrap().iter().any(|e| *e.name == *name), "{tree}");
            fs.remove_file_at(&*top, GuestPath::new(name)).unwrap();
        }
        let stat = |path: &[u8]| fs.stat_at(&*top, GuestPath::new(path), Follow::Yes).map(drop);
        assert_eq!(stat(&[b'x'; 256]), Err(Errno::Nametoolong), "{tree}");
        assert_eq!(stat(&[b'/'; 5000]), Err(Errno::Nametoolong), "{tree}");
        assert_eq!(stat(b"a\0b"), Err(Errno::Inval), "{tree}");
        assert_eq!(stat(b""), Err(Errno::Noent), "{tree}");
    }
}

#[test]
fn a_name_swapped_while_in_use_never_leads_out() {
    let arena = Arena::new();
    let root = arena.root();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // `swap` is in turn a directory, and a symlink to the directory outside.
            let (a, b, swap) = (root.join("real"), root.join("link"), root.join("swap"));
            std::fs::create_dir(&a).unwrap();
            std::fs::write(a.join("secret"), "inside").unwrap();
            symlink("../outside", &b).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::rename(&a, &swap).unwrap();
                std::fs::rename(&swap, &a).unwrap();
                std::fs::rename(&b, &swap).unwrap();
                std::fs::rename(&swap, &b).unwrap();
            }
        });
        let host = HostDir::open(&root).unwrap();
        let top = host.root().unwrap();
        let (mut read, mut attempts) = (0, 0);
        // Long enough for the other thread to have had its turns, even on a busy machine.
        while attempts < 20_000 || (read == 0 && attempts < 20_000_000) {
            attempts += 1;
            let Ok(file) = host.open_at(&*top, GuestPath::new("swap/secret"), &OpenHow::READ)
            else {
                continue;
            };
            let mut bytes = [0; 6];
            file.read_at(&mut bytes, 0).unwrap();
            assert_eq!(&bytes, b"inside");
            read += 1;
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        // Without a success among the attempts the loop would prove nothing.
        assert!(read > 0, "the file inside was never seen");
    });
    arena.check();
}
