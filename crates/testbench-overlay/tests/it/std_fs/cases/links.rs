//! Symbolic and hard links.

#[allow(unused_imports, reason = "the mirror has the same as methods of its own")]
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::io::Errno;

use super::fs::{self, File, OpenOptions};
use super::{CONFINED, Sandbox, leads_out, symlink};
use crate::std_fs::fails_with;

fn is_dir(path: impl AsRef<Path>) -> bool {
    fs::metadata(path).unwrap().is_dir()
}

fn is_link(path: impl AsRef<Path>) -> bool {
    fs::symlink_metadata(path).unwrap().is_symlink()
}

pub(crate) fn a_link_to_itself_cannot_be_opened(at: &Sandbox) {
    symlink("loop", at.path("loop")).unwrap();
    for path in ["loop", "loop/", "loop/x"] {
        fails_with(File::open(at.path(path)), Errno::LOOP);
        fails_with(fs::metadata(at.path(path)), Errno::LOOP);
        fails_with(fs::canonicalize(at.path(path)), Errno::LOOP);
    }
    fails_with(fs::write(at.path("loop"), ""), Errno::LOOP);
    assert!(is_link(at.path("loop")));
    fs::remove_file(at.path("loop")).unwrap();
}

pub(crate) fn renaming_makes_and_breaks_a_loop(at: &Sandbox) {
    let rename = |from, to| fs::rename(at.path(from), at.path(to)).unwrap();
    fs::write(at.path("file"), "text").unwrap();
    symlink("file", at.path("link")).unwrap();
    assert_eq!(fs::read(at.path("link")).unwrap(), b"text");
    rename("file", "aside");
    fails_with(File::open(at.path("link")), Errno::NOENT);
    rename("link", "file");
    fails_with(File::open(at.path("file")), Errno::LOOP);
    rename("file", "link");
    fails_with(File::open(at.path("link")), Errno::NOENT);
    rename("aside", "file");
    assert_eq!(fs::read(at.path("link")).unwrap(), b"text");
}

pub(crate) fn a_link_shows_what_it_leads_to(at: &Sandbox) {
    fs::write(at.path("file"), "seven b").unwrap();
    symlink("file", at.path("link")).unwrap();
    assert!(is_link(at.path("link")));
    assert_eq!(fs::metadata(at.path("link")).unwrap().len(), 7);
    assert_eq!(fs::symlink_metadata(at.path("link")).unwrap().len(), 4);
    assert_eq!(fs::read(at.path("link")).unwrap(), b"seven b");
    fs::write(at.path("link"), "new").unwrap();
    assert_eq!(fs::read(at.path("file")).unwrap(), b"new");
    assert!(is_link(at.path("link")));
}

pub(crate) fn a_link_may_lead_nowhere(at: &Sandbox) {
    symlink("nowhere", at.path("link")).unwrap();
    assert_eq!(fs::read_link(at.path("link")).unwrap(), Path::new("nowhere"));
    fails_with(File::open(at.path("link")), Errno::NOENT);
    fails_with(symlink("elsewhere", at.path("link")), Errno::EXIST);
    fs::write(at.path("link"), "made through the link").unwrap();
    assert_eq!(fs::read(at.path("nowhere")).unwrap(), b"made through the link");
}

pub(crate) fn a_link_says_where_it_leads(at: &Sandbox) {
    for target in ["file", "./file", "no//such/../path/", "a b\nc", "\u{1F980}"] {
        symlink(target, at.path("link")).unwrap();
        assert_eq!(fs::read_link(at.path("link")).unwrap().as_os_str(), target);
        fs::remove_file(at.path("link")).unwrap();
    }
    fails_with(symlink("", at.path("link")), Errno::NOENT);
}

pub(crate) fn a_directory_is_no_link(at: &Sandbox) {
    fs::write(at.path("file"), "").unwrap();
    for path in [".", "", "file"] {
        fails_with(fs::read_link(at.path(path)), Errno::INVAL);
    }
    fails_with(fs::read_link(at.path("none")), Errno::NOENT);
}

