//! Opening, reading, writing, seeking and cutting files.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
#[allow(unused_imports, reason = "the mirror has the same as methods of its own")]
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::fs::{self, File, OpenOptions};
use super::{Sandbox, symlink};
use crate::std_fs::fails_with;

pub(crate) fn a_directory_cannot_be_truncated(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    let opened = OpenOptions::new().read(true).write(true).truncate(true).open(at.path("dir"));
    fails_with(opened, Errno::ISDIR);
    // What std does not let through by its own option, its custom flags do: Linux truncates, and
    // the handle is for reading only.
    let (flag, nofollow) = (OFlags::TRUNC.bits() as i32, OFlags::NOFOLLOW.bits() as i32);
    let truncate = |path: &str, more: i32| {
        OpenOptions::new().read(true).custom_flags(flag | more).open(at.path(path))
    };
    fs::write(at.path("file"), "text").unwrap();
    symlink("file", at.path("link")).unwrap();
    fails_with(truncate("dir", 0), Errno::ISDIR);
    fails_with(truncate("dir/", 0), Errno::ISDIR);
    fails_with(truncate("file/", 0), Errno::NOTDIR);
    fails_with(truncate("missing", 0), Errno::NOENT);
    fails_with(truncate("link", nofollow), Errno::LOOP);
    assert_eq!(fs::read(at.path("file")).unwrap(), b"text", "none of these");
    let mut file = truncate("link", 0).unwrap();
    assert_eq!(fs::metadata(at.path("file")).unwrap().len(), 0);
    fs::write(at.path("file"), "more").unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "more");
    fails_with(file.write(b"x"), Errno::BADF);
}

/// Refused before the system is asked: no error number.
fn cannot_go_together(opened: std::io::Result<()>) {
    let error = opened.unwrap_err();
    let told = (error.kind(), error.raw_os_error());
    assert_eq!(told, (std::io::ErrorKind::InvalidInput, None), "{error}");
}

/// Every creation mode with every access mode, appending included; each combination is tried on
/// a name that is there and on one that is not.
pub(crate) fn which_open_options_go_together(at: &Sandbox) {
    type Set = fn(&mut OpenOptions) -> &mut OpenOptions;
    let accesses: [(&str, Set); 6] = [
        ("nothing", |o| o),
        ("read", |o| o.read(true)),
        ("write", |o| o.write(true)),
        ("read, write", |o| o.read(true).write(true)),
        ("append", |o| o.append(true)),
        ("read, append", |o| o.read(true).append(true)),
    ];
    let creations: [(&str, Set); 6] = [
        ("open", |o| o),
        ("create", |o| o.create(true)),
        ("truncate", |o| o.truncate(true)),
        ("create, truncate", |o| o.create(true).truncate(true)),
        ("create new", |o| o.create_new(true)),
        ("create new, truncate", |o| o.create_new(true).truncate(true)),
    ];
    for (access, set_access) in accesses {
        for (creation, set_creation) in creations {
            let case = format!("{access}; {creation}");
            let mut options = OpenOptions::new();
            set_creation(set_access(&mut options));
            let creates = creation.contains("create");
            let new = creation.contains("new");
            let truncates = creation.contains("truncate") && !new;
            let writes = access.contains("write") || access.contains("append");
            let allowed = match access {
                "nothing" => false,
                "read" => creation == "open",
                "write" | "read, write" => true,
                _ => !truncates,
            };

            let (present, missing) = (at.path("present"), at.path("missing"));
            fs::write(&present, "12345").unwrap();
            let opened = options.open(&present).map(drop);
            match allowed {
                false => cannot_go_together(opened),
                true if new => fails_with(opened, Errno::EXIST),
                true => opened.expect(&case),
            }
            let left = if allowed && truncates { 0 } else { 5 };
            assert_eq!(fs::metadata(&present).unwrap().len(), left, "{case}");

            let opened = options.open(&missing).map(drop);
            match allowed {
                false => cannot_go_together(opened),
                true if creates => opened.expect(&case),
                true => fails_with(opened, Errno::NOENT),
            }
            assert_eq!(fs::exists(&missing).unwrap(), allowed && creates, "{case}");
            if allowed && creates {
                fs::remove_file(&missing).unwrap();
            }

            if allowed && !new {
                let mut file = options.open(&present).unwrap();
                let read = file.read(&mut [0; 3]);
                assert_eq!(read.is_ok(), access.contains("read"), "{case}: {read:?}");
                let written = file.write(b"x");
                assert_eq!(written.is_ok(), writes, "{case}: {written:?}");
            }
        }
    }
    fs::write(at.path("over"), "foobar").unwrap();
    OpenOptions::new().write(true).open(at.path("over")).unwrap().write_all(b"baz").unwrap();
    assert_eq!(fs::read(at.path("over")).unwrap(), b"bazbar");
}

