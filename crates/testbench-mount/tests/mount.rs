//! A mounted overlay, used by the kernel. Where the machine has no FUSE, or does not permit mounting,
//! each test says that it was skipped.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "the mount is used as any program would")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what is skipped is said")]

use std::fs;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{
    DirEntryExt as _, FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FallocateFlags, RenameFlags, Timespec, Timestamps};
use testbench_mount::{FuseMount, FuseOptions, MountError};
use testbench_overlay::pipeline::{Audit, Fault, FaultPlan, Operation, Quota};
use testbench_overlay::{Errno, MemoryDir, Overlay, OverlayBuilder, install};

/// A mounted overlay of a small tree.
struct Mounted {
    overlay: Arc<Overlay>,
    lower: tempfile::TempDir,
    /// Before the directory that it is on, so that it is dropped first.
    mount: FuseMount,
    _at: tempfile::TempDir,
}

impl Mounted {
    fn path(&self, path: &str) -> PathBuf {
        self.mount.path().join(path)
    }

    fn summary(&self) -> String {
        self.overlay.diff().unwrap().summary().to_string()
    }
}

/// `None`, said loudly, if this machine does not let us mount.
fn mounted() -> Option<Mounted> {
    mounted_with(|builder| builder, &FuseOptions::new())
}

fn mounted_with(
    build: impl FnOnce(OverlayBuilder) -> OverlayBuilder,
    options: &FuseOptions,
) -> Option<Mounted> {
    let lower = tempfile::tempdir().unwrap();
    fs::create_dir(lower.path().join("src")).unwrap();
    fs::write(lower.path().join("src/a.rs"), "fn a() {}\n").unwrap();
    fs::write(lower.path().join("note"), "lower\n").unwrap();
    let overlay = build(Overlay::builder(lower.path()).as_root(true)).build().unwrap();
    let at = tempfile::tempdir().unwrap();
    match options.mount(&overlay, at.path()) {
        Ok(mount) => Some(Mounted { overlay, lower, mount, _at: at }),
        Err(error @ (MountError::NoFuse { .. } | MountError::Denied { .. })) => {
            eprintln!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_program_works_in_it_and_the_lower_tree_stays_as_it_is() {
    let Some(m) = mounted() else { return };
    let script = "set -e
        cat note; echo more >> note; mkdir -p out/deep; echo new > out/deep/file
        mv src lib; ln -s lib/a.rs link; cat link; rm -r lib; ls -a; test ! -e link";
    let output =
        Command::new("sh").args(["-c", script]).current_dir(m.mount.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "lower\nfn a() {}\n.\n..\nlink\nnote\nout\n");
    assert_eq!(
        m.summary(),
        "A link (symlink)\nM note\nA out/\nA out/deep/\nA out/deep/file\nD src/\nD src/a.rs\n"
    );
    assert_eq!(fs::read_to_string(m.lower.path().join("note")).unwrap(), "lower\n");
    assert_eq!(fs::read_to_string(m.lower.path().join("src/a.rs")).unwrap(), "fn a() {}\n");
}

#[test]
fn a_repository_of_git_is_made_and_checked_in_it() {
    let Some(m) = mounted() else { return };
    let script = "set -e
        git init -q; git add -A; git commit -q -m first; mv note moved; git add -A
        git commit -q -m second; git gc -q; git fsck --strict --no-progress; git status --porcelain
        git log --format=%s --follow moved";
    let mut git = Command::new("sh");
    git.args(["-c", script]).current_dir(m.mount.path()).env("HOME", m.lower.path());
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "a").env(format!("GIT_{who}_EMAIL"), "a@b.c");
    }
    let output = git.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("not found") {
        return eprintln!("SKIPPED: no git");
    }
    assert!(output.status.success(), "{errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "second\nfirst\n");
}

#[test]
fn both_sides_see_what_the_other_does() {
    let Some(m) = mounted() else { return };
    let _installed = install(m.overlay.clone());
    let host = |path: &str| m.lower.path().join(path);
    fs::write(m.path("by-program"), "1").unwrap();
    assert_eq!(testbench_overlay::fs::read(host("by-program")).unwrap(), b"1");
    for round in 0..3 {
        let text = format!("round {round}");
        testbench_overlay::fs::write(host("by-host"), &text).unwrap();
        assert_eq!(fs::read_to_string(m.path("by-host")).unwrap(), text);
        testbench_overlay::fs::remove_file(host("by-host")).unwrap();
        assert_eq!(fs::metadata(m.path("by-host")).unwrap_err().kind(), ErrorKind::NotFound);
    }
    let checkpoint = m.overlay.checkpoint();
    fs::write(m.path("note"), "changed").unwrap();
    m.overlay.rollback(&checkpoint).unwrap();
    assert_eq!(fs::read_to_string(m.path("note")).unwrap(), "lower\n");
}

#[test]
fn a_file_without_a_name_stays_for_those_who_have_it_open() {
    let Some(m) = mounted() else { return };
    for name in ["note", "new"] {
        let path = m.path(name);
        let mut file = fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .unwrap();
        fs::remove_file(&path).unwrap();
        file.set_len(0).unwrap();
        file.write_all(b"still here").unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!((metadata.nlink(), metadata.len()), (0, 10));
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "still here");
        assert!(!path.exists());
    }
    assert_eq!(m.summary(), "D note\n");
}

#[test]
fn names_move_as_renameat2_says() {
    let Some(m) = mounted() else { return };
    let rename = |from: &str, to: &str, flags| {
        rustix::fs::renameat_with(CWD, m.path(from), CWD, m.path(to), flags)
    };
    let taken = rename("note", "src/a.rs", RenameFlags::NOREPLACE);
    assert_eq!(taken, Err(rustix::io::Errno::EXIST));
    rename("note", "moved", RenameFlags::NOREPLACE).unwrap();
    let missing = rename("moved", "nothing", RenameFlags::EXCHANGE);
    assert_eq!(missing, Err(rustix::io::Errno::NOENT));
    rename("moved", "src", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read_to_string(m.path("src")).unwrap(), "lower\n");
    assert_eq!(fs::read_to_string(m.path("moved/a.rs")).unwrap(), "fn a() {}\n");
    assert_eq!(m.summary(), "R src/ -> moved/\nR note -> src\n");
}

#[test]
fn metadata_is_set_and_kept_to_the_nanosecond() {
    let Some(m) = mounted() else { return };
    let note = m.path("note");
    fs::set_permissions(&note, fs::Permissions::from_mode(0o640)).unwrap();
    let at = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let set = |last_access, last_modification| {
        let times = Timestamps { last_access, last_modification };
        rustix::fs::utimensat(CWD, &note, &times, AtFlags::empty()).unwrap();
        let metadata = fs::metadata(&note).unwrap();
        ((metadata.atime(), metadata.atime_nsec()), (metadata.mtime(), metadata.mtime_nsec()))
    };
    assert_eq!(set(at(5, 123_456_789), at(-7, 999_999_999)), ((5, 123_456_789), (-7, 999_999_999)));
    let omit = at(0, rustix::fs::UTIME_OMIT);
    assert_eq!(set(omit, at(1_000, 1)), ((5, 123_456_789), (1_000, 1)));
    let (access, modification) = set(at(0, rustix::fs::UTIME_NOW), omit);
    assert!(access.0 > 1_700_000_000 && modification == (1_000, 1), "{access:?} {modification:?}");
    assert_eq!(fs::metadata(&note).unwrap().mode() & 0o7777, 0o640);
    let numbers = |path: &Path| fs::metadata(path).unwrap().ino();
    fs::hard_link(&note, m.path("second")).unwrap();
    assert_eq!(numbers(&note), numbers(&m.path("second")));
    assert_eq!(fs::metadata(&note).unwrap().nlink(), 2);
    let listed = fs::read_dir(m.mount.path()).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.ino(), numbers(&entry.path()))
    });
    assert!(listed.into_iter().all(|(listed, number)| listed == number));
}

