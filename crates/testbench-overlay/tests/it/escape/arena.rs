//! A root, what lies beside it, and the trees that are made of the root.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use testbench_overlay::pipeline::Audit;
use testbench_overlay::{Create, File, Fs, GuestPath, HostDir, OpenHow, Overlay, ReadOnly};

/// The name of what must never be read.
pub(crate) const SECRET: &str = "secret";

/// What is in it.
pub(crate) const HIDDEN: &str = "never to be read";

/// What may be read.
pub(crate) const OPEN: &str = "inside";

/// A directory with `root` and `outside` in it.
pub(crate) struct Arena {
    base: tempfile::TempDir,
    before: Sentinel,
}

/// All that can be told of what lies outside without touching it.
pub(crate) type Sentinel = BTreeMap<PathBuf, Facts>;

/// Numbers of `stat`, and the target of a symlink.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    ids: [u64; 6],
    times: [i64; 6],
    target: Option<PathBuf>,
}

impl Arena {
    /// A root as `fill` makes it, given the root and the directory outside.
    pub(crate) fn new(fill: impl FnOnce(&Path, &Path)) -> Arena {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().canonicalize().unwrap().join("root");
        let outside = root.with_file_name("outside");
        std::fs::create_dir_all(root.join("in/deep")).unwrap();
        std::fs::create_dir_all(outside.join("dir")).unwrap();
        std::fs::create_dir_all(outside.join("empty")).unwrap();
        for path in [outside.join(SECRET), outside.join("dir").join(SECRET), outside.join("tool")] {
            std::fs::write(path, HIDDEN).unwrap();
        }
        symlink(SECRET, outside.join("link")).unwrap();
        for path in [root.join("in/open"), root.join("open"), root.join("in/deep/open")] {
            std::fs::write(path, OPEN).unwrap();
        }
        fill(&root, &outside);
        let mut arena = Arena { base, before: Sentinel::new() };
        arena.age();
        arena.before = arena.sentinel();
        arena
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.base.path().canonicalize().unwrap().join("root")
    }

    pub(crate) fn outside(&self) -> PathBuf {
        self.base.path().canonicalize().unwrap().join("outside")
    }

    /// Makes everything outside old, so that a read moves the time of access even where that is
    /// kept loosely (`relatime`).
    fn age(&self) {
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let times = std::fs::FileTimes::new()
            .set_accessed(past)
            .set_modified(past + Duration::from_secs(1));
        for path in below(&self.outside()) {
            if !path.symlink_metadata().unwrap().is_symlink() {
                std::fs::File::open(path).unwrap().set_times(times).unwrap();
            }
        }
    }

    /// Looks at everything outside. Listing directories would be seen, so their times come first.
    fn sentinel(&self) -> Sentinel {
        let outside = self.outside();
        let mut todo = vec![outside];
        let mut seen = Sentinel::new();
        while let Some(path) = todo.pop() {
            let m = path.symlink_metadata().unwrap();
            let ids = [m.ino(), u64::from(m.mode()), m.nlink(), m.size(), m.uid().into(), m.dev()];
            let (a, b) = ((m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec()));
            let times = [m.atime(), m.atime_nsec(), a.0, a.1, b.0, b.1];
            let target = m.is_symlink().then(|| std::fs::read_link(&path).unwrap());
            if m.is_dir() {
                let entries = std::fs::read_dir(&path).unwrap();
                todo.extend(entries.map(|entry| entry.unwrap().path()));
                // As before the look, for the next time.
                let accessed = SystemTime::UNIX_EPOCH + Duration::from_secs(m.atime() as u64);
                let times = std::fs::FileTimes::new().set_accessed(accessed);
                let _ = std::fs::File::open(&path).unwrap().set_times(times);
            }
            seen.insert(path, Facts { ids, times, target });
        }
        seen
    }

    /// Nothing outside has been touched. That our own look at it moves the change times of its
    /// directories is allowed for; what is in them is compared in full.
    #[track_caller]
    pub(crate) fn check(&self) {
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        for (sentinel, out) in [(&self.before, &mut before), (&self.sentinel(), &mut after)] {
            for (path, facts) in sentinel {
                let is_dir = facts.ids[1] & 0o170_000 == 0o040_000;
                let mut times = facts.times;
                if is_dir {
                    times[4..].fill(0);
                }
                if facts.target.is_some() {
                    // Reading the target above is an access.
                    times[..2].fill(0);
                }
                out.insert(path.clone(), (facts.ids, times, facts.target.clone()));
            }
        }
        assert_eq!(before, after, "something outside was touched");
        let beside: Vec<_> = std::fs::read_dir(self.base.path()).unwrap().collect();
        assert!(beside.len() <= 3, "{beside:?}");
    }

