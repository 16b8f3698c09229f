//! Trees that are closed to changes answer as a real read-only mount does, operation by operation.
//!
//! The table is in a snapshot; where the machine lets us mount, it is made by the kernel, too.
#![cfg(target_os = "linux")]
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "what is skipped is said, and the child says its table"
)]

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps};
use testbench_overlay::{
    Create, Errno, File, Follow, Fs, GuestPath, HostDir, OpenHow, Overlay, ReadOnly, SetTime,
    SetTimes,
};

/// Everything that a path can lead to, in every way that it can be written.
const PATHS: &[&str] = &[
    "f",
    "f/",
    "f/x",
    "d",
    "d/",
    "d/f",
    "d/.",
    "d/..",
    "d/./",
    "d/../",
    "new",
    "new/",
    "d/new",
    "no/new",
    "no/new/",
    "l",
    "l/",
    "dl",
    "dl/",
    "dl/f",
    "dl/new",
    "dangling",
    "dangling/",
    ".",
    "./",
    "",
    "fifo",
];

fn populate(root: &Path) {
    std::fs::create_dir_all(root.join("d/sub")).unwrap();
    std::fs::create_dir(root.join("empty")).unwrap();
    std::fs::write(root.join("f"), "text").unwrap();
    std::fs::write(root.join("d/f"), "text").unwrap();
    symlink("f", root.join("l")).unwrap();
    symlink("d", root.join("dl")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
}

/// What each operation is called, and how it is done on one path.
trait Subject {
    fn open(&self, path: &str, how: &OpenHow) -> Result<(), Errno>;
    fn mkdir(&self, path: &str) -> Result<(), Errno>;
    fn symlink(&self, path: &str) -> Result<(), Errno>;
    fn link(&self, from: &str, to: &str) -> Result<(), Errno>;
    fn rename(&self, from: &str, to: &str) -> Result<(), Errno>;
    fn unlink(&self, path: &str) -> Result<(), Errno>;
    fn rmdir(&self, path: &str) -> Result<(), Errno>;
    fn chmod(&self, path: &str) -> Result<(), Errno>;
    fn times(&self, path: &str, times: SetTimes) -> Result<(), Errno>;
}

struct Kernel(OwnedFd);

impl Subject for Kernel {
    fn open(&self, path: &str, how: &OpenHow) -> Result<(), Errno> {
        let mut flags = match (how.read, how.write) {
            (true, true) => OFlags::RDWR,
            (_, true) => OFlags::WRONLY,
            _ => OFlags::RDONLY,
        };
        flags |= OFlags::NONBLOCK;
        flags |= if how.truncate { OFlags::TRUNC } else { OFlags::empty() };
        flags |= if how.follow == Follow::No { OFlags::NOFOLLOW } else { OFlags::empty() };
        flags |= match how.create {
            Create::Never => OFlags::empty(),
            Create::IfMissing => OFlags::CREATE,
            Create::New => OFlags::CREATE | OFlags::EXCL,
        };
        Ok(rustix::fs::openat(&self.0, path, flags, Mode::from(0o644)).map(drop)?)
    }
    fn mkdir(&self, path: &str) -> Result<(), Errno> {
        Ok(rustix::fs::mkdirat(&self.0, path, Mode::from(0o755))?)
    }
    fn symlink(&self, path: &str) -> Result<(), Errno> {
        Ok(rustix::fs::symlinkat("x", &self.0, path)?)
    }
    fn link(&self, from: &str, to: &str) -> Result<(), Errno> {
        Ok(rustix::fs::linkat(&self.0, from, &self.0, to, AtFlags::empty())?)
    }
    fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        Ok(rustix::fs::renameat(&self.0, from, &self.0, to)?)
    }
    fn unlink(&self, path: &str) -> Result<(), Errno> {
        Ok(rustix::fs::unlinkat(&self.0, path, AtFlags::empty())?)
    }
    fn rmdir(&self, path: &str) -> Result<(), Errno> {
        Ok(rustix::fs::unlinkat(&self.0, path, AtFlags::REMOVEDIR)?)
    }
    fn chmod(&self, path: &str) -> Result<(), Errno> {
        Ok(rustix::fs::chmodat(&self.0, path, Mode::from(0o600), AtFlags::empty())?)
    }
    fn times(&self, path: &str, times: SetTimes) -> Result<(), Errno> {
        let of = |time: Option<SetTime>| Timespec {
            tv_sec: 0,
            tv_nsec: if time.is_some() { rustix::fs::UTIME_NOW } else { rustix::fs::UTIME_OMIT },
        };
        let times = Timestamps { last_access: of(times.atime), last_modification: of(times.mtime) };
        Ok(rustix::fs::utimensat(&self.0, path, &times, AtFlags::empty())?)
    }
}

