//! The arguments, environment, files and start functions of a guest.

use std::sync::Arc;

use testbench_clock::Seed;
use testbench_overlay::{Create, Follow, Fs, GuestPath, HostDir, MemoryDir, OpenHow, Overlay};
use testbench_wasi::{GuestSpec, Mount, Random, StartError, run};

use super::{finished, module, program, stdout, tool, with_imports};

/// Writes its arguments as they are in memory: each ends with a NUL.
fn arguments() -> GuestSpec {
    program(
        "(drop (call $args_sizes (i32.const 16) (i32.const 20)))
        (drop (call $args (i32.const 1024) (i32.const 4096)))
        (call $write (i32.const 4096) (i32.load (i32.const 20)))",
    )
}

/// The same for its environment.
fn environment() -> GuestSpec {
    program(
        "(drop (call $environ_sizes (i32.const 16) (i32.const 20)))
        (drop (call $environ (i32.const 1024) (i32.const 4096)))
        (call $write (i32.const 4096) (i32.load (i32.const 20)))",
    )
}

#[test]
fn args() {
    assert_eq!(stdout(arguments()), "probe\0");
    let changed = arguments().arg0("/bin/tool").arg("-v").args(["", "two words"]);
    assert_eq!(stdout(changed.clone()), "/bin/tool\0-v\0\0two words\0");
    // Bytes, not text.
    assert_eq!(finished(arguments().arg(vec![0xff, 0xfe])).stdout, b"probe\0\xff\xfe\0");
    // The value is not changed by what is made of it.
    assert_eq!(stdout(changed.clone().arg("more")), "/bin/tool\0-v\0\0two words\0more\0");
    assert_eq!(stdout(changed), "/bin/tool\0-v\0\0two words\0");
    let error = run(arguments().arg("a\0b")).unwrap_err();
    insta::assert_snapshot!(error, @"argument 1 of `probe` contains a NUL byte");
}