    /// Whether this file system says when something was read at all.
    pub(crate) fn tells_reads(&self) -> bool {
        let (canary, past) = (self.base.path().join("canary"), SystemTime::UNIX_EPOCH);
        std::fs::write(&canary, "x").unwrap();
        let times = std::fs::FileTimes::new().set_accessed(past);
        std::fs::File::options().write(true).open(&canary).unwrap().set_times(times).unwrap();
        std::fs::read(&canary).unwrap();
        let told = std::fs::metadata(&canary).unwrap().atime() != 0;
        std::fs::remove_file(canary).unwrap();
        told
    }
}

fn below(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_path_buf()];
    let mut at = 0;
    while at < all.len() {
        if all[at].symlink_metadata().unwrap().is_dir() {
            let entries = std::fs::read_dir(&all[at]).unwrap();
            all.extend(entries.map(|entry| entry.unwrap().path()));
        }
        at += 1;
    }
    all
}

/// Every tree that can be made of a real directory, each with a directory of it to start from.
pub(crate) fn trees(root: &Path) -> Vec<(&'static str, Arc<dyn Fs>, Arc<dyn File>)> {
    let host = || HostDir::open(root).unwrap();
    let staged = Overlay::builder(root).audit(&Audit::new()).build().unwrap();
    let trees: [(&str, Arc<dyn Fs>); 6] = [
        ("overlay", Overlay::new(root).unwrap()),
        ("overlay with stages", staged),
        ("stacked overlay", Overlay::over(Overlay::new(root).unwrap()).build().unwrap()),
        ("host directory", Arc::new(host())),
        ("read-only host directory", Arc::new(host().read_only())),
        ("read-only view", Arc::new(ReadOnly::new(host()))),
    ];
    let mut all: Vec<_> = trees
        .into_iter()
        .map(|(name, fs)| {
            let top = fs.root().unwrap();
            (name, fs, top)
        })
        .collect();
    let below = tempfile::tempdir().unwrap();
    for (name, inner) in [
        ("mounted host directory", Arc::new(host()) as Arc<dyn Fs>),
        ("mounted overlay", Overlay::new(root).unwrap()),
    ] {
        let fs = Overlay::builder(below.path()).mount("m", inner).build().unwrap();
        let dir = OpenHow { directory: true, ..OpenHow::READ };
        let top = fs.open_at(&*fs.root().unwrap(), GuestPath::new("m"), &dir).unwrap();
        all.push((name, fs, top));
    }
    all
}

/// Opens for writing, and makes what is missing.
pub(crate) const WRITE: OpenHow =
    OpenHow { write: true, truncate: true, create: Create::IfMissing, ..OpenHow::READ };

/// Makes something new.
pub(crate) const NEW: OpenHow = OpenHow { write: true, create: Create::New, ..OpenHow::READ };

/// All of a file, through the seam.
pub(crate) fn read(fs: &dyn Fs, dir: &dyn File, path: &str) -> testbench_overlay::Result<String> {
    let file = fs.open_at(dir, GuestPath::new(path), &OpenHow::READ)?;
    let mut buf = [0; 64];
    let n = file.read_at(&mut buf, 0)?;
    Ok(String::from_utf8_lossy(&buf[..n]).into_owned())
}

#[test]
fn the_sentinel_notices_every_touch() {
    let touches: [(&str, fn(&Path)); 8] = [
        ("write", |o| std::fs::write(o.join(SECRET), HIDDEN).unwrap()),
        ("create", |o| std::fs::write(o.join("empty/new"), "").unwrap()),
        ("remove", |o| std::fs::remove_file(o.join("tool")).unwrap()),
        ("rename", |o| std::fs::rename(o.join("tool"), o.join("t")).unwrap()),
        ("mode", |o| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(o.join("dir").join(SECRET), mode).unwrap();
        }),
        ("link", |o| std::fs::hard_link(o.join(SECRET), o.with_file_name("root/l")).unwrap()),
        ("times", |o| {
            let now = std::fs::FileTimes::new().set_modified(SystemTime::now());
            std::fs::File::open(o.join("dir")).unwrap().set_times(now).unwrap();
        }),
        ("read", |o| drop(std::fs::read(o.join("dir").join(SECRET)).unwrap())),
    ];
    for (what, touch) in touches {
        let arena = Arena::new(|_, _| {});
        arena.check();
        arena.check();
        if what == "read" && !arena.tells_reads() {
            eprintln!("SKIPPED: this file system does not say when a file was read");
            continue;
        }
        touch(&arena.outside());
        let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| arena.check()));
        assert!(noticed.is_err(), "{what} went unnoticed");
    }
}