struct Ours(Arc<dyn Fs>, Arc<dyn File>);

impl Ours {
    fn new(fs: Arc<dyn Fs>) -> Ours {
        let top = fs.root().unwrap();
        Ours(fs, top)
    }
}

impl Subject for Ours {
    fn open(&self, path: &str, how: &OpenHow) -> Result<(), Errno> {
        self.0.open_at(&*self.1, GuestPath::new(path), how).map(drop)
    }
    fn mkdir(&self, path: &str) -> Result<(), Errno> {
        self.0.create_dir_at(&*self.1, GuestPath::new(path), 0o755)
    }
    fn symlink(&self, path: &str) -> Result<(), Errno> {
        self.0.symlink_at(b"x", &*self.1, GuestPath::new(path))
    }
    fn link(&self, from: &str, to: &str) -> Result<(), Errno> {
        let (from, to) = (GuestPath::new(from), GuestPath::new(to));
        self.0.link_at(&*self.1, from, Follow::No, &*self.1, to)
    }
    fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        let (from, to) = (GuestPath::new(from), GuestPath::new(to));
        self.0.rename_at(&*self.1, from, &*self.1, to)
    }
    fn unlink(&self, path: &str) -> Result<(), Errno> {
        self.0.remove_file_at(&*self.1, GuestPath::new(path))
    }
    fn rmdir(&self, path: &str) -> Result<(), Errno> {
        self.0.remove_dir_at(&*self.1, GuestPath::new(path))
    }
    fn chmod(&self, path: &str) -> Result<(), Errno> {
        self.0.set_mode_at(&*self.1, GuestPath::new(path), Follow::Yes, 0o600)
    }
    fn times(&self, path: &str, times: SetTimes) -> Result<(), Errno> {
        self.0.set_times_at(&*self.1, GuestPath::new(path), Follow::Yes, times)
    }
}

/// A line for each path, with what each operation answers.
fn table(subject: &dyn Subject) -> String {
    let how = |write, create, truncate, follow| OpenHow {
        write,
        create,
        truncate,
        follow,
        ..OpenHow::READ
    };
    let now = SetTimes { atime: None, mtime: Some(SetTime::Now) };
    let (yes, no) = (Follow::Yes, Follow::No);
    let mut out = String::new();
    for path in PATHS {
        let answers = [
            ("read", subject.open(path, &OpenHow::READ)),
            ("write", subject.open(path, &how(true, Create::Never, false, yes))),
            ("truncate", subject.open(path, &how(true, Create::Never, true, yes))),
            ("truncate to read", subject.open(path, &how(false, Create::Never, true, yes))),
            ("write nofollow", subject.open(path, &how(true, Create::Never, false, no))),
            ("create", subject.open(path, &how(true, Create::IfMissing, true, yes))),
            ("create to read", subject.open(path, &how(false, Create::IfMissing, false, yes))),
            ("create new", subject.open(path, &how(true, Create::New, false, yes))),
            ("mkdir", subject.mkdir(path)),
            ("symlink", subject.symlink(path)),
            ("link to", subject.link("f", path)),
            ("link from", subject.link(path, "made")),
            ("link a dir to", subject.link("d", path)),
            ("rename to", subject.rename("f", path)),
            ("rename from", subject.rename(path, "made")),
            ("unlink", subject.unlink(path)),
            ("rmdir", subject.rmdir(path)),
            ("chmod", subject.chmod(path)),
            ("times", subject.times(path, now)),
        ];
        let _ = write!(out, "{path:?}:");
        for (what, answer) in answers {
            let _ = match answer {
                Ok(()) => write!(out, " {what}: ok;"),
                Err(errno) => write!(out, " {what}: {errno:?};"),
            };
        }
        out.push('\n');
    }
    let none = subject.times("f", SetTimes::default());
    let _ = writeln!(out, "no time: {none:?}");
    out
}

