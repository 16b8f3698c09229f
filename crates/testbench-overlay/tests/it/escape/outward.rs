//! Symlinks that lead out of the root, where a policy lets what is behind them be read: that much,
//! and nothing more.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use testbench_overlay::pipeline::Audit;
use testbench_overlay::{
    Create, Errno, Follow, Fs, GuestPath, MemoryDir, OpenHow, OutwardLinks, Overlay, SetTime,
    SetTimes, fs, install,
};

use crate::escape::arena::read;
use crate::escape::races::StopOnDrop;

/// `root` and `outside` side by side, with links of every form between them.
struct Yard {
    dir: tempfile::TempDir,
    base: PathBuf,
}

impl Yard {
    fn new() -> Yard {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let (root, outside) = (base.join("root"), base.join("outside"));
        std::fs::create_dir_all(root.join("in/deep")).unwrap();
        std::fs::create_dir_all(outside.join("dir/more")).unwrap();
        std::fs::write(root.join("open"), "inside").unwrap();
        for file in ["file", "dir/file", "dir/more/file"] {
            std::fs::write(outside.join(file), format!("outside {file}")).unwrap();
        }
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../outside", root.join("up")).unwrap();
        symlink("../../../outside/dir", root.join("in/deep/up")).unwrap();
        symlink("absolute/dir/file", root.join("chain")).unwrap();
        symlink("dir", outside.join("link")).unwrap();
        symlink("../root/open", outside.join("back")).unwrap();
        symlink(root.join("open"), outside.join("back-absolute")).unwrap();
        symlink("/..", outside.join("above")).unwrap();
        symlink("loop", outside.join("loop")).unwrap();
        Yard { dir, base }
    }

    fn root(&self) -> PathBuf {
        self.base.join("root")
    }

    fn outside(&self) -> PathBuf {
        self.base.join("outside")
    }

    fn overlay(&self) -> Arc<Overlay> {
        Overlay::builder(self.root()).outward_links(OutwardLinks::Read).build().unwrap()
    }

    /// All outside but the times of access, and the names beside the two directories.
    fn look(&self) -> BTreeMap<PathBuf, ([i64; 7], Vec<u8>)> {
        let mut seen = BTreeMap::new();
        for entry in walkdir::WalkDir::new(self.dir.path().join("outside")) {
            let path = entry.unwrap().into_path();
            let m = path.symlink_metadata().unwrap();
            let numbers = [
                m.ino() as i64,
                i64::from(m.mode()),
                m.size() as i64,
                m.nlink() as i64,
                m.mtime_nsec(),
                m.ctime(),
                m.ctime_nsec(),
            ];
            let bytes = if m.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            seen.insert(path, (numbers, bytes));
        }
        assert_eq!(std::fs::read_dir(&self.base).unwrap().count(), 2);
        seen
    }
}

#[test]
fn what_is_behind_can_be_read_through_both_doors() {
    let yard = Yard::new();
    let (root, outside) = (yard.root(), yard.outside());
    let overlay = yard.overlay();
    let top = overlay.root().unwrap();
    let _installed = install(overlay.clone());
    for (path, wanted) in [
        ("absolute/file", "outside file"),
        ("up/file", "outside file"),
        ("in/deep/up/file", "outside dir/file"),
        ("in/deep/up/more/file", "outside dir/more/file"),
        ("chain", "outside dir/file"),
        ("up/link/file", "outside dir/file"),
        // From there on, `..` is the one of the disk.
        ("up/dir/../file", "outside file"),
        ("absolute/../root/open", "inside"),
        ("in/deep/up/../../root/in/../open", "inside"),
        ("up/back", "inside"),
        ("up/back-absolute", "inside"),
    ] {
        assert_eq!(read(&*overlay, &*top, path).as_deref(), Ok(wanted), "{path}");
        assert_eq!(fs::read_to_string(root.join(path)).unwrap(), wanted, "{path}");
        let (real, stat) =
            (std::fs::metadata(root.join(path)).unwrap(), fs::metadata(root.join(path)).unwrap());
        assert_eq!((stat.len(), stat.is_file()), (real.len(), true), "{path}");
        let canonical = std::fs::canonicalize(root.join(path)).unwrap();
        assert_eq!(fs::canonicalize(root.join(path)).unwrap(), canonical, "{path}");
    }
    assert_eq!(fs::canonicalize(root.join("up/above")).unwrap(), Path::new("/"));
    assert_eq!(fs::canonicalize(root.join("absolute")).unwrap(), outside);
    // Links themselves are as they were.
    assert_eq!(fs::read_link(root.join("absolute")).unwrap(), outside);
    assert_eq!(fs::read_link(root.join("up/link")).unwrap(), Path::new("dir"));
    let mut names: Vec<_> =
        fs::read_dir(root.join("up")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["above", "back", "back-absolute", "dir", "file", "link", "loop"]);
    assert_eq!(fs::copy(root.join("up/file"), root.join("copy")).unwrap(), 12);
    assert_eq!(overlay.diff().unwrap().summary(), "A copy\n");
}