#[test]
fn env() {
    assert_eq!(stdout(environment()), "");
    let some = environment().env("B", "1").env("A", "2").env("C", "");
    assert_eq!(stdout(some.clone()), "B=1\0A=2\0C=\0");
    // The same key replaces the value and keeps its place.
    assert_eq!(
        stdout(some.env("B", "x=y").envs([("D", "4"), ("A", "5")])),
        "B=x=y\0A=5\0C=\0D=4\0"
    );
    // Nothing of this process's environment is seen, which always has something.
    assert!(std::env::vars_os().next().is_some());

    let refused = |key: &str, value: &str| {
        let error = run(environment().env("GOOD", "1").env(key, value)).unwrap_err();
        assert!(matches!(error, StartError::Environment { .. }));
        error.to_string()
    };
    insta::assert_snapshot!(refused("", "x"), @r#"environment variable "" of `probe` has an empty name"#);
    insta::assert_snapshot!(refused("A=B", "x"), @r#"environment variable "A=B" of `probe` has a `=` in its name"#);
    insta::assert_snapshot!(refused("A\0B", "x"), @r#"environment variable "A\0B" of `probe` has a NUL byte in its name"#);
    insta::assert_snapshot!(refused("A", "x\0y"), @r#"environment variable "A" of `probe` has a NUL byte in its value"#);
}

#[test]
fn cwd() {
    let tree =
        Arc::new(MemoryDir::builder().file("sub/here", "").file("there", "").build().unwrap());
    let list = |spec: GuestSpec| stdout(spec.mount(Mount::new(tree.clone(), "/m")).arg("."));
    let at_the_root = finished(tool!("ls").mount(Mount::new(tree.clone(), "/")).arg("."));
    assert_eq!(at_the_root.stdout, b"sub\nthere\n");
    assert_eq!(list(tool!("ls").cwd("/m")), "sub\nthere\n");
    assert_eq!(list(tool!("ls").cwd("/m/sub")), "here\n");
    assert_eq!(
        stdout(environment().mount(Mount::new(tree.clone(), "/m")).cwd("/m/sub")),
        "PWD=/m/sub\0"
    );
    let error =
        |cwd: &str| run(tool!("ls").mount(Mount::new(tree.clone(), "/m")).cwd(cwd)).unwrap_err();
    insta::assert_snapshot!(error("m"), @r#"the working directory "m" of `ls` is not an absolute path"#);
    insta::assert_snapshot!(error("/m/there"), @"the guest's working directory `/m/there` cannot be opened: not a directory (ENOTDIR); it must be a directory in one of the guest's mounts");
}

#[test]
fn name() {
    let needy = |spec: GuestSpec| run(spec.env("", "")).unwrap_err().to_string();
    insta::assert_snapshot!(needy(program("")), @r#"environment variable "" of `probe` has an empty name"#);
    insta::assert_snapshot!(needy(program("").name("step 3")), @r#"environment variable "" of `step 3` has an empty name"#);
    // It is not argv[0], which a guest sees.
    assert_eq!(stdout(arguments().name("step 3")), "probe\0");
    // A module's name comes from its file, or is given.
    assert_eq!(module("(module)").with_name("other").name(), "other");
    assert_eq!(stdout(GuestSpec::new(arguments().module().with_name("other"))), "other\0");
}

#[test]
fn id() {
    let clock = testbench_clock::MockClock::builder().build();
    let started = testbench_wasi::start(program("").clock(clock.clone())).unwrap();
    assert!(started.id() > 4_194_304);
    assert_eq!(testbench_wasi::start(program("").clock(clock.clone()).id(12)).unwrap().id(), 12);
}

#[test]
fn start_functions() {
    let spec = GuestSpec::new(module(&with_imports(
        r#"(global $n (mut i32) (i32.const 48))
        (func $say (global.set $n (i32.add (global.get $n) (i32.const 1)))
            (i32.store8 (i32.const 64) (global.get $n)) (call $write (i32.const 64) (i32.const 1)))
        (func $init (i32.store8 (i32.const 64) (i32.const 115)) (call $write (i32.const 64) (i32.const 1)))
        (start $init)
        (func (export "_start") (call $say))
        (func (export "before") (global.set $n (i32.const 53)) (call $say))
        (func (export "quit") (call $exit (i32.const 6)))
        (func (export "odd") (param i32))"#,
    )));
    // By default `_start`, after the module's start section.
    assert_eq!(stdout(spec.clone()), "s1");
    let started = |names: &[&str]| {
        let ended = finished(spec.clone().start_functions(names.iter().copied()));
        (String::from_utf8(ended.stdout).unwrap(), ended.exit.code())
    };
    // Several, in this order; missing ones are skipped; the section alone.
    assert_eq!(started(&["before", "_start"]), ("s67".to_owned(), Some(0)));
    assert_eq!(started(&["_start", "absent", "_start"]), ("s12".to_owned(), Some(0)));
    assert_eq!(started(&["absent"]), ("s".to_owned(), Some(0)));
    assert_eq!(started(&[]), ("s".to_owned(), Some(0)));
    // An exit ends it all.
    assert_eq!(started(&["_start", "quit", "_start"]), ("s1".to_owned(), Some(6)));
    let odd = run(spec.clone().start_functions(["odd"])).unwrap_err();
    insta::assert_snapshot!(odd, @"`probe` cannot be started: its `odd` is a function (i32) -> (), not a function `() -> ()`");
    let absent = run(GuestSpec::new(module("(module)"))).unwrap_err();
    insta::assert_snapshot!(absent, @"`probe` is not a program: it has no `_start` function (it exports nothing); link it as a command, not as a library or reactor");
}

#[test]
fn mounts() {
    let touch = |spec: GuestSpec| {
        let ended = finished(spec.args(["/m/new file", "/m/sub/new"]));
        (ended.exit.code().unwrap(), String::from_utf8(ended.stderr).unwrap())
    };
    // By default there are no files.
    let (code, says) = touch(tool!("touch"));
    assert_eq!(code, 1);
    assert!(says.contains("/m/new file"), "{says}");

    let on_disk = || {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        dir
    };
    let written = |dir: &tempfile::TempDir| dir.path().join("sub/new").exists();

    // An overlay: it is written, and the disk is not.
    let dir = on_disk();
    let overlay = Overlay::new(dir.path()).unwrap();
    assert_eq!(touch(tool!("touch").mount(Mount::new(overlay.clone(), "/m"))), (0, String::new()));
    assert!(!written(&dir));
    assert!(overlay.diff().unwrap().to_string().contains("sub/new"));

    // The same, and a tree in memory, not to be written.
    let memory = Arc::new(MemoryDir::builder().dir("sub").build().unwrap());
    for fs in [overlay as Arc<dyn Fs>, memory] {
        let (code, says) = touch(tool!("touch").mount(Mount::read_only(fs.clone(), "/m")));
        assert!(code == 1 && says.contains("Read-only file system"), "{says}");
    }

    // A real directory, confined; and read-only.
    let dir = on_disk();
    let host = || HostDir::open(dir.path()).unwrap();
    let (code, says) = touch(tool!("touch").mount(Mount::new(Arc::new(host().read_only()), "/m")));
    assert!(code == 1 && says.contains("Read-only file system") && !written(&dir), "{says}");
    assert_eq!(touch(tool!("touch").mount(Mount::new(Arc::new(host()), "/m"))).0, 0);
    assert!(written(&dir));
    #[cfg(unix)]
    {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("out")).unwrap();
        let cat =
            |path: &str| finished(tool!("cat").mount(Mount::new(Arc::new(host()), "/m")).arg(path));
        for path in ["/m/out/secret", "/m/../etc/hostname", "/etc/hostname"] {
            let ended = cat(path);
            assert_eq!((ended.exit.code(), ended.stdout.as_slice()), (Some(1), &b""[..]), "{path}");
        }
    }

    // A tree in memory, several mounts, and a directory below the root of one.
    let tree = Arc::new(MemoryDir::builder().file("a/b", "in b\n").build().unwrap());
    let below = {
        let how = OpenHow {
            read: true,
            write: false,
            truncate: false,
            create: Create::Never,
            directory: true,
            follow: Follow::Yes,
            mode: 0,
        };
        tree.open_at(&*tree.root().unwrap(), GuestPath::new("a"), &how).unwrap()
    };
    let spec = tool!("cat")
        .mount(Mount::new(tree.clone(), "/whole"))
        .mount(Mount { fs: tree, dir: Some(below), guest_path: b"/part".to_vec() })
        .args(["/whole/a/b", "/part/b"]);
    assert_eq!(stdout(spec), "in b\nin b\n");
}

/// One guest with an overlay, a real directory, another one that it may only read, and a tree in
/// memory.
#[test]
fn mounts_of_all_kinds_in_one_guest() {
    let dir_with = |name: &str, text: &str| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), text).unwrap();
        dir
    };
    let (lower, writable) = (dir_with("c", "below\n"), dir_with("old", "there\n"));
    let readable = dir_with("a", "to be read\n");
    let overlay = Overlay::new(lower.path()).unwrap();
    let memory = Arc::new(MemoryDir::builder().file("b", "in memory\n").build().unwrap());
    let host = |dir: &tempfile::TempDir| HostDir::open(dir.path()).unwrap();
    let in_guest = |spec: GuestSpec| {
        spec.mount(Mount::new(overlay.clone(), "/project"))
            .mount(Mount::new(Arc::new(host(&writable)), "/out"))
            .mount(Mount::new(Arc::new(host(&readable).read_only()), "/in"))
            .mount(Mount::new(memory.clone(), "/mem"))
    };
    let done = |spec: GuestSpec| {
        let ended = finished(in_guest(spec));
        assert!(ended.exit.success(), "{ended}: {}", String::from_utf8_lossy(&ended.stderr));
    };
    let names = |dir: &tempfile::TempDir| {
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };

    // Each is read, and two are written, by one program in one run.
    done(tool!("cp").args(["/in/a", "/mem/b", "/out/old", "/project"]));
    done(tool!("cp").args(["/in/a", "/mem/b", "/project/c", "/out"]));
    // Between two of them a rename is refused, so `mv` copies and removes.
    done(tool!("mv").args(["/out/old", "/project/moved"]));
    assert_eq!(
        stdout(in_guest(tool!("cat").args([
            "/project/a",
            "/project/b",
            "/project/c",
            "/project/moved"
        ]))),
        "to be read\nin memory\nbelow\nthere\n"
    );
    assert_eq!(names(&writable), ["a", "b", "c"]);
    assert_eq!(std::fs::read(writable.path().join("c")).unwrap(), b"below\n");
    // The tree in memory is written too; what is read-only refuses, and below the overlay nothing
    // has changed.
    done(tool!("cp").args(["/project/c", "/mem/c"]));
    assert_eq!(stdout(in_guest(tool!("cat").arg("/mem/c"))), "below\n");
    let ended = finished(in_guest(tool!("touch").arg("/in/new")));
    let says = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.exit.code() == Some(1) && says.contains("Read-only file system"), "{says}");
    assert_eq!((names(&lower), names(&readable)), (vec!["c".into()], vec!["a".into()]));
    let diff = overlay.diff().unwrap().to_string();
    let changed: Vec<&str> = diff.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(changed, ["A a", "A b", "A moved", "A old"]);
}

#[test]
fn random_source() {
    let bytes = |spec: GuestSpec| finished(spec).stdout;
    let eight = || {
        program(
            "(call $exit (i32.add (call $random (i32.const 64) (i32.const 8))
                (i32.const 0)) (; the errno ;))",
        )
    };
    let write = || {
        program(
            "(drop (call $random (i32.const 64) (i32.const 8))) (call $write (i32.const 64) (i32.const 8))",
        )
    };
    // Seeded: the same in every run, and other bytes for another seed or stream.
    let default = bytes(write());
    assert_eq!(default.len(), 8);
    assert_eq!(bytes(write()), default);
    assert_eq!(bytes(write().random(Seed::new(0).stream("guest"))), default);
    let others = [Seed::new(1).stream("guest"), Seed::new(0).stream("another")];
    for other in others {
        assert_ne!(bytes(write().random(other)), default);
    }
    // One's own.
    assert_eq!(bytes(write().random(Random::reader(&b"12345678"[..]))), b"12345678");
    // Which may fail: EIO at its end, else what it says.
    assert_eq!(finished(eight()).exit.code(), Some(0));
    assert_eq!(finished(eight().random(Random::reader(&b"1234"[..]))).exit.code(), Some(29));
    struct Denied;
    impl std::io::Read for Denied {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
    }
    assert_eq!(finished(eight().random(Random::reader(Denied))).exit.code(), Some(2));
}
