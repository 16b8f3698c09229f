//! Descriptors: numbers, rights, flags, positions.

use std::sync::Arc;
use std::time::Duration;

use testbench_clock::{MockClock, Seed};
use testbench_overlay::{Errno, MemoryDir};

use super::puppet::{At, Done, Puppet, number};
use crate::{Limit, Limits};

const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 6;
const SEEK: u64 = 1 << 2;
const CREAT: u64 = 1;
const APPEND: u64 = 1;

fn files() -> Arc<MemoryDir> {
    let clock = MockClock::builder().build();
    let builder = MemoryDir::builder().clock(clock).file("file", "0123456789").dir("dir");
    Arc::new(builder.build().unwrap())
}

fn run(puppet: &Puppet) -> Done {
    puppet.run_on(files(), |spec| spec)
}

fn write(puppet: &mut Puppet, fd: u64, bytes: &[u8]) -> u32 {
    let bytes = puppet.bytes(bytes);
    let (iovs, n) = (puppet.iovs(&[bytes]), puppet.room(4));
    puppet.call("fd_write", &[fd, iovs.at, 1, n.at])
}

fn pwrite(puppet: &mut Puppet, fd: u64, bytes: &[u8]) -> u32 {
    let bytes = puppet.bytes(bytes);
    let (iovs, n) = (puppet.iovs(&[bytes]), puppet.room(4));
    puppet.call("fd_pwrite", &[fd, iovs.at, 1, 0, n.at])
}

fn read(puppet: &mut Puppet, fd: u64, len: usize) -> (u32, At) {
    let room = puppet.room(len);
    let (iovs, n) = (puppet.iovs(&[room]), puppet.room(4));
    (puppet.call("fd_read", &[fd, iovs.at, 1, n.at]), room)
}

#[test]
fn new_descriptors_get_the_lowest_free_number() {
    let mut puppet = Puppet::new();
    let opened = [(), (), ()].map(|()| {
        let path = puppet.bytes(b"file");
        let fd = puppet.room(4);
        puppet.call("path_open", &[3, 0, path.at, 4, 0, READ, 0, 0, fd.at]);
        fd
    });
    puppet.call("fd_close", &[5]);
    puppet.call("fd_close", &[4]);
    let path = puppet.bytes(b"file");
    let again = puppet.room(4);
    puppet.call("path_open", &[3, 0, path.at, 4, 0, READ, 0, 0, again.at]);
    let twice = puppet.call("fd_close", &[5]);
    let done = run(&puppet);
    assert_eq!(opened.map(|fd| done.u32(fd)), [4, 5, 6]);
    assert_eq!(done.u32(again), 4);
    assert_eq!(done.errno(twice), number(Errno::Badf));
}

#[test]
fn too_many_open_files_are_refused_and_noted() {
    let mut puppet = Puppet::new();
    puppet.open("file", 0, READ, 0);
    puppet.open("file", 0, READ, 0);
    let limits = Limits { open_files_max: 5, ..Limits::default() };
    let done = puppet.run_on(files(), |spec| spec.limits(limits));
    assert_eq!(done.errnos(), [0, number(Errno::Mfile)]);
    assert_eq!(done.finished.limits_hit, [Limit::OpenFiles { max: 5 }]);
}

#[test]
fn rights_are_narrowed_and_never_widened() {
    let mut puppet = Puppet::new();
    puppet.open("file", 0, READ | WRITE, 0);
    let fdstat = puppet.room(24);
    puppet.call("fd_fdstat_set_rights", &[4, READ, 0]);
    puppet.call("fd_fdstat_get", &[4, fdstat.at]);
    let calls = [
        read(&mut puppet, 4, 1).0,
        write(&mut puppet, 4, b"x"),
        puppet.call("fd_filestat_set_size", &[4, 0]),
        puppet.call("fd_fdstat_set_rights", &[4, READ | WRITE, 0]),
        puppet.call("fd_fdstat_set_rights", &[4, READ, READ]),
        puppet.call("fd_fdstat_set_rights", &[4, 1 << 63, 0]),
    ];
    let done = run(&puppet);
    let no = number(Errno::NotCapable);
    assert_eq!(calls.map(|call| done.errno(call)), [0, no, no, no, no, no]);
    assert_eq!(done.u64(fdstat.offset(8)), READ);
    assert_eq!(done.u64(fdstat.offset(16)), 0);
}

#[test]
fn a_directory_passes_on_no_more_than_it_has() {
    let mut puppet = Puppet::new();
    puppet.call("fd_fdstat_set_rights", &[3, (1 << 13) | (1 << 18), READ | SEEK | (1 << 13)]);
    let calls = [
        puppet.open("file", 0, READ, 0),
        puppet.open("file", 0, READ | WRITE, 0),
        puppet.open("new", CREAT, READ, 0),
    ];
    let fdstat = puppet.room(24);
    puppet.call("fd_fdstat_get", &[4, fdstat.at]);
    let done = run(&puppet);
    let no = number(Errno::NotCapable);
    assert_eq!(calls.map(|call| done.errno(call)), [0, no, no]);
    assert_eq!(done.u64(fdstat.offset(8)), READ | SEEK);
}