pub(crate) fn the_target_is_stored_as_it_was_given(at: &Sandbox) {
    let longest = "t".repeat(4095);
    symlink(&longest, at.path("link")).unwrap();
    assert_eq!(fs::read_link(at.path("link")).unwrap().as_os_str(), longest.as_str());
    fails_with(symlink("t".repeat(4096), at.path("longer")), Errno::NAMETOOLONG);
}

pub(crate) fn an_absolute_target_is_stored_as_it_was_given(at: &Sandbox) {
    symlink("/no/such/file", at.path("link")).unwrap();
    assert_eq!(fs::read_link(at.path("link")).unwrap(), Path::new("/no/such/file"));
    let inside = at.path("file");
    symlink(&inside, at.path("inside")).unwrap();
    assert_eq!(fs::read_link(at.path("inside")).unwrap(), inside);
    fs::write(&inside, "text").unwrap();
    assert_eq!(fs::read(at.path("inside")).unwrap(), b"text");
}

pub(crate) fn a_hard_link_is_the_same_file(at: &Sandbox) {
    fs::write(at.path("first"), "text").unwrap();
    fs::hard_link(at.path("first"), at.path("second")).unwrap();
    assert_eq!(fs::read(at.path("second")).unwrap(), b"text");
    fs::write(at.path("second"), "changed").unwrap();
    assert_eq!(fs::metadata(at.path("first")).unwrap().len(), 7);
    assert_eq!(fs::read(at.path("first")).unwrap(), b"changed");
    fails_with(fs::hard_link(at.path("first"), at.path("first")), Errno::EXIST);
    fails_with(fs::hard_link(at.path("first"), at.path("second")), Errno::EXIST);
    fails_with(fs::hard_link(at.path("none"), at.path("third")), Errno::NOENT);
    fails_with(fs::hard_link(at.path("first"), at.path("none/third")), Errno::NOENT);
    fs::create_dir(at.path("dir")).unwrap();
    fails_with(fs::hard_link(at.path("dir"), at.path("third")), Errno::PERM);
    fs::remove_file(at.path("first")).unwrap();
    assert_eq!(fs::read(at.path("second")).unwrap(), b"changed");
}

pub(crate) fn directories_are_created_through_links(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    for (link, target) in [("one", "dir"), ("two", "./dir/"), ("three", "one")] {
        symlink(target, at.path(link)).unwrap();
        let path = at.path(link).join(format!("below-{link}/deeper"));
        fs::create_dir_all(&path).unwrap();
        assert!(is_dir(&path) && is_dir(at.path(link)) && is_link(at.path(link)));
        assert!(is_dir(at.path(format!("dir/below-{link}/deeper"))));
    }
    fs::create_dir_all(at.path("three")).unwrap();
    fails_with(fs::create_dir(at.path("three")), Errno::EXIST);
}

/// A file with a link and a hard link to the link.
fn linked(at: &Sandbox) {
    fs::write(at.path("file"), "text").unwrap();
    symlink("file", at.path("link")).unwrap();
    fs::hard_link(at.path("link"), at.path("hard")).unwrap();
}

pub(crate) fn a_hard_link_to_a_link_is_a_link(at: &Sandbox) {
    linked(at);
    assert!(is_link(at.path("hard")));
    for name in ["link", "hard"] {
        assert_eq!(fs::read_link(at.path(name)).unwrap(), Path::new("file"));
        assert_eq!(fs::read(at.path(name)).unwrap(), b"text");
    }
}

pub(crate) fn a_hard_link_to_a_link_outlives_what_it_led_to(at: &Sandbox) {
    linked(at);
    fs::rename(at.path("file"), at.path("moved")).unwrap();
    for name in ["file", "link", "hard"] {
        fails_with(File::open(at.path(name)), Errno::NOENT);
    }
    assert_eq!(fs::read(at.path("moved")).unwrap(), b"text");
    fs::remove_file(at.path("moved")).unwrap();
    fs::remove_file(at.path("link")).unwrap();
    assert!(is_link(at.path("hard")));
    assert_eq!(fs::read_link(at.path("hard")).unwrap(), Path::new("file"));
    fails_with(fs::read_link(at.path("file")), Errno::NOENT);
}