#[test]
fn holes_are_made_found_and_copied() {
    let Some(m) = mounted() else { return };
    const MIB: u64 = 1 << 20;
    let path = m.path("sparse");
    let file = fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    file.write_all_at(&[7; 4096], MIB).unwrap();
    file.set_len(4 * MIB).unwrap();
    let seek = |whence| rustix::fs::seek(&file, whence);
    assert_eq!(seek(rustix::fs::SeekFrom::Data(0)), Ok(MIB));
    assert_eq!(seek(rustix::fs::SeekFrom::Hole(MIB)), Ok(MIB + 4096));
    let no_data = seek(rustix::fs::SeekFrom::Data(MIB + 4096));
    assert_eq!(no_data, Err(rustix::io::Errno::NXIO));
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 5 * MIB).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 5 * MIB);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, MIB + 1024, 10 * MIB).unwrap();
    let mut bytes = vec![1; 4096];
    file.read_exact_at(&mut bytes, MIB).unwrap();
    assert!(bytes[..1024].iter().all(|b| *b == 7) && bytes[1024..].iter().all(|b| *b == 0));
    assert_eq!(file.metadata().unwrap().len(), 5 * MIB);
    let insert = rustix::fs::fallocate(&file, FallocateFlags::INSERT_RANGE, 0, 4096);
    assert_eq!(insert, Err(rustix::io::Errno::OPNOTSUPP));
    // `copy_file_range`, in several steps.
    let copied = fs::copy(&path, m.path("copy")).unwrap();
    assert_eq!(copied, 5 * MIB);
    assert!(fs::read(&path).unwrap() == fs::read(m.path("copy")).unwrap());
}

