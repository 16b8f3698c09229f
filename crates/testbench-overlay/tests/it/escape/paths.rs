//! `..` and symlinks in every position, compared with what the kernel makes of the same path.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use testbench_overlay::{Errno, Follow, GuestPath, HostDir, Overlay, SetTime, SetTimes, fs};

use crate::escape::arena::{Arena, NEW, SECRET, WRITE, read, trees};

/// What paths are made of.
const PARTS: &[&str] = &["..", "in", "deep", "open", "up", "abs", "self", "chain", ".", "loop"];

/// The longest path that is tried has this many components.
const PARTS_MAX: usize = 4;

fn arena() -> Arena {
    Arena::new(|root, outside| {
        for dir in [root.to_path_buf(), root.join("in")] {
            symlink("../outside", dir.join("up")).unwrap();
            symlink(outside, dir.join("abs")).unwrap();
            symlink(root.join("in"), dir.join("self")).unwrap();
            symlink("./self/../up", dir.join("chain")).unwrap();
            symlink("loop/x", dir.join("loop")).unwrap();
        }
    })
}

/// Every path of up to [`PARTS_MAX`] components.
fn paths() -> Vec<String> {
    let mut all: Vec<String> = vec![String::new()];
    let mut last = all.clone();
    for _ in 0..PARTS_MAX {
        let longer = last.iter().flat_map(|path| {
            PARTS.iter().map(move |part| match path.is_empty() {
                true => (*part).to_owned(),
                false => format!("{path}/{part}"),
            })
        });
        last = longer.collect();
        all.extend(last.iter().cloned());
    }
    all.remove(0);
    all
}

/// Where a path leads by the rules of POSIX, component by component with calls on the real disk;
/// `Err` as soon as the walk leaves `root`.
fn walk(root: &Path, path: &str) -> Result<Option<PathBuf>, ()> {
    let mut at = root.to_path_buf();
    // Not by `Path`, which takes a `.` at the end for nothing.
    let mut todo: Vec<PathBuf> = path.split('/').rev().map(PathBuf::from).collect();
    let mut links = 0;
    while let Some(part) = todo.pop() {
        let Ok(here) = at.symlink_metadata() else { return Ok(None) };
        if !here.is_dir() {
            return Ok(None);
        }
        if part.as_os_str() == ".." {
            if at == root {
                return Err(());
            }
            at.pop();
            continue;
        }
        if part.as_os_str() == "." {
            continue;
        }
        let next = at.join(&part);
        match std::fs::read_link(&next) {
            Ok(_) if links == 40 => return Ok(None),
            Ok(target) => {
                links += 1;
                let rest = match target.strip_prefix(root) {
                    Ok(rest) => {
                        at = root.to_path_buf();
                        rest.to_path_buf()
                    }
                    Err(_) if target.is_absolute() => return Err(()),
                    Err(_) => target,
                };
                todo.extend(rest.iter().rev().map(PathBuf::from));
            }
            Err(_) => at = next,
        }
    }
    Ok(at.exists().then_some(at))
}

#[test]
fn every_short_path_leads_where_it_leads_on_the_disk_or_nowhere() {
    let arena = arena();
    let root = arena.root();
    let paths = paths();
    let wanted: Vec<_> = paths.iter().map(|path| walk(&root, path)).collect();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, fs, top) in trees(&root) {
        // A tree that does not know the host's name of its root takes no absolute link.
        let knows_root =
            !matches!(name, "stacked overlay" | "mounted host directory" | "mounted overlay");
        let by_ino = name.contains("host directory") || name == "read-only view";
        for (path, wanted) in paths.iter().zip(&wanted) {
            let stat = fs.stat_at(&*top, GuestPath::new(path), Follow::Yes);
            let got = match (wanted, stat) {
                (Err(()), stat) => {
                    // In what is mounted the walk goes on above the mount, and ends there.
                    assert_eq!(stat, Err(Errno::NotCapable), "{name}: {path}");
                    "refused"
                }
                (_, Err(Errno::NotCapable)) if !knows_root => "refused",
                (Ok(None), stat) => {
                    let errno = stat.unwrap_err();
                    let fits = matches!(errno, Errno::Noent | Errno::Notdir | Errno::Loop);
                    assert!(fits, "{name}: {path}: {errno}");
                    "nothing"
                }
                (Ok(Some(there)), Ok(stat)) => {
                    assert!(there.starts_with(&root), "the test itself went astray: {path}");
                    let real = std::fs::metadata(there).unwrap();
                    if by_ino {
                        assert_eq!(stat.ino, real.ino(), "{name}: {path}");
                    } else if real.is_file() {
                        assert_eq!(stat.size, real.size(), "{name}: {path}");
                    }
                    "found"
                }
                (Ok(Some(_)), Err(errno)) => panic!("{name}: {path}: {errno}"),
            };
            *seen.entry(got).or_default() += 1;
        }
    }
    for what in ["refused", "nothing", "found"] {
        assert!(seen.get(what).is_some_and(|n| *n > 1_000), "{seen:?}");
    }
    arena.check();
}