pub(crate) fn what_was_written_is_read(at: &Sandbox) {
    let path = at.path("greeting");
    File::create(&path).unwrap().write_all(b"good morning").unwrap();
    let mut buffer = [0; 1000];
    let read = File::open(&path).unwrap().read(&mut buffer).unwrap();
    assert_eq!(&buffer[..read], b"good morning");
    fs::remove_file(&path).unwrap();
}

pub(crate) fn opening_what_is_missing(at: &Sandbox) {
    fails_with(File::open(at.path("nowhere")), Errno::NOENT);
    fails_with(File::open(at.path("nowhere/in/particular")), Errno::NOENT);
}

pub(crate) fn removing_what_is_missing(at: &Sandbox) {
    fails_with(fs::remove_file(at.path("nowhere")), Errno::NOENT);
    fails_with(fs::remove_file(at.path("nowhere/in/particular")), Errno::NOENT);
}

pub(crate) fn reads_go_on_where_the_last_one_ended(at: &Sandbox) {
    fs::write(at.path("eight"), "abcdefgh").unwrap();
    let mut file = File::open(at.path("eight")).unwrap();
    let mut read = [[0; 3]; 3];
    let counts = read.each_mut().map(|part| file.read(part).unwrap());
    assert_eq!(counts, [3, 3, 2]);
    assert_eq!(read.concat(), b"abcdefgh\0");
}

pub(crate) fn the_position_can_be_set_and_asked(at: &Sandbox) {
    fs::write(at.path("eight"), "abcdefgh").unwrap();
    let mut file = File::open(at.path("eight")).unwrap();
    assert_eq!(file.seek(SeekFrom::Start(5)).unwrap(), 5);
    assert_eq!(file.stream_position().unwrap(), 5);
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), file.stream_position().unwrap()), ("fgh", 8));
}

pub(crate) fn a_write_after_a_seek_overwrites(at: &Sandbox) {
    let mut file = File::create(at.path("text")).unwrap();
    file.write_all(b"one two three").unwrap();
    file.seek(SeekFrom::Start(4)).unwrap();
    file.write_all(b"2 and ").unwrap();
    file.seek(SeekFrom::Current(4)).unwrap();
    file.write_all(b"!").unwrap();
    assert_eq!(fs::read_to_string(at.path("text")).unwrap(), "one 2 and ree\0!");
}

pub(crate) fn seeks_from_every_origin(at: &Sandbox) {
    fs::write(at.path("parts"), "head-body-tail").unwrap();
    let mut file = File::open(at.path("parts")).unwrap();
    let mut part = |from| {
        let mut four = [0; 4];
        file.seek(from).unwrap();
        file.read_exact(&mut four).unwrap();
        String::from_utf8(four.to_vec()).unwrap()
    };
    assert_eq!(part(SeekFrom::End(-4)), "tail");
    assert_eq!(part(SeekFrom::Current(-9)), "body");
    assert_eq!(part(SeekFrom::Start(0)), "head");
    assert_eq!(part(SeekFrom::Current(1)), "body");
}

pub(crate) fn reading_an_empty_file_gives_nothing_every_time(at: &Sandbox) {
    let mut file = File::create_new(at.path("empty")).unwrap();
    for _ in 0..3 {
        assert_eq!(file.read(&mut [0; 100]).unwrap(), 0);
    }
}