/// What differs from Linux on purpose: special files are never opened.
fn without_specials(table: &str) -> String {
    let lines = table.lines().map(|line| match line.strip_prefix("\"fifo\":") {
        None => format!("{line}\n"),
        Some(rest) => {
            let opens = [
                "read",
                "write",
                "truncate",
                "truncate to read",
                "write nofollow",
                "create",
                "create to read",
            ];
            let rest = rest.split_terminator(';').filter(|answer| {
                let what = answer.trim().split(':').next().unwrap_or_default();
                !opens.contains(&what)
            });
            format!("\"fifo\":{};\n", rest.collect::<Vec<_>>().join(";"))
        }
    });
    lines.collect()
}

#[test]
fn every_answer_is_that_of_a_read_only_mount() {
    let dir = tempfile::tempdir().unwrap();
    populate(dir.path());
    let host = || HostDir::open(dir.path()).unwrap();
    let trees: [(&str, Arc<dyn Fs>); 3] = [
        ("read-only host directory", Arc::new(host().read_only())),
        ("read-only view", Arc::new(ReadOnly::new(host()))),
        ("overlay in a read-only view", {
            let overlay = Overlay::builder(dir.path()).as_root(true).build().unwrap();
            Arc::new(ReadOnly::over(overlay))
        }),
    ];
    let tables: Vec<_> = trees
        .into_iter()
        .map(|(name, fs)| (name, without_specials(&table(&Ours::new(fs)))))
        .collect();
    insta::assert_snapshot!("read_only", tables[0].1);
    for (name, table) in &tables[1..] {
        assert_lines(name, table, &tables[0].1);
    }
    match kernel_table() {
        Some(kernel) => assert_lines("read-only mount", &tables[0].1, &without_specials(&kernel)),
        None => eprintln!("SKIPPED: no mount can be made here; compared with the snapshot only"),
    }
}

#[track_caller]
fn assert_lines(name: &str, got: &str, wanted: &str) {
    let differ: Vec<_> = got.lines().zip(wanted.lines()).filter(|(a, b)| a != b).collect();
    let shown: Vec<_> = differ
        .iter()
        .flat_map(|(a, b)| {
            let path = a.split(':').next().unwrap_or_default();
            let pairs = a.split(';').zip(b.split(';')).filter(|(a, b)| a != b);
            pairs.map(move |(a, b)| format!("{path}:{a}, not{b}")).collect::<Vec<_>>()
        })
        .collect();
    assert!(differ.is_empty(), "{name}:\n{}", shown.join("\n"));
}

/// In a name space of its own for mounts, a child prints the table of a file system that is
/// mounted read-only.
fn kernel_table() -> Option<String> {
    let place = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs none \"$1\" && TREE=\"$1\" TASK=populate \"$2\" --exact child \
                  --ignored >/dev/null && mount -o remount,ro \"$1\" && \
                  TREE=\"$1\" TASK=table \"$2\" --exact child --ignored --nocapture";
    for flags in ["-m", "-rm"] {
        let output = Command::new("unshare")
            .args([flags, "sh", "-c", script, "sh"])
            .arg(place.path())
            .arg(std::env::current_exe().unwrap())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).unwrap();
        if let Some((_, rest)) = text.split_once("BEGIN\n")
            && let Some((table, _)) = rest.split_once("END\n")
        {
            return Some(table.to_owned());
        }
    }
    None
}

#[test]
#[ignore = "the part of the test above that runs in a child"]
#[allow(clippy::disallowed_methods, reason = "how the child is told what to do")]
fn child() {
    let (Some(tree), Some(task)) = (std::env::var_os("TREE"), std::env::var_os("TASK")) else {
        return;
    };
    if task == "populate" {
        return populate(Path::new(&tree));
    }
    let top = rustix::fs::openat(CWD, &*tree, OFlags::DIRECTORY, Mode::empty()).unwrap();
    println!("BEGIN\n{}END", table(&Kernel(top)));
}
