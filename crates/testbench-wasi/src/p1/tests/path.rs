//! Paths: what leads out, what is too long, what is cut off, and where a guest begins.

use std::sync::Arc;

use testbench_overlay::{Errno, Follow, Fs, GuestPath, MemoryDir};

use super::puppet::{Puppet, number};
use crate::{GuestSpec, Limit, Limits, Module, Mount, StartError, run};

const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 6;
const CREAT: u64 = 1;
const DIRECTORY: u64 = 2;
const EXCL: u64 = 4;
const TRUNC: u64 = 8;

fn files() -> Arc<MemoryDir> {
    let builder = MemoryDir::builder()
        .file("dir/file", "content")
        .symlink("link", "dir/file")
        .symlink("out", "../outside");
    Arc::new(builder.build().unwrap())
}

#[test]
fn ways_to_open_that_fail() {
    let mut puppet = Puppet::new();
    let cases = [
        ("dir/file", 0, READ, None),
        ("dir/../dir/./file", 0, READ, None),
        ("dir", DIRECTORY, READ, None),
        ("missing", 0, READ, Some(Errno::Noent)),
        ("", 0, READ, Some(Errno::Noent)),
        ("/dir/file", 0, READ, Some(Errno::NotCapable)),
        ("../dir/file", 0, READ, Some(Errno::NotCapable)),
        ("dir/../../x", CREAT, READ, Some(Errno::NotCapable)),
        ("out/x", 0, READ, Some(Errno::NotCapable)),
        ("dir/file\0", 0, READ, Some(Errno::Inval)),
        ("dir/file/", 0, READ, Some(Errno::Notdir)),
        ("dir/file", DIRECTORY, READ, Some(Errno::Notdir)),
        ("dir/file", CREAT | EXCL, READ, Some(Errno::Exist)),
        ("dir", 0, READ | WRITE, Some(Errno::Isdir)),
        ("dir", DIRECTORY | CREAT, READ, Some(Errno::Inval)),
        ("dir", DIRECTORY | TRUNC, READ, Some(Errno::Inval)),
        ("link", 0, READ, Some(Errno::Loop)),
    ];
    for (path, oflags, rights, _) in cases {
        puppet.open(path, oflags, rights, 0);
    }
    let done = puppet.run_on(files(), |spec| spec);
    for (i, (path, oflags, _, expected)) in cases.into_iter().enumerate() {
        let answer = done.errno(i as u32);
        assert_eq!(answer, expected.map_or(0, number), "{path:?} with oflags {oflags}");
    }
}

#[test]
fn truncating_needs_no_right_to_write() {
    let mut puppet = Puppet::new();
    puppet.open("dir/file", TRUNC, 0, 0);
    let stat = puppet.room(64);
    puppet.call("fd_filestat_get", &[4, stat.at]);
    let done = puppet.run_on(files(), |spec| spec);
    assert_eq!((done.errno(0), done.u64(stat.offset(32))), (0, 0));
}

#[test]
fn long_paths_are_refused_and_noted() {
    let mut puppet = Puppet::new();
    puppet.open("dir/file", 0, READ, 0);
    let limits = Limits { path_bytes_max: 7, ..Limits::default() };
    let done = puppet.run_on(files(), |spec| spec.limits(limits));
    assert_eq!(done.errno(0), number(Errno::Nametoolong));
    assert_eq!(done.finished.limits_hit, [Limit::Path { bytes_max: 7 }]);
}

#[test]
fn a_file_that_finds_no_descriptor_is_left_alone() {
    let mut puppet = Puppet::new();
    puppet.open("dir/file", TRUNC, WRITE, 0);
    puppet.open("dir/new", CREAT, WRITE, 0);
    let tree = files();
    let limits = Limits { open_files_max: 4, ..Limits::default() };
    let done = puppet.run_on(tree.clone(), |spec| spec.limits(limits));
    assert_eq!(done.errnos(), [number(Errno::Mfile); 2]);
    let root = tree.root().unwrap();
    let stat = |path| tree.stat_at(&*root, GuestPath::new(path), Follow::No);
    assert_ne!(stat("dir/file").unwrap().size, 0);
    assert_eq!(stat("dir/new"), Err(Errno::Noent));
}

