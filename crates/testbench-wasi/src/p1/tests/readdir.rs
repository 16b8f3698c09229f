//! `fd_readdir`: order, cookies, and buffers that are too small.

use std::sync::Arc;

use testbench_overlay::{Errno, MemoryDir};

use super::puppet::{At, Done, Puppet, number};

const HEADER_BYTES: usize = 24;

fn files() -> Arc<MemoryDir> {
    let builder = MemoryDir::builder().file("b", "").dir("dir").file("a", "").symlink("c", "a");
    Arc::new(builder.build().unwrap())
}

/// Reads descriptor 3 with this much room; returns where the entries and their length will be.
fn readdir(puppet: &mut Puppet, room: usize, cookie: u64) -> (At, At) {
    let (buf, used) = (puppet.room(room), puppet.room(4));
    puppet.call("fd_readdir", &[3, buf.at, buf.len, cookie, used.at]);
    (buf, used)
}

/// `name:type:next cookie` of the whole entries in the buffer.
fn entries(done: &Done, (buf, used): (At, At)) -> Vec<String> {
    let mut bytes = &done.bytes(buf)[..done.u32(used) as usize];
    let mut shown = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let next = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let len = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
        let Some(name) = bytes.get(HEADER_BYTES..HEADER_BYTES + len) else { break };
        shown.push(format!("{}:{}:{next}", String::from_utf8_lossy(name), bytes[20]));
        bytes = &bytes[HEADER_BYTES + len..];
    }
    shown
}

#[test]
fn entries_come_in_the_order_of_their_bytes_with_their_kinds() {
    let mut puppet = Puppet::new();
    let all = readdir(&mut puppet, 1000, 0);
    let done = puppet.run_on(files(), |spec| spec);
    assert_eq!(entries(&done, all), [".:3:1", "..:3:2", "a:4:3", "b:4:4", "c:7:5", "dir:3:6"]);
}

#[test]
fn a_full_buffer_may_end_within_an_entry_and_the_cookie_goes_on_before_it() {
    let mut puppet = Puppet::new();
    let in_name = readdir(&mut puppet, 25 + 26 - 1, 0);
    let in_header = readdir(&mut puppet, 25 + 26 + 10, 0);
    let none = readdir(&mut puppet, 10, 0);
    let rest = readdir(&mut puppet, 1000, 1);
    let done = puppet.run_on(files(), |spec| spec);
    assert_eq!((done.u32(in_name.1), entries(&done, in_name)), (50, vec![".:3:1".to_owned()]));
    assert_eq!(done.u32(in_header.1), 61);
    assert_eq!(entries(&done, in_header), [".:3:1", "..:3:2"]);
    assert_eq!((done.u32(none.1), entries(&done, none)), (10, vec![]));
    assert_eq!(entries(&done, rest)[0], "..:3:2");
}

#[test]
fn cookies_survive_changes_and_cookie_0_sees_them() {
    let mut puppet = Puppet::new();
    let before = readdir(&mut puppet, 100, 0);
    let name = puppet.bytes(b"a");
    puppet.call("path_unlink_file", &[3, name.at, 1]);
    let new = puppet.bytes(b"0");
    puppet.call("path_create_directory", &[3, new.at, 1]);
    let resumed = readdir(&mut puppet, 1000, 3);
    let again = readdir(&mut puppet, 1000, 0);
    let done = puppet.run_on(files(), |spec| spec);
    assert_eq!(entries(&done, before), [".:3:1", "..:3:2", "a:4:3"]);
    assert_eq!(entries(&done, resumed), ["b:4:4", "c:7:5", "dir:3:6"]);
    assert_eq!(entries(&done, again), [".:3:1", "..:3:2", "0:3:3", "b:4:4", "c:7:5", "dir:3:6"]);
}

#[test]
fn a_cookie_works_on_another_descriptor_of_the_same_directory() {
    let mut puppet = Puppet::new();
    puppet.open(".", 0, 0, 0);
    let (buf, used) = (puppet.room(1000), puppet.room(4));
    puppet.call("fd_readdir", &[4, buf.at, buf.len, 5, used.at]);
    let done = puppet.run_on(files(), |spec| spec);
    assert_eq!(entries(&done, (buf, used)), ["dir:3:6"]);
}

#[test]
fn cookies_past_the_end_find_nothing() {
    let mut puppet = Puppet::new();
    let past: Vec<_> = [6, 7, u64::MAX].map(|cookie| readdir(&mut puppet, 100, cookie)).into();
    let done = puppet.run_on(files(), |spec| spec);
    assert_eq!(past.iter().map(|(_, used)| done.u32(*used)).collect::<Vec<_>>(), [0, 0, 0]);
}

#[test]
fn only_directories_have_entries() {
    let mut puppet = Puppet::new();
    puppet.open("a", 0, 2, 0);
    let (buf, used) = (puppet.room(100), puppet.room(4));
    let of_file = puppet.call("fd_readdir", &[4, buf.at, buf.len, 0, used.at]);
    let of_stream = puppet.call("fd_readdir", &[1, buf.at, buf.len, 0, used.at]);
    let done = puppet.run_on(files(), |spec| spec);
    assert_eq!(done.errno(of_file), number(Errno::Notdir));
    assert_eq!(done.errno(of_stream), number(Errno::Badf));
}