#[test]
fn operations_that_a_file_was_not_opened_for_fail_with_ebadf_and_reading_a_directory_with_eisdir() {
    let mut puppet = Puppet::new();
    puppet.open("file", 0, READ, 0);
    puppet.open("file", 0, WRITE, 0);
    puppet.open("dir", 0, READ, 0);
    let calls = [
        write(&mut puppet, 4, b"x"),
        read(&mut puppet, 5, 1).0,
        read(&mut puppet, 6, 1).0,
        write(&mut puppet, 6, b"x"),
        pwrite(&mut puppet, 6, b"x"),
        read(&mut puppet, 1, 1).0,
        write(&mut puppet, 0, b"x"),
        puppet.call("fd_filestat_set_size", &[4, 0]),
    ];
    let done = run(&puppet);
    let expected = [
        Errno::Badf,
        Errno::Badf,
        Errno::Isdir,
        Errno::Badf,
        Errno::Badf,
        Errno::Badf,
        Errno::Badf,
        Errno::Inval,
    ];
    assert_eq!(calls.map(|call| done.errno(call)), expected.map(number));
}

#[test]
fn positions_move_from_the_start_from_here_and_from_the_end() {
    let mut puppet = Puppet::new();
    puppet.open("file", 0, READ, 0);
    let mut seek = |offset: i64, whence: u64| {
        let position = puppet.room(8);
        (puppet.call("fd_seek", &[4, offset as u64, whence, position.at]), position)
    };
    let moves = [seek(4, 0), seek(3, 1), seek(-1, 2), seek(1000, 0)];
    let refused = [seek(-1, 0), seek(-2000, 1), seek(i64::MAX, 1), seek(0, 3)];
    let told = puppet.room(8);
    puppet.call("fd_tell", &[4, told.at]);
    let (_, past_the_end) = read(&mut puppet, 4, 1);
    let position = puppet.room(8);
    let of_stream = puppet.call("fd_seek", &[0, 0, 0, position.at]);
    let of_dir = puppet.call("fd_seek", &[3, 0, 0, position.at]);
    let done = run(&puppet);
    assert_eq!(moves.map(|(_, position)| done.u64(position)), [4, 7, 9, 1000]);
    assert_eq!(refused.map(|(call, _)| done.errno(call)), [number(Errno::Inval); 4]);
    assert_eq!(done.u64(told), 1000);
    assert_eq!(done.bytes(past_the_end), [0]);
    assert_eq!(done.errno(of_stream), number(Errno::Spipe));
    assert_eq!(done.errno(of_dir), number(Errno::Badf));
}

#[test]
fn preview_0_counts_whence_otherwise() {
    let mut puppet = Puppet::importing("wasi_unstable");
    puppet.open("file", 0, READ, 0);
    let positions = [(3, 2), (1, 0), (-2_i64, 1)].map(|(offset, whence)| {
        let position = puppet.room(8);
        puppet.call("fd_seek", &[4, offset as u64, whence, position.at]);
        position
    });
    let done = run(&puppet);
    assert_eq!(positions.map(|position| done.u64(position)), [3, 4, 8]);
}

#[test]
fn both_layouts_of_a_files_metadata() {
    for (module, size_at, nlink_at) in
        [("wasi_snapshot_preview1", 32, 24), ("wasi_unstable", 24, 20)]
    {
        let mut puppet = Puppet::importing(module);
        puppet.open("file", 0, READ, 0);
        let stat = puppet.room(64);
        puppet.call("fd_filestat_get", &[4, stat.at]);
        let done = run(&puppet);
        assert_eq!(done.u64(stat.offset(size_at)), 10, "{module}: size");
        assert_eq!(done.u32(stat.offset(nlink_at)), 1, "{module}: nlink");
        assert_eq!(done.bytes(stat)[16], 4, "{module}: type");
        let mtime = done.u64(stat.offset(size_at + 16));
        assert_eq!(mtime, 946_684_800_000_000_000, "{module}: mtime");
    }
}

#[test]
fn appending_goes_to_the_end_wherever_the_position_is() {
    let mut puppet = Puppet::new();
    puppet.open("file", 0, READ | WRITE, APPEND);
    let position = puppet.room(8);
    puppet.call("fd_seek", &[4, 2, 0, position.at]);
    write(&mut puppet, 4, b"ab");
    puppet.call("fd_tell", &[4, position.at]);
    let (bytes, n) = (puppet.bytes(b"cd"), puppet.room(4));
    let iovs = puppet.iovs(&[bytes]);
    puppet.call("fd_pwrite", &[4, iovs.at, 1, 0, n.at]);
    puppet.call("fd_fdstat_set_flags", &[4, 0]);
    puppet.call("fd_pwrite", &[4, iovs.at, 1, 1, n.at]);
    let (room, n) = (puppet.room(20), puppet.room(4));
    let iovs = puppet.iovs(&[room]);
    puppet.call("fd_pread", &[4, iovs.at, 1, 0, n.at]);
    let done = run(&puppet);
    assert_eq!(done.u64(position), 12);
    assert_eq!(done.u32(n), 14);
    assert_eq!(&done.bytes(room)[..14], b"0cd3456789abcd");
}