#[test]
fn every_way_out_is_closed_to_every_operation() {
    let arena = arena();
    let root = arena.root();
    let out: Vec<String> = paths().into_iter().filter(|path| walk(&root, path).is_err()).collect();
    assert!(out.len() > 1_000);
    // The last component may be a link to outside that is itself inside: it can be renamed and
    // removed. So each way is used as a directory.
    for (name, fs, top) in trees(&root) {
        for way in out.iter().step_by(7) {
            let (file, new) = (format!("{way}/{SECRET}"), format!("{way}/new"));
            let (file, new) = (GuestPath::new(&file), GuestPath::new(&new));
            let open = GuestPath::new("in/open");
            let now = SetTimes { atime: Some(SetTime::Now), mtime: Some(SetTime::Now) };
            let results = [
                ("read", fs.open_at(&*top, file, &testbench_overlay::OpenHow::READ).map(drop)),
                ("write", fs.open_at(&*top, file, &WRITE).map(drop)),
                ("create", fs.open_at(&*top, new, &NEW).map(drop)),
                ("stat", fs.stat_at(&*top, file, Follow::No).map(drop)),
                ("read_link", fs.read_link_at(&*top, file).map(drop)),
                ("mkdir", fs.create_dir_at(&*top, new, 0o755)),
                ("symlink", fs.symlink_at(b"x", &*top, new)),
                ("link from", fs.link_at(&*top, file, Follow::No, &*top, GuestPath::new("l"))),
                ("link to", fs.link_at(&*top, open, Follow::No, &*top, new)),
                ("rename from", fs.rename_at(&*top, file, &*top, GuestPath::new("r"))),
                ("rename to", fs.rename_at(&*top, open, &*top, new)),
                ("unlink", fs.remove_file_at(&*top, file)),
                ("rmdir", fs.remove_dir_at(&*top, file)),
                ("times", fs.set_times_at(&*top, file, Follow::Yes, now)),
                ("mode", fs.set_mode_at(&*top, file, Follow::Yes, 0o600)),
            ];
            for (what, result) in results {
                let refused = matches!(result, Err(Errno::NotCapable | Errno::Rofs));
                assert!(refused, "{name}: {what} {way}: {result:?}");
            }
        }
        assert!(fs.stat_at(&*top, GuestPath::new("in/open"), Follow::No).is_ok(), "{name}");
    }
    arena.check();
}

/// The same through the front door that takes host paths.
#[test]
fn the_mirror_of_std_leads_nowhere_else() {
    let arena = arena();
    let root = arena.root();
    let _installed = testbench_overlay::install(Overlay::new(&root).unwrap());
    let (mut refused, mut found) = (0, 0);
    for path in paths() {
        let host = root.join(&path);
        match walk(&root, &path) {
            Err(()) => {
                refused += 1;
                let (file, new) = (host.join(SECRET), host.join("new"));
                assert!(fs::read(&file).is_err(), "{path}");
                assert!(fs::metadata(&file).is_err() && fs::read_dir(&host).is_err(), "{path}");
                assert!(fs::canonicalize(&host).is_err(), "{path}");
                if refused % 7 == 0 {
                    assert!(fs::write(&new, "x").is_err() && fs::create_dir(&new).is_err());
                    assert!(
                        fs::remove_file(&file).is_err()
                            && fs::remove_dir_all(host.join("dir")).is_err()
                    );
                    assert!(fs::rename(root.join("in/open"), &new).is_err());
                    assert!(fs::rename(&file, root.join("r")).is_err());
                    assert!(fs::copy(&file, root.join("c")).is_err());
                    assert!(fs::copy(root.join("in/open"), &new).is_err());
                    assert!(fs::hard_link(&file, root.join("h")).is_err());
                    assert!(fs::symlink("x", &new).is_err());
                    assert!(fs::create_dir_all(new.join("deep")).is_err());
                }
            }
            Ok(Some(there)) => {
                found += 1;
                assert_eq!(fs::canonicalize(&host).unwrap(), there, "{path}");
            }
            Ok(None) => assert!(fs::metadata(&host).is_err(), "{path}"),
        }
    }
    assert!(refused > 1_000 && found > 100, "{refused} refused, {found} found");
    arena.check();
}