/// `dir/up` holds `target`, which leads to the directory above; it is listed and looked at.
fn leads_up(at: &Sandbox, dir: &str, target: &str) {
    fs::create_dir_all(at.path(dir)).unwrap();
    let above = at.path(dir).parent().unwrap().to_path_buf();
    fs::write(above.join("beside"), "").unwrap();
    let up = at.path(dir).join("up");
    symlink(target, &up).unwrap();
    assert!(is_dir(&up));
    let mut names: Vec<_> =
        fs::read_dir(&up).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["b", "beside"]);
    assert_eq!(fs::canonicalize(&up).unwrap(), fs::canonicalize(&above).unwrap());
    let permissions = fs::metadata(&up).unwrap().permissions();
    fs::set_permissions(&up, permissions).unwrap();
}

pub(crate) fn to_the_parent(at: &Sandbox) {
    leads_up(at, "b", "..");
}

pub(crate) fn to_the_parent_one_level_down(at: &Sandbox) {
    leads_up(at, "dir/b", "..");
}

pub(crate) fn to_the_parent_itself(at: &Sandbox) {
    leads_up(at, "b", "../.");
}

pub(crate) fn to_the_parent_itself_one_level_down(at: &Sandbox) {
    leads_up(at, "dir/b", "../.");
}

/// The link at `path` holds `target`; below it, `rest` is a file.
fn leads_through(at: &Sandbox, file: &str, path: &str, target: &str) {
    fs::create_dir_all(at.path("b/c")).unwrap();
    fs::write(at.path(file), "found").unwrap();
    symlink(target, at.path(path)).unwrap();
    let through = at.path(path).join("file");
    assert_eq!(fs::read_to_string(&through).unwrap(), "found");
    assert_eq!(fs::canonicalize(&through).unwrap(), fs::canonicalize(at.path(file)).unwrap());
    fs::write(&through, "changed").unwrap();
    assert_eq!(fs::read_to_string(at.path(file)).unwrap(), "changed");
    let wrong = at.path(path).join("none");
    fails_with(File::open(wrong), Errno::NOENT);
}

pub(crate) fn one_up(at: &Sandbox) {
    leads_through(at, "file", "b/up", "..");
}

pub(crate) fn one_up_and_a_dot(at: &Sandbox) {
    leads_through(at, "file", "b/up", "../.");
}

pub(crate) fn down_and_two_up(at: &Sandbox) {
    leads_through(at, "file", "b/up", "c/../..");
}

pub(crate) fn down_and_two_up_and_a_dot(at: &Sandbox) {
    leads_through(at, "file", "b/up", "c/../../.");
}

pub(crate) fn two_up(at: &Sandbox) {
    leads_through(at, "file", "b/c/up", "../..");
}

pub(crate) fn two_up_and_a_dot(at: &Sandbox) {
    leads_through(at, "file", "b/c/up", "../../.");
}

pub(crate) fn down_two_up_and_down(at: &Sandbox) {
    leads_through(at, "b/file", "b/up", "c/../../b");
}

pub(crate) fn down_two_up_and_down_and_a_dot(at: &Sandbox) {
    leads_through(at, "b/file", "b/up", "c/../../b/.");
}

pub(crate) fn two_up_and_down(at: &Sandbox) {
    leads_through(at, "b/file", "b/c/up", "../../b");
}

pub(crate) fn two_up_and_down_and_a_dot(at: &Sandbox) {
    leads_through(at, "b/file", "b/c/up", "../../b/.");
}