#[test]
fn several_buffers_are_one_write_and_one_read() {
    let mut puppet = Puppet::new();
    puppet.open("new", CREAT, READ | WRITE, 0);
    let bufs = [&b"one"[..], b"", b"two"].map(|bytes| puppet.bytes(bytes));
    let (iovs, written) = (puppet.iovs(&bufs), puppet.room(4));
    puppet.call("fd_write", &[4, iovs.at, 3, written.at]);
    let rooms = [2, 0, 3, 5].map(|len| puppet.room(len));
    let (iovs, nread) = (puppet.iovs(&rooms), puppet.room(4));
    puppet.call("fd_pread", &[4, iovs.at, 4, 0, nread.at]);
    let done = run(&puppet);
    assert_eq!((done.u32(written), done.u32(nread)), (6, 6));
    assert_eq!(rooms.map(|room| done.bytes(room)), [&b"on"[..], b"", b"etw", b"o\0\0\0\0"]);
}

#[test]
fn allocation_extends_and_refuses_what_no_file_has() {
    let mut puppet = Puppet::new();
    puppet.open("file", 0, READ | WRITE, 0);
    let calls = [(0, 5), (8, 8), (0, 0), (1 << 62, 1 << 62), (u64::MAX, 1)]
        .map(|(offset, len)| puppet.call("fd_allocate", &[4, offset, len]));
    let stat = puppet.room(64);
    puppet.call("fd_filestat_get", &[4, stat.at]);
    let done = run(&puppet);
    let inval = number(Errno::Inval);
    assert_eq!(calls.map(|call| done.errno(call)), [0, 0, inval, number(Errno::Fbig), inval],);
    assert_eq!(done.u64(stat.offset(32)), 16);
}

#[test]
fn renumbering_closes_what_was_there_and_moves_preopens() {
    let mut puppet = Puppet::new();
    puppet.open("file", 0, READ, 0);
    let missing = puppet.call("fd_renumber", &[4, 9]);
    let same = puppet.call("fd_renumber", &[4, 4]);
    let moved = puppet.call("fd_renumber", &[3, 4]);
    let prestat = puppet.room(8);
    let gone = puppet.call("fd_prestat_get", &[3, prestat.at]);
    let there = puppet.call("fd_prestat_get", &[4, prestat.at]);
    let done = run(&puppet);
    let badf = number(Errno::Badf);
    let calls = [missing, same, moved, gone, there].map(|call| done.errno(call));
    assert_eq!(calls, [badf, 0, 0, badf, 0]);
    assert_eq!(done.u32(prestat.offset(4)), 1);
}

#[test]
fn clocks_show_the_clock_and_its_resolution() {
    let mut puppet = Puppet::new();
    let times = [0, 1, 2, 3].map(|id| {
        let (time, resolution) = (puppet.room(8), puppet.room(8));
        puppet.call("clock_time_get", &[id, 0, time.at]);
        puppet.call("clock_res_get", &[id, resolution.at]);
        (time, resolution)
    });
    let clock = MockClock::builder().build();
    clock.advance(Duration::from_secs(7)).unwrap();
    let done = puppet.run_on(files(), |spec| spec.clock(clock));
    let times = times.map(|(time, resolution)| (done.u64(time), done.u64(resolution)));
    // The monotonic clock shows a second at the origin of the timeline.
    assert_eq!(times, [(946_684_807_000_000_000, 1), (8_000_000_000, 1), (0, 1), (0, 1)]);
}

#[test]
fn randomness_is_the_streams() {
    let mut puppet = Puppet::new();
    let bytes = [3, 29].map(|len| puppet.room(len));
    for place in bytes {
        puppet.call("random_get", &[place.at, place.len]);
    }
    let mut expected = [0; 32];
    Seed::new(5).stream("me").fill(&mut expected);
    let done = puppet.run_on(files(), |spec| spec.random(Seed::new(5).stream("me")));
    assert_eq!(done.bytes(bytes[0]), &expected[..3]);
    assert_eq!(done.bytes(bytes[1]), &expected[3..]);
}

#[test]
fn there_are_no_sockets() {
    let mut puppet = Puppet::new();
    let (n, flags) = (puppet.room(4), puppet.room(4));
    puppet.call("sock_accept", &[0, 0, n.at]);
    puppet.call("sock_recv", &[3, 0, 0, 0, n.at, flags.at]);
    puppet.call("sock_send", &[1, 0, 0, 0, n.at]);
    puppet.call("sock_shutdown", &[1, 3]);
    puppet.call("sock_shutdown", &[77, 1]);
    let done = run(&puppet);
    let no = number(Errno::Notsock);
    assert_eq!(done.errnos(), [no, no, no, no, number(Errno::Badf)]);
}