#[test]
fn writing_at_the_end_and_through_a_mapping() {
    let Some(m) = mounted() else { return };
    let path = m.path("log");
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut log = fs::File::options().append(true).create(true).open(path).unwrap();
                for _ in 0..50 {
                    log.write_all(format!("{n}\n").as_bytes()).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 200);
    assert!((0..4).all(|n| text.lines().filter(|line| **line == n.to_string()).count() == 50));
    // Programs are mapped, and run.
    let tool = m.path("tool");
    fs::copy("/bin/true", &tool).unwrap();
    assert!(Command::new(&tool).status().unwrap().success());
}

#[test]
fn a_listing_goes_on_where_it_was_while_names_come_and_go() {
    let Some(m) = mounted() else { return };
    let dir = m.path("many");
    fs::create_dir(&dir).unwrap();
    for n in 0..2_000 {
        fs::write(dir.join(format!("file-with-a-long-name-{n:04}")), "").unwrap();
    }
    let mut seen = Vec::new();
    for (n, entry) in fs::read_dir(&dir).unwrap().enumerate() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // What was listed goes, and something new comes before it.
        fs::remove_file(dir.join(&name)).unwrap();
        fs::write(dir.join(format!("a-new-one-{n}")), "").unwrap();
        seen.push(name);
    }
    assert_eq!(seen.len(), 2_000, "each once");
    assert!(seen.is_sorted());
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(m.summary(), "");
    // The kernel forgets them, and so does the overlay.
    assert!(soon(|| m.overlay.usage().inodes == 0), "{:?}", m.overlay.usage());
}

#[test]
fn a_listing_from_the_beginning_shows_what_is_there_now_and_asks_for_it_once() {
    let audit = Audit::new();
    let build = |builder: OverlayBuilder| builder.audit(&audit);
    let Some(m) = mounted_with(build, &FuseOptions::new()) else { return };
    for n in 0..1_000 {
        fs::write(m.path(&format!("src/{n:03}")), "").unwrap();
    }
    let opened = fs::File::open(m.path("src")).unwrap();
    fs::write(m.path("src/000-made-before-it-is-listed"), "").unwrap();
    let mut listing = rustix::fs::Dir::new(opened).unwrap();
    let mut names = || {
        let names = listing.by_ref().map(|entry| entry.unwrap().file_name().to_owned());
        let names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        listing.rewind();
        names
    };
    assert_eq!(names().len(), 2 + 1_000 + 2, "the dots, a.rs and what was made");
    fs::remove_file(m.path("src/999")).unwrap();
    fs::write(m.path("src/x"), "").unwrap();
    fs::write(m.path("src/y"), "").unwrap();
    let again = names();
    assert_eq!(again.len(), 2 + 1_000 + 3);
    assert!(again.ends_with(&["998".into(), "a.rs".into(), "x".into(), "y".into()]));
    let listings = audit.to_string().lines().filter(|line| *line == "read_dir src").count();
    assert_eq!(listings, 2, "one for each time from the beginning");
}

/// Whether something comes about within two seconds, most of which it should not take.
fn soon(mut happened: impl FnMut() -> bool) -> bool {
    (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        happened()
    })
}