pub(crate) fn reads_and_writes_at_an_offset_leave_the_position(at: &Sandbox) {
    let mut file = File::create_new(at.path("file")).unwrap();
    let mut buffer = [9; 16];
    assert_eq!(file.write_at(b"-body", 4).unwrap(), 5);
    assert_eq!(file.stream_position().unwrap(), 0);
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 9);
    assert_eq!(&buffer[..10], b"\0\0\0\0-body\x09");
    assert_eq!(file.read_at(&mut buffer, 6).unwrap(), 3);
    assert_eq!(&buffer[..3], b"ody");
    assert_eq!(file.read_at(&mut buffer, 9).unwrap(), 0);
    assert_eq!(file.read_at(&mut buffer, 900).unwrap(), 0);
    assert_eq!(file.stream_position().unwrap(), 0);

    assert_eq!(file.write(b"head").unwrap(), 4);
    assert_eq!(file.write_at(b"-tail", 9).unwrap(), 5);
    assert_eq!(file.stream_position().unwrap(), 4);
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "-body-tail");
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 14);
    assert_eq!(file.stream_position().unwrap(), 14);

    let mut file = File::open(at.path("file")).unwrap();
    assert_eq!(file.seek(SeekFrom::End(-4)).unwrap(), 10);
    file.read_exact_at(&mut buffer[..4], 0).unwrap();
    assert_eq!(&buffer[..4], b"head");
    file.read_exact(&mut buffer[..4]).unwrap();
    assert_eq!(&buffer[..4], b"tail");
    fails_with(file.write_at(b"x", 0), Errno::BADF);
}

pub(crate) fn create_new_wants_the_name_free(at: &Sandbox) {
    File::create_new(at.path("once")).unwrap();
    fails_with(File::create_new(at.path("once")), Errno::EXIST);
    fs::create_dir(at.path("dir")).unwrap();
    fails_with(File::create_new(at.path("dir")), Errno::EXIST);
    super::symlink("nowhere", at.path("dangling")).unwrap();
    fails_with(File::create_new(at.path("dangling")), Errno::EXIST);
}

pub(crate) fn syncing_changes_nothing(at: &Sandbox) {
    let mut file = File::create(at.path("file")).unwrap();
    for part in ["", "ab", "c"] {
        file.write_all(part.as_bytes()).unwrap();
        file.sync_data().unwrap();
        file.sync_all().unwrap();
    }
    assert_eq!(fs::read(at.path("file")).unwrap(), b"abc");
}

pub(crate) fn cutting_and_extending_keep_the_position(at: &Sandbox) {
    let mut file = File::create(at.path("file")).unwrap();
    let content = || fs::read(at.path("file")).unwrap();
    file.write_all(b"abc").unwrap();
    file.set_len(8).unwrap();
    assert_eq!((file.metadata().unwrap().len(), file.stream_position().unwrap()), (8, 3));
    file.write_all(b"def").unwrap();
    assert_eq!(content(), b"abcdef\0\0");
    file.set_len(1).unwrap();
    assert_eq!((content(), file.stream_position().unwrap()), (b"a".to_vec(), 6));
    file.write_all(b"g").unwrap();
    assert_eq!(content(), b"a\0\0\0\0\0g");
    file.set_len(0).unwrap();
    file.set_len(2).unwrap();
    assert_eq!(content(), b"\0\0");
}

pub(crate) fn open_options_go_between_threads(at: &Sandbox) {
    fn can_be_shared<T: Send + Sync>() {}
    can_be_shared::<OpenOptions>();
    can_be_shared::<File>();
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    let open = || options.open(at.path("file")).map(drop);
    std::thread::scope(|scope| scope.spawn(super::carried(open)).join()).unwrap().unwrap();
    assert!(fs::exists(at.path("file")).unwrap());
}

