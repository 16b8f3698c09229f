//! What is seen of the lower tree: permission bits, times, the same everywhere.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use testbench_clock::{MockClock, WallTime};
use testbench_overlay::{
    Create, Follow, Fs, GuestPath, LowerModes, LowerTimes, OpenHow, Overlay, Stat, fs, install,
};

use crate::overlay::bench;

#[test]
fn permission_bits_bind_whoever_runs_the_process() {
    let b = bench(&[("a", "text"), ("d/x", "")]);
    fs::set_permissions(b.at("a"), fs::Permissions::from_mode(0o444)).unwrap();
    assert_eq!(fs::write(b.at("a"), "").unwrap_err().raw_os_error(), Some(13));
    assert_eq!(b.read("a"), "text");
    fs::set_permissions(b.at("d"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(fs::read(b.at("d/x")).unwrap_err().raw_os_error(), Some(13));
    fs::set_permissions(b.at("d"), fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(fs::write(b.at("d/new"), "").unwrap_err().raw_os_error(), Some(13));
    assert_eq!(fs::remove_file(b.at("d/x")).unwrap_err().raw_os_error(), Some(13));
    fs::set_permissions(b.at("d"), fs::Permissions::from_mode(0o000)).unwrap();
    assert!(fs::read_dir(b.at("d")).is_err());

    let overlay = Overlay::builder(b.dir.path()).as_root(true).build().unwrap();
    let _installed = install(overlay);
    fs::set_permissions(b.at("a"), fs::Permissions::from_mode(0o0)).unwrap();
    fs::write(b.at("a"), "").unwrap();
}

/// Everything a guest can learn from metadata.
fn visible(fs: &dyn Fs) -> String {
    fn add(fs: &dyn Fs, dir: &dyn testbench_overlay::File, depth: usize, text: &mut String) {
        for entry in dir.read_dir().unwrap() {
            let name = GuestPath::new(&entry.name);
            let stat = fs.stat_at(dir, name, Follow::No).unwrap();
            assert_eq!(stat.ino, entry.ino, "{name}");
            *text += &format!("{:depth$}{name} {stat:?}\n", "");
            if let Ok(sub) = fs.open_at(
                dir,
                name,
                &OpenHow { directory: true, follow: Follow::No, ..OpenHow::READ },
            ) {
                add(fs, &*sub, depth + 1, text);
            }
        }
    }
    let mut text = String::new();
    let top = fs.root().unwrap();
    text += &format!("{:?}\n", top.stat().unwrap());
    add(fs, &*top, 0, &mut text);
    text
}

#[test]
fn what_guests_see_does_not_depend_on_root_umask_times_or_order() {
    let clock = MockClock::builder().build();
    let mut seen = Vec::new();
    for (order, umask) in [(false, 0o022), (true, 0o077), (false, 0o002)] {
        let dir = tempfile::tempdir().unwrap();
        let mut names = vec!["a", "b", "d/c", "d/e/f", "z"];
        if order {
            names.reverse();
        }
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, name).unwrap();
            // As that umask would have left it; the umask itself belongs to all threads.
            set_mode(&path, 0o666 & !umask);
            set_mode(path.parent().unwrap(), 0o777 & !umask);
        }
        set_mode(dir.path(), 0o777 & !umask);
        let overlay = Overlay::builder(dir.path()).clock(clock.clone()).build().unwrap();
        let top = overlay.root().unwrap();
        let how = OpenHow { write: true, create: Create::New, ..OpenHow::READ };
        overlay.open_at(&*top, GuestPath::new("d/new"), &how).unwrap();
        seen.push(visible(&*overlay));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    assert!(seen[0].contains("2000-01-01T00:00:00Z"), "{}", seen[0]);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn real_times_and_modes_are_shown_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    std::fs::write(&path, "").unwrap();
    set_mode(&path, 0o640);
    let real = WallTime::from(std::fs::metadata(&path).unwrap().modified().unwrap());
    let overlay = Overlay::builder(dir.path())
        .lower_times(LowerTimes::Real)
        .lower_modes(LowerModes::Real)
        .build()
        .unwrap();
    let top = overlay.root().unwrap();
    let stat: Stat = overlay.stat_at(&*top, GuestPath::new("a"), Follow::No).unwrap();
    assert_eq!((stat.mtime, stat.mode), (real, 0o640));
}

#[test]
fn times_come_from_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let clock = MockClock::builder().start(WallTime::from_unix_secs(1000)).build();
    let overlay = Overlay::builder(dir.path()).clock(clock.clone()).build().unwrap();
    let _installed = install(overlay);
    let at = |path: &str| {
        WallTime::from(fs::metadata(dir.path().join(path)).unwrap().modified().unwrap())
    };
    fs::write(dir.path().join("a"), "").unwrap();
    clock.advance(Duration::from_secs(5)).unwrap();
    fs::write(dir.path().join("b"), "").unwrap();
    assert_eq!(at("a"), WallTime::from_unix_secs(1000));
    assert_eq!(at("b"), WallTime::from_unix_secs(1005));
    assert_eq!(at(""), WallTime::from_unix_secs(1005));
    clock.advance(Duration::from_secs(5)).unwrap();
    fs::read(dir.path().join("a")).unwrap();
    assert_eq!(at("a"), WallTime::from_unix_secs(1000));
}