#[test]
fn a_links_target_is_cut_off_at_the_end_of_the_buffer() {
    let mut puppet = Puppet::new();
    let path = puppet.bytes(b"link");
    let lens = [0, 3, 20].map(|len| {
        let (buf, used) = (puppet.room(len), puppet.room(4));
        puppet.call("path_readlink", &[3, path.at, path.len, buf.at, buf.len, used.at]);
        (buf, used)
    });
    let done = puppet.run_on(files(), |spec| spec);
    assert_eq!(lens.map(|(_, used)| done.u32(used)), [0, 3, 8]);
    assert_eq!(done.bytes(lens[1].0), b"dir");
    assert_eq!(&done.bytes(lens[2].0)[..9], b"dir/file\0");
}

#[test]
fn symlinks_hold_what_they_are_given_but_for_nothing_and_absolute_paths() {
    let mut puppet = Puppet::new();
    let name = puppet.bytes(b"new");
    for target in [&b"anything/../x"[..], b"", b"/abs"] {
        let target = puppet.bytes(target);
        puppet.call("path_symlink", &[target.at, target.len, 3, name.at, name.len]);
    }
    let done = puppet.run_on(files(), |spec| spec);
    assert_eq!(done.errnos(), [0, number(Errno::Noent), number(Errno::NotCapable)]);
}

#[test]
fn nothing_moves_between_mounts() {
    let mut puppet = Puppet::new();
    let (from, to) = (puppet.bytes(b"dir/file"), puppet.bytes(b"file"));
    puppet.call("path_rename", &[3, from.at, from.len, 4, to.at, to.len]);
    puppet.call("path_link", &[3, 0, from.at, from.len, 4, to.at, to.len]);
    puppet.call("path_rename", &[3, from.at, from.len, 5, to.at, to.len]);
    let one = files();
    let other: Arc<MemoryDir> = Arc::new(MemoryDir::builder().build().unwrap());
    let done = puppet.run_on(one.clone(), |spec| {
        spec.mount(Mount::new(other, "/other")).mount(Mount::new(one, "/again"))
    });
    assert_eq!(done.errnos(), [number(Errno::Xdev), number(Errno::Xdev), 0]);
}

#[test]
fn paths_below_what_is_no_directory() {
    let mut puppet = Puppet::new();
    puppet.open("dir/file", 0, READ, 0);
    let (path, stat) = (puppet.bytes(b"x"), puppet.room(64));
    let below_file = puppet.call("path_filestat_get", &[4, 0, path.at, 1, stat.at]);
    let below_stream = puppet.call("path_filestat_get", &[0, 0, path.at, 1, stat.at]);
    let done = puppet.run_on(files(), |spec| spec);
    assert_eq!(done.errno(below_file), number(Errno::Notdir));
    assert_eq!(done.errno(below_stream), number(Errno::Badf));
}

#[test]
fn the_working_directory_is_a_preopen_and_in_the_environment() {
    let mut puppet = Puppet::new();
    let (path, fd) = (puppet.bytes(b"file"), puppet.room(4));
    puppet.call("path_open", &[5, 0, path.at, path.len, 0, READ, 0, 0, fd.at]);
    let name = puppet.room(1);
    puppet.call("fd_prestat_dir_name", &[5, name.at, 1]);
    let (pointers, strings) = (puppet.room(8), puppet.room(40));
    puppet.call("environ_get", &[pointers.at, strings.at]);
    let run = |pwd: Option<&str>| {
        puppet.run_on(files(), |spec| {
            let spec = match pwd {
                Some(pwd) => spec.env("PWD", pwd),
                None => spec,
            };
            spec.mount(Mount::new(files(), "/home/me")).env("A", "b").cwd("/home/me/dir")
        })
    };
    let done = run(None);
    assert_eq!(done.errnos(), [0, 0, 0]);
    assert_eq!(done.bytes(name), b".");
    assert!(done.bytes(strings).starts_with(b"A=b\0PWD=/home/me/dir\0\0"));
    // Who says otherwise is believed.
    assert!(run(Some("/x")).bytes(strings).starts_with(b"PWD=/x\0A=b\0\0"));
}

#[test]
fn a_working_directory_outside_of_the_mounts_is_no_start() {
    let module =
        Module::from_bytes("puppet", wat::parse_str(Puppet::new().wat()).unwrap()).unwrap();
    for cwd in ["/elsewhere", "/home/metoo", "/home/me/missing", "/home/me/dir/file"] {
        let spec = GuestSpec::new(module.clone()).mount(Mount::new(files(), "/home/me")).cwd(cwd);
        assert!(matches!(run(spec), Err(StartError::Cwd { .. })), "{cwd}");
    }
}