/// As far as the sandbox goes; what is above it is there on the disk and refused in an overlay.
pub(crate) fn links_upwards_lead_upwards(at: &Sandbox) {
    fs::create_dir_all(at.path("a/b")).unwrap();
    let look = |link: &str, target: &str| {
        symlink(target, at.path(link)).unwrap();
        fs::metadata(at.path(link)).map(|metadata| metadata.is_dir())
    };
    assert!(look("a/b/one", "..").unwrap());
    assert!(look("a/b/two", "../..").unwrap());
    for (link, target) in [("a/b/three", "../../.."), ("a/b/four", "../../../..")] {
        match look(link, target) {
            Ok(is_dir) => assert!(is_dir && !CONFINED),
            Err(error) => assert!(leads_out(&error) && CONFINED, "{error}"),
        }
    }
}

pub(crate) fn a_slash_behind_the_target_wants_a_directory(at: &Sandbox) {
    fs::write(at.path("file"), "").unwrap();
    let follow = |target: &str| {
        symlink(target, at.path("link")).unwrap();
        let opened = File::open(at.path("link"));
        fs::remove_file(at.path("link")).unwrap();
        opened
    };
    follow("file").unwrap();
    for target in ["file/", "file/.", "file/..", "file//"] {
        fails_with(follow(target), Errno::NOTDIR);
    }
    follow("./").unwrap();
}

pub(crate) fn a_link_is_what_it_leads_to_unless_asked(at: &Sandbox) {
    fs::write(at.path("file"), "").unwrap();
    fs::create_dir(at.path("dir")).unwrap();
    for (target, is_dir) in [("file", false), ("dir", true)] {
        let own = fs::symlink_metadata(at.path(target)).unwrap();
        assert_eq!((own.is_dir(), own.is_file(), own.is_symlink()), (is_dir, !is_dir, false));
        let link = at.path(format!("to-{target}"));
        symlink(target, &link).unwrap();
        let followed = fs::metadata(&link).unwrap();
        let kind = (followed.is_dir(), followed.is_file(), followed.is_symlink());
        assert_eq!(kind, (is_dir, !is_dir, false));
        let itself = fs::symlink_metadata(&link).unwrap();
        assert_eq!((itself.is_dir(), itself.is_file(), itself.is_symlink()), (false, false, true));
    }
}

/// Where cap-std refuses an absolute target, std stores it, and so does the overlay.
pub(crate) fn an_absolute_link_may_be_created(at: &Sandbox) {
    for (name, target) in [("a", "/no/such/thing"), ("b", "/"), ("c", "//no/such/..")] {
        symlink(target, at.path(name)).unwrap();
        assert!(is_link(at.path(name)));
    }
}

/// Reading it is not following it.
pub(crate) fn an_absolute_link_may_be_read_and_leads_out(at: &Sandbox) {
    symlink("/no/such/thing", at.path("link")).unwrap();
    assert_eq!(fs::read_link(at.path("link")).unwrap(), Path::new("/no/such/thing"));
    match File::open(at.path("link")) {
        Err(error) if CONFINED => assert!(leads_out(&error), "{error}"),
        opened => fails_with(opened, Errno::NOENT),
    }
    fs::remove_file(at.path("link")).unwrap();
}

pub(crate) fn directories_open_through_links_however_spelled(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    fs::write(at.path("file"), "").unwrap();
    symlink("file", at.path("to-file")).unwrap();
    let targets = ["dir", "dir/", "dir/.", "dir/..", "dir/../", ".", "./"];
    for (n, target) in targets.iter().enumerate() {
        symlink(target, at.path(format!("link{n}"))).unwrap();
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(rustix::fs::OFlags::DIRECTORY.bits() as i32);
    for path in ["file", "to-file"] {
        fails_with(options.open(at.path(path)), Errno::NOTDIR);
        fails_with(fs::read_dir(at.path(path)), Errno::NOTDIR);
    }
    for way in ["", "dir/../", "link0/../", "./", "link5/"] {
        for n in 0..targets.len() {
            for end in ["", "/", "/.", "/./"] {
                let path = at.path(format!("{way}link{n}{end}"));
                options.open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                fs::read_dir(&path).unwrap();
            }
        }
    }
    for path in ["dir/..", "dir/../", ".", "./"] {
        options.open(at.path(path)).unwrap();
    }
}