#[test]
fn absolute_paths_are_refused_and_a_handle_is_a_boundary() {
    let arena = arena();
    let (root, outside) = (arena.root(), arena.outside());
    for (name, fs, top) in trees(&root) {
        let dir =
            testbench_overlay::OpenHow { directory: true, ..testbench_overlay::OpenHow::READ };
        let deep = fs.open_at(&*top, GuestPath::new("in/deep"), &dir).unwrap();
        for path in ["..", "../open", "../../../outside/secret", "./../open", "../deep/open"] {
            let got = read(&*fs, &*deep, path);
            assert_eq!(got, Err(Errno::NotCapable), "{name}: {path}");
        }
        for path in [&root.join("open"), &outside.join(SECRET), Path::new("/"), Path::new("//x")] {
            let path = path.to_str().unwrap();
            assert_eq!(read(&*fs, &*top, path), Err(Errno::NotCapable), "{name}: {path}");
        }
        assert_eq!(read(&*fs, &*deep, "open").as_deref(), Ok("inside"), "{name}");
    }
    arena.check();
}

#[test]
fn a_chain_of_links_ends_at_forty() {
    let arena = Arena::new(|root, _| {
        for (n, dir) in [(40, "short"), (41, "long")] {
            std::fs::create_dir(root.join(dir)).unwrap();
            symlink("../open", root.join(dir).join("1")).unwrap();
            for i in 2..=n {
                symlink((i - 1).to_string(), root.join(dir).join(i.to_string())).unwrap();
            }
        }
        // Each link doubles the work of one that is followed without a bound.
        std::fs::create_dir(root.join("bomb")).unwrap();
        symlink(".", root.join("bomb/0")).unwrap();
        for i in 1..60 {
            let before = i - 1;
            symlink(format!("{before}/{before}"), root.join(format!("bomb/{i}"))).unwrap();
        }
    });
    for (name, fs, top) in trees(&arena.root()) {
        assert_eq!(read(&*fs, &*top, "short/40").as_deref(), Ok("inside"), "{name}");
        assert_eq!(read(&*fs, &*top, "long/41"), Err(Errno::Loop), "{name}");
        let bomb = fs.stat_at(&*top, GuestPath::new("bomb/59"), Follow::Yes);
        assert_eq!(bomb.map(drop), Err(Errno::Loop), "{name}");
    }
    arena.check();
}

#[test]
fn the_magic_links_of_proc_are_links_to_outside() {
    if !Path::new("/proc/self/root").exists() {
        eprintln!("SKIPPED: there is no /proc");
        return;
    }
    let arena = Arena::new(|root, outside| {
        let pid = std::process::id();
        symlink("/proc/self/root", root.join("slash")).unwrap();
        symlink("/proc/self/cwd", root.join("cwd")).unwrap();
        symlink(format!("/proc/{pid}/root{}", outside.display()), root.join("by-pid")).unwrap();
        symlink("/proc/thread-self/root", root.join("thread")).unwrap();
        symlink("/dev/fd/0", root.join("stdin")).unwrap();
    });
    for (name, fs, top) in trees(&arena.root()) {
        for path in ["slash/etc", "cwd/Cargo.toml", "by-pid/secret", "thread/proc", "stdin"] {
            assert_eq!(read(&*fs, &*top, path), Err(Errno::NotCapable), "{name}: {path}");
        }
    }
    arena.check();
    // And where the root itself is full of them. What they say is a path, which is walked: they are
    // never opened.
    let proc = std::fs::canonicalize("/proc/self").unwrap();
    let host = HostDir::open(&proc).unwrap();
    let overlay = Overlay::new(&proc).unwrap();
    let trees: [(&str, &dyn testbench_overlay::Fs); 2] = [("host", &host), ("overlay", &*overlay)];
    for (name, fs) in trees {
        let top = fs.root().unwrap();
        for path in ["root", "root/etc", "cwd", "cwd/Cargo.toml", "exe", "task/../root"] {
            assert_eq!(read(fs, &*top, path), Err(Errno::NotCapable), "{name}: {path}");
        }
        // A handle of this process, on what can be opened only through the link.
        let held = std::fs::File::open(arena.root().join("open")).unwrap();
        let fd = format!("fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
        assert_eq!(read(fs, &*top, &fd), Err(Errno::NotCapable), "{name}");
        let (pipe, _end) = std::io::pipe().unwrap();
        let fd = format!("fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe));
        assert_eq!(read(fs, &*top, &fd), Err(Errno::Noent), "{name}");
        assert!(read(fs, &*top, "comm").is_ok(), "{name}");
    }
}