/// What comes back into the root finds what the overlay has there, not what the disk has.
#[test]
fn a_way_back_leads_into_the_overlay() {
    let yard = Yard::new();
    let root = yard.root();
    let overlay = yard.overlay();
    let _installed = install(overlay.clone());
    fs::write(root.join("open"), "changed").unwrap();
    for path in ["up/back", "up/back-absolute", "absolute/../root/open"] {
        assert_eq!(fs::read_to_string(root.join(path)).unwrap(), "changed", "{path}");
    }
    fs::write(root.join("absolute/../root/new"), "new").unwrap();
    fs::write(root.join("up/back"), "once more").unwrap();
    assert_eq!(overlay.diff().unwrap().summary(), "A new\nM open\n");
    assert_eq!(std::fs::read_to_string(root.join("open")).unwrap(), "inside");
}

/// The order of the errors is that of a read-only mount, see `tests/read_only.rs`.
#[test]
fn nothing_behind_can_be_changed() {
    let yard = Yard::new();
    let (root, before) = (yard.root(), yard.look());
    let overlay = yard.overlay();
    let _installed = install(overlay.clone());
    let times = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    let mode = || fs::Permissions::from_mode(0o777);
    let changes: [(&str, &dyn Fn(&Path) -> std::io::Result<()>); 13] = [
        ("write", &|at| fs::write(at.join("file"), "x")),
        ("create", &|at| fs::write(at.join("new"), "x")),
        ("append", &|at| {
            fs::OpenOptions::new().append(true).open(at.join("file"))?.write_all(b"x")
        }),
        ("truncate", &|at| {
            fs::OpenOptions::new().write(true).truncate(true).open(at.join("file")).map(drop)
        }),
        ("create_dir", &|at| fs::create_dir(at.join("new"))),
        ("create_dir_all", &|at| fs::create_dir_all(at.join("new/er"))),
        ("symlink", &|at| fs::symlink("x", at.join("new"))),
        ("remove_file", &|at| fs::remove_file(at.join("file"))),
        ("remove_dir", &|at| fs::remove_dir(at.join("dir/more"))),
        ("remove_dir_all", &|at| fs::remove_dir_all(at.join("dir"))),
        ("rename", &|at| fs::rename(at.join("file"), at.join("new"))),
        ("set_permissions", &|at| fs::set_permissions(at.join("file"), mode())),
        ("set_times", &|at| fs::set_times(at.join("file"), times)),
    ];
    for way in ["absolute", "up", "in/deep/up/.."] {
        for (what, change) in &changes {
            let error = change(&root.join(way)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{what} {way}: {error}");
        }
        let at = root.join(way);
        for error in [
            fs::rename(at.join("file"), root.join("taken")).unwrap_err(),
            fs::rename(root.join("open"), at.join("given")).unwrap_err(),
            fs::hard_link(at.join("file"), root.join("linked")).unwrap_err(),
            fs::hard_link(root.join("open"), at.join("linked")).unwrap_err(),
        ] {
            let kinds = [ErrorKind::CrossesDevices, ErrorKind::ReadOnlyFilesystem];
            assert!(kinds.contains(&error.kind()), "{way}: {error}");
        }
        // What is open there for reading is no way to change it either.
        let file = fs::File::open(at.join("file")).unwrap();
        assert!(file.set_len(0).is_err() && file.set_permissions(mode()).is_err(), "{way}");
        assert!(file.set_times(times).is_err() && (&file).write(b"x").is_err(), "{way}");
    }
    let top = overlay.root().unwrap();
    let dir = OpenHow { directory: true, ..OpenHow::READ };
    let dir = overlay.open_at(&*top, GuestPath::new("up"), &dir).unwrap();
    let new = OpenHow { write: true, create: Create::New, ..OpenHow::READ };
    let made = overlay.open_at(&*dir, GuestPath::new("new"), &new);
    assert_eq!(made.err(), Some(Errno::Rofs));
    let times = SetTimes { atime: None, mtime: Some(SetTime::Now) };
    let set = overlay.set_times_at(&*dir, GuestPath::new("file"), Follow::Yes, times);
    assert_eq!(set, Err(Errno::Rofs));
    assert_eq!(overlay.read_link_at(&*dir, GuestPath::new("link")).unwrap(), b"dir");
    assert!(overlay.diff().unwrap().is_empty());
    assert_eq!(yard.look(), before);
}

#[test]
fn only_symlinks_lead_out_and_only_where_they_may() {
    let yard = Yard::new();
    let root = yard.root();
    let overlay = yard.overlay();
    let top = overlay.root().unwrap();
    let refused = Err(Errno::NotCapable);
    for path in ["../outside/file", "in/../../outside/file", "in/deep/../../../outside/file"] {
        assert_eq!(read(&*overlay, &*top, path), refused, "{path}");
        let _installed = install(overlay.clone());
        let error = fs::read(root.join(path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{path}: {error}");
    }
    // Any other directory is a boundary, inside as outside.
    let dir = OpenHow { directory: true, ..OpenHow::READ };
    let deep = overlay.open_at(&*top, GuestPath::new("in/deep"), &dir).unwrap();
    assert_eq!(read(&*overlay, &*deep, "up/file"), refused);
    let out = overlay.open_at(&*top, GuestPath::new("up"), &dir).unwrap();
    assert_eq!(read(&*overlay, &*out, "dir/file").as_deref(), Ok("outside dir/file"));
    for path in ["../root/open", "back", "back-absolute", "above/etc"] {
        assert_eq!(read(&*overlay, &*out, path), refused, "{path}");
    }
    // A mounted tree may have another owner.
    let mounted = MemoryDir::builder()
        .symlink("absolute", yard.outside().as_os_str().as_encoded_bytes())
        .symlink("up", "../../outside")
        .build()
        .unwrap();
    let overlay = Overlay::builder(&root)
        .outward_links(OutwardLinks::Read)
        .mount("m", Arc::new(mounted))
        .build()
        .unwrap();
    let top = overlay.root().unwrap();
    assert_eq!(read(&*overlay, &*top, "m/absolute/file"), refused);
    assert_eq!(read(&*overlay, &*top, "m/up/file"), refused);
    assert_eq!(read(&*overlay, &*top, "up/file").as_deref(), Ok("outside file"));
    // By default none leads anywhere, and over a tree in memory there is nothing around it.
    let plain = Overlay::new(&root).unwrap();
    assert_eq!(read(&*plain, &*plain.root().unwrap(), "up/file"), refused);
    let tree = MemoryDir::builder().symlink("up", "../x").symlink("etc", "/etc").build().unwrap();
    let over = Overlay::over(Arc::new(tree)).outward_links(OutwardLinks::Read).build().unwrap();
    for path in ["up", "etc/passwd"] {
        assert_eq!(read(&*over, &*over.root().unwrap(), path), refused, "{path}");
    }
}

#[test]
fn chains_end_after_forty_links_and_special_files_are_not_opened() {
    let yard = Yard::new();
    let (root, outside) = (yard.root(), yard.outside());
    std::fs::write(outside.join("0"), "end").unwrap();
    for n in 1..=41 {
        symlink(format!("{}", n - 1), outside.join(n.to_string())).unwrap();
    }
    let fifo = outside.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    symlink("/dev/zero", root.join("zero")).unwrap();
    symlink("/proc/self/fd/0", root.join("magic")).unwrap();
    let overlay = yard.overlay();
    let top = overlay.root().unwrap();
    // The one at the root is one of them.
    assert_eq!(read(&*overlay, &*top, "up/39").as_deref(), Ok("end"));
    assert_eq!(read(&*overlay, &*top, "up/40"), Err(Errno::Loop));
    assert_eq!(read(&*overlay, &*top, "up/loop"), Err(Errno::Loop));
    assert_eq!(read(&*overlay, &*top, "up/fifo"), Err(Errno::Nxio));
    assert_eq!(read(&*overlay, &*top, "zero"), Err(Errno::Nxio));
    // A link that is no text is followed as the text that it shows, never by the kernel.
    assert!(read(&*overlay, &*top, "magic").is_err());
}

#[test]
fn what_is_written_out_or_committed_keeps_the_links() {
    let yard = Yard::new();
    let (root, before) = (yard.root(), yard.look());
    let overlay = yard.overlay();
    let out = tempfile::tempdir().unwrap();
    {
        let _installed = install(overlay.clone());
        fs::read(root.join("up/file")).unwrap();
        fs::rename(root.join("up"), root.join("moved")).unwrap();
        assert_eq!(fs::read_to_string(root.join("moved/file")).unwrap(), "outside file");
        // A link that was made here leads out just so, and one level deeper elsewhere.
        fs::symlink("../../outside/file", root.join("in/made")).unwrap();
        assert_eq!(fs::read_to_string(root.join("in/made")).unwrap(), "outside file");
    }
    overlay.materialize(out.path()).unwrap();
    assert_eq!(std::fs::read_link(out.path().join("absolute")).unwrap(), yard.outside());
    assert_eq!(overlay.diff().unwrap().summary(), "A in/made (symlink)\nR up -> moved\n");
    // What was read outside is not watched.
    std::fs::write(yard.outside().join("file"), "other").unwrap();
    overlay.commit().unwrap();
    assert_eq!(std::fs::read_link(root.join("moved")).unwrap(), Path::new("../outside"));
    let names = |look: BTreeMap<PathBuf, _>| look.into_keys().collect::<Vec<_>>();
    assert_eq!(names(yard.look()), names(before));
    // A checkpoint's fork has the same policy.
    let fork = overlay.fork_at(&overlay.checkpoint()).unwrap();
    let top = fork.root().unwrap();
    assert_eq!(read(&*fork, &*top, "moved/file").as_deref(), Ok("other"));
}

#[test]
fn audits_and_patterns_name_what_is_outside() {
    let yard = Yard::new();
    let audit = Audit::new();
    let overlay = Overlay::builder(yard.root())
        .outward_links(OutwardLinks::Read)
        .hide("more")
        .audit(&audit)
        .build()
        .unwrap();
    let top = overlay.root().unwrap();
    assert!(read(&*overlay, &*top, "up/file").is_ok());
    assert_eq!(read(&*overlay, &*top, "up/dir/more/file"), Err(Errno::Noent));
    let shown = format!("open (outside){}/file\n", yard.outside().display());
    assert!(audit.to_string().starts_with(&shown), "{audit}");
}

/// A directory outside is swapped for a symlink while it is used: what is read is what one of the
/// two leads to, and nothing is ever written.
#[test]
fn a_race_outside_changes_nothing() {
    let yard = Yard::new();
    let (root, outside) = (yard.root(), yard.outside());
    std::fs::create_dir(outside.join("swap")).unwrap();
    std::fs::write(outside.join("swap/file"), "swapped").unwrap();
    symlink("../root", outside.join("to-root")).unwrap();
    std::fs::write(root.join("file"), "in the root").unwrap();
    let overlay = yard.overlay();
    let top = overlay.root().unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let at = |name: &str| outside.join(name);
            while !stop.load(Ordering::Relaxed) {
                std::fs::rename(at("swap"), at("kept")).unwrap();
                std::fs::rename(at("to-root"), at("swap")).unwrap();
                std::thread::yield_now();
                std::fs::rename(at("swap"), at("to-root")).unwrap();
                std::fs::rename(at("kept"), at("swap")).unwrap();
            }
        });
        let _stop = StopOnDrop(&stop);
        let mut seen = BTreeMap::<String, u32>::new();
        for round in 0..20_000 {
            if let Ok(text) = read(&*overlay, &*top, "up/swap/file") {
                assert!(["swapped", "in the root"].contains(&&*text), "{text}");
                *seen.entry(text).or_default() += 1;
            }
            let new = OpenHow { write: true, create: Create::New, ..OpenHow::READ };
            let name = format!("up/swap/made {round}");
            let _ = overlay.open_at(&*top, GuestPath::new(&name), &new);
        }
        assert!(!seen.is_empty());
    });
    for dir in [outside.join("swap"), root.clone()] {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.display().to_string().starts_with("made")));
    }
}