pub(crate) fn bytes_of_every_value_survive(at: &Sandbox) {
    let bytes: Vec<u8> = (0..=255).rev().chain(0..=255).collect();
    File::create(at.path("bytes")).unwrap().write_all(&bytes).unwrap();
    let mut read = Vec::new();
    File::open(at.path("bytes")).unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes);
}

pub(crate) fn whole_files_are_written_and_read(at: &Sandbox) {
    let bytes: Vec<u8> = (0..5000_u32).map(|i| (i % 253) as u8).collect();
    fs::write(at.path("bytes"), &bytes).unwrap();
    assert_eq!(fs::read(at.path("bytes")).unwrap(), bytes);
    fs::write(at.path("bytes"), b"a\xff").unwrap();
    let error = fs::read_to_string(at.path("bytes")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(error.to_string(), "stream did not contain valid UTF-8");
    fs::write(at.path("text"), "ünïcödé 한 𐀀").unwrap();
    assert_eq!(fs::read_to_string(at.path("text")).unwrap(), "ünïcödé 한 𐀀");
}

pub(crate) fn a_clone_shares_the_position(at: &Sandbox) {
    let mut first = File::create_new(at.path("file")).unwrap();
    let mut second = first.try_clone().unwrap();
    first.write_all(b"abcdef").unwrap();
    second.seek(SeekFrom::Start(3)).unwrap();
    let mut rest = String::new();
    first.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "def");
    drop(first);
    second.write_all(b"!").unwrap();
    assert_eq!(fs::read(at.path("file")).unwrap(), b"abcdef!");
}

pub(crate) fn a_directory_cannot_be_created_or_written_as_a_file(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    for path in ["dir", "dir/", "dir/.", "dir/.."] {
        fails_with(File::create(at.path(path)), Errno::ISDIR);
        fails_with(OpenOptions::new().write(true).open(at.path(path)), Errno::ISDIR);
        fails_with(OpenOptions::new().append(true).open(at.path(path)), Errno::ISDIR);
    }
}

pub(crate) fn a_directory_cannot_be_opened_for_writing(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    fs::write(at.path("file"), "").unwrap();
    let directory = OFlags::DIRECTORY.bits() as i32;
    let mut options = OpenOptions::new();
    options.write(true);
    fails_with(options.open(at.path("dir")), Errno::ISDIR);
    fails_with(options.open(at.path("dir/")), Errno::ISDIR);
    options.custom_flags(directory);
    fails_with(options.open(at.path("dir")), Errno::ISDIR);
    fails_with(options.open(at.path("file")), Errno::NOTDIR);
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(directory);
    options.open(at.path("dir")).unwrap();
    fails_with(options.open(at.path("file")), Errno::NOTDIR);
}

pub(crate) fn a_directory_can_be_opened_for_reading(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    let mut dir = File::open(at.path("dir")).unwrap();
    assert!(dir.metadata().unwrap().is_dir());
    fails_with(dir.read(&mut [0; 10]), Errno::ISDIR);
    fails_with(dir.write(b"x"), Errno::BADF);
    fails_with(dir.set_len(0), Errno::INVAL);
    dir.sync_all().unwrap();
}

pub(crate) fn no_name_and_the_directory_itself_are_no_files(at: &Sandbox) {
    fails_with(File::create(""), Errno::NOENT);
    fails_with(File::open(""), Errno::NOENT);
    fails_with(File::create(at.path(".")), Errno::ISDIR);
    fails_with(File::create(at.path("")), Errno::ISDIR);
    fails_with(File::create(at.path("./")), Errno::ISDIR);
    fails_with(File::create_new(at.path("./")), Errno::EXIST);
    // With the way to the sandbox, longer than the kernel takes a path.
    fails_with(File::open(at.path("./".repeat(2045))), Errno::NAMETOOLONG);
    // Options that do not go together are found first, whatever the path.
    let mut options = OpenOptions::new();
    cannot_go_together(options.open("").map(drop));
    options.read(true).create_new(true);
    cannot_go_together(options.open("").map(drop));
    cannot_go_together(options.open(at.path("no/x")).map(drop));
}