#[test]
fn pipes_and_sockets_work_while_the_mount_lasts() {
    let Some(m) = mounted() else { return };
    let pipe = m.path("pipe");
    rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    let listed = fs::read_dir(m.mount.path()).unwrap().map(|entry| entry.unwrap());
    let listed: Vec<_> = listed.filter(|entry| entry.file_type().unwrap().is_fifo()).collect();
    assert_eq!(listed[0].path(), pipe);
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, "through the pipe").unwrap()
    });
    assert_eq!(fs::read_to_string(&pipe).unwrap(), "through the pipe");
    writer.join().unwrap();
    let socket = m.path("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut client = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    client.write_all(b"hello").unwrap();
    drop(client);
    let mut text = String::new();
    listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    // Their kinds are the mount's; the overlay has empty files.
    assert_eq!(m.summary(), "A pipe (empty, mode 0600)\nA socket (empty, mode 0755)\n");
    fs::remove_file(&pipe).unwrap();
    fs::remove_file(&socket).unwrap();
    assert_eq!(m.summary(), "");
}

#[test]
fn the_stages_of_the_pipeline_hold_here_too() {
    let memory = MemoryDir::builder().file("inner", "memory").build().unwrap();
    let faults = FaultPlan::new()
        .with(Fault::error(Errno::Io).on(Operation::Write).at("broken"))
        .with(Fault::short(3).on(Operation::Read).at("short"));
    let build = |builder: OverlayBuilder| {
        let quota = Quota::new().bytes(1 << 20);
        let builder = builder.read_only_at("src").hide("note").mount("tree", Arc::new(memory));
        builder.faults(faults).quota(quota)
    };
    let Some(m) = mounted_with(build, &FuseOptions::new()) else { return };
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    assert_eq!(kind(fs::write(m.path("src/a.rs"), "")), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(kind(fs::remove_file(m.path("src/a.rs"))), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(kind(fs::metadata(m.path("note")).map(drop)), ErrorKind::NotFound);
    assert_eq!(fs::read_to_string(m.path("tree/inner")).unwrap(), "memory");
    assert_eq!(kind(fs::rename(m.path("tree/inner"), m.path("out"))), ErrorKind::CrossesDevices);
    assert_eq!(fs::write(m.path("broken"), "x").unwrap_err().raw_os_error(), Some(5));
    fs::write(m.path("short"), "read in pieces").unwrap();
    assert_eq!(fs::read_to_string(m.path("short")).unwrap(), "read in pieces");
    assert_eq!(kind(fs::write(m.path("large"), vec![1; 2 << 20])), ErrorKind::StorageFull);
    let statvfs = rustix::fs::statvfs(m.mount.path()).unwrap();
    assert_eq!((statvfs.f_blocks * statvfs.f_frsize, statvfs.f_namemax), (1 << 20, 255));
    assert_eq!(statvfs.f_bfree, 0);
    let mut names: Vec<_> =
        fs::read_dir(m.mount.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["broken", "large", "short", "src", "tree"]);
}

#[test]
fn what_the_kernel_may_keep_is_kept_and_what_is_read_only_stays() {
    let options = FuseOptions::new().cache_for(Duration::from_secs(60)).read_only(true);
    let Some(m) = mounted_with(|builder| builder, &options) else { return };
    let error = fs::write(m.path("note"), "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    let listed: Vec<_> = fs::read_dir(m.mount.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(listed, [6, 4096]);
    assert_eq!(fs::metadata(m.path("src/a.rs")).unwrap().len(), 10);
    assert_eq!(m.summary(), "");
}

#[test]
fn it_is_unmounted_when_nobody_uses_it_or_the_guard_drops() {
    let Some(Mounted { overlay, lower: _lower, mut mount, _at: at }) = mounted() else { return };
    let mut file = fs::File::open(at.path().join("note")).unwrap();
    let error = mount.try_unmount().unwrap_err();
    assert!(matches!(error, MountError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains(&at.path().display().to_string()), "{error}");
    assert_eq!(io::Error::from(error).kind(), ErrorKind::ResourceBusy);
    let error = FuseMount::new(&overlay, at.path()).unwrap_err();
    assert!(matches!(error, MountError::Taken { .. }), "{error:?}");
    drop(mount);
    // Out of the tree at once, and served to the end.
    assert!(!at.path().join("note").exists());
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "lower\n");
    drop(file);
    for _ in 0..3 {
        let mut mount = FuseMount::new(&overlay, at.path()).unwrap();
        assert!(mount.path().join("note").exists());
        mount.try_unmount().unwrap();
        mount.try_unmount().unwrap();
        mount.unmount().unwrap();
    }
    assert!(!at.path().join("note").exists());
    // With the mount, its threads have ended and given the overlay back.
    let _mount = FuseMount::new(&overlay, at.path()).unwrap();
    drop(_mount);
    let given_back = soon(|| Arc::strong_count(&overlay) == 1);
    assert!(given_back, "{} hold the overlay", Arc::strong_count(&overlay));
}

#[test]
fn a_directory_that_will_not_do_is_refused_with_the_reason() {
    let (lower, file) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    fs::create_dir_all(lower.path().join("project/inside")).unwrap();
    let overlay = Overlay::new(lower.path().join("project")).unwrap();
    let refused = |at: &Path| FuseMount::new(&overlay, at).unwrap_err();
    for at in
        [lower.path().join("project/inside"), lower.path().join("project"), lower.path().into()]
    {
        let error = refused(&at);
        assert!(matches!(error, MountError::OverLower { .. }), "{error:?}");
    }
    let error = refused(&lower.path().join("missing"));
    assert!(matches!(error, MountError::Unusable { .. }), "{error:?}");
    assert_eq!(io::Error::from(error).kind(), ErrorKind::NotFound);
    let error = refused(file.path());
    assert_eq!(io::Error::from(error).kind(), ErrorKind::NotADirectory);
    // Something else than an overlay is mounted there.
    let error = refused(Path::new("/proc"));
    assert!(matches!(error, MountError::Taken { .. }), "{error:?}");
}

/// Without the device, and as a user without the right: in a child, in a tree of mounts of its own.
#[test]
fn a_machine_that_does_not_let_us_says_so() {
    let run = |script: &str| {
        let exe = std::env::current_exe().unwrap();
        let output =
            Command::new("unshare").args(["-m", "sh", "-ec", script, "sh"]).arg(exe).output();
        let Ok(output) = output else { return None };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find_map(|line| Some(line.split_once("ANSWER: ")?.1.to_owned()))
    };
    let child = "\"$1\" --exact prints_why_it_cannot_mount --ignored --nocapture";
    let without = run(&format!("mount -t tmpfs none /dev; exec {child}"));
    let denied = run(&format!("exec setpriv --reuid 65534 --regid 65534 --clear-groups {child}"));
    // May open the device but not mount, nor is there a helper.
    let weak = run(&format!("PATH=; exec /usr/bin/setpriv --bounding-set -sys_admin {child}"));
    let (Some(without), Some(denied), Some(weak)) = (without, denied, weak) else {
        return eprintln!("SKIPPED: this user cannot make a tree of mounts, or a tool is missing");
    };
    assert!(without.starts_with("NoFuse") && without.contains("No such file"), "{without}");
    assert!(weak.starts_with("Denied") && weak.contains("fusermount3"), "{weak}");
    assert!(denied.starts_with("Denied") && denied.contains("not permitted"), "{denied}");
}

/// What the test above runs.
#[test]
#[ignore = "run by another test"]
fn prints_why_it_cannot_mount() {
    let tree = MemoryDir::builder().build().unwrap();
    let overlay = Overlay::over(Arc::new(tree)).build().unwrap();
    // A directory that all users can enter.
    let error = FuseMount::new(&overlay, "/usr").unwrap_err();
    println!("ANSWER: {error:?}: {error}");
}

/// `open(O_CREAT)` gives the access that it asks for, whatever the mode of what it makes; git, `cp`
/// and `tar` make read-only files in this way.
#[test]
fn a_file_is_made_read_only_and_written_to_through_the_handle_that_made_it() {
    use std::os::unix::fs::OpenOptionsExt as _;
    let Some(mounted) = mounted_with(|builder| builder.as_root(false), &FuseOptions::new()) else {
        return;
    };
    let make = fs::OpenOptions::new().write(true).create_new(true).mode(0o444).to_owned();
    make.open(mounted.path("object")).unwrap().write_all(b"blob").unwrap();
    assert_eq!(fs::read(mounted.path("object")).unwrap(), b"blob");
}
