//! Times of files.

use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use super::Sandbox;
use super::fs::{self, File, FileTimes};
use super::set_modified;

const SECS: i64 = 86_400 * 365;

fn then() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(SECS as u64)
}

/// A file, a directory, and a link to each.
fn prepare(at: &Sandbox) {
    fs::write(at.path("file"), "").unwrap();
    fs::create_dir(at.path("dir")).unwrap();
    super::symlink("file", at.path("to-file")).unwrap();
    super::symlink("dir", at.path("to-dir")).unwrap();
}

/// Of which names the time is [`then`], following links and not.
fn modified_then(at: &Sandbox) -> Vec<(&'static str, bool, bool)> {
    let names = ["file", "dir", "to-file", "to-dir"];
    let followed = |name| fs::metadata(at.path(name)).unwrap().modified().unwrap() == then();
    let itself = |name| fs::symlink_metadata(at.path(name)).unwrap().modified().unwrap() == then();
    names.map(|name| (name, followed(name), itself(name))).to_vec()
}

pub(crate) fn times_are_read_the_same_every_time(at: &Sandbox) {
    fs::write(at.path("file"), "").unwrap();
    let (top, file) = (fs::metadata(at.path("")).unwrap(), fs::metadata(at.path("file")).unwrap());
    for metadata in [&top, &file] {
        assert_eq!(metadata.accessed().unwrap(), metadata.accessed().unwrap());
        assert_eq!(metadata.modified().unwrap(), metadata.modified().unwrap());
    }
    // Known of both or of none.
    assert_eq!(top.created().is_ok(), file.created().is_ok());
    if let Err(error) = top.created() {
        assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    }
    let again = fs::metadata(at.path("file")).unwrap();
    assert_eq!(again.modified().unwrap(), file.modified().unwrap());
}

pub(crate) fn files_and_directories_take_a_time(at: &Sandbox) {
    prepare(at);
    set_modified(&at.path("file"), SECS, true).unwrap();
    let file_only = [
        ("file", true, true),
        ("dir", false, false),
        ("to-file", true, false),
        ("to-dir", false, false),
    ];
    assert_eq!(modified_then(at), file_only);
    set_modified(&at.path("dir"), SECS, true).unwrap();
    let both = [
        ("file", true, true),
        ("dir", true, true),
        ("to-file", true, false),
        ("to-dir", true, false),
    ];
    assert_eq!(modified_then(at), both);

    let accessed = then() + Duration::from_nanos(123_456_789);
    let file = File::options().write(true).open(at.path("file")).unwrap();
    file.set_times(FileTimes::new().set_accessed(accessed)).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.accessed().unwrap(), accessed);
    assert_eq!(metadata.modified().unwrap(), then());
    file.set_modified(SystemTime::UNIX_EPOCH - Duration::from_nanos(1)).unwrap();
    let before_1970 = file.metadata().unwrap().modified().unwrap();
    assert_eq!(before_1970, SystemTime::UNIX_EPOCH - Duration::from_nanos(1));

    // Nothing to set is nothing done: not even the time of the change moves.
    let changed = |file: &File| {
        let metadata = file.metadata().unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let before = changed(&file);
    std::thread::sleep(Duration::from_millis(20));
    file.set_times(FileTimes::new()).unwrap();
    assert_eq!(changed(&file), before);
}

pub(crate) fn a_time_goes_through_a_link(at: &Sandbox) {
    prepare(at);
    set_modified(&at.path("to-file"), SECS, true).unwrap();
    set_modified(&at.path("to-dir"), SECS, true).unwrap();
    let targets = [
        ("file", true, true),
        ("dir", true, true),
        ("to-file", true, false),
        ("to-dir", true, false),
    ];
    assert_eq!(modified_then(at), targets);
}

pub(crate) fn a_link_has_a_time_of_its_own(at: &Sandbox) {
    prepare(at);
    set_modified(&at.path("to-file"), SECS, false).unwrap();
    set_modified(&at.path("to-dir"), SECS, false).unwrap();
    let links = [
        ("file", false, false),
        ("dir", false, false),
        ("to-file", false, true),
        ("to-dir", false, true),
    ];
    assert_eq!(modified_then(at), links);
}
