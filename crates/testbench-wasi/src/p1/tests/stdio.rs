//! Standard streams: where bytes come from and where they go.

use std::io::Write;
use std::sync::{Arc, Mutex};

use testbench_overlay::{Errno, Fs, GuestPath, MemoryDir, OpenHow};

use super::puppet::{At, Done, Puppet, number};
use crate::{Exit, GuestSpec, Limit, Limits, OpenFile, Stdin, Stdout, pipe};

fn write(puppet: &mut Puppet, bytes: &[u8]) -> u32 {
    let bytes = puppet.bytes(bytes);
    let (iovs, n) = (puppet.iovs(&[bytes]), puppet.room(4));
    puppet.call("fd_write", &[1, iovs.at, 1, n.at])
}

/// Reads stdin three times, eight bytes at most each time.
fn read_thrice(with: impl FnOnce(GuestSpec) -> GuestSpec) -> Vec<Vec<u8>> {
    let mut puppet = Puppet::new();
    let reads: Vec<(At, At)> = (0..3)
        .map(|_| {
            let (room, n) = (puppet.room(8), puppet.room(4));
            let iovs = puppet.iovs(&[room]);
            puppet.call("fd_read", &[0, iovs.at, 1, n.at]);
            (room, n)
        })
        .collect();
    let done = puppet.run_on(files(), with);
    assert!(done.errnos().iter().all(|&errno| errno == 0));
    reads.iter().map(|(room, n)| done.bytes(*room)[..done.u32(*n) as usize].to_vec()).collect()
}

fn files() -> Arc<MemoryDir> {
    Arc::new(MemoryDir::builder().file("in", "from a file").file("out", "old").build().unwrap())
}

fn open(files: &MemoryDir, path: &str) -> Arc<dyn testbench_overlay::File> {
    let how = OpenHow { write: true, ..OpenHow::READ };
    files.open_at(&*files.root().unwrap(), GuestPath::new(path), &how).unwrap()
}

fn content(files: &MemoryDir, path: &str) -> Vec<u8> {
    let mut buf = vec![0; 100];
    let n = open(files, path).read_at(&mut buf, 0).unwrap();
    buf.truncate(n);
    buf
}

#[test]
fn sources_give_their_bytes_and_then_their_end() {
    let bytes = [b"0123".to_vec(), vec![], vec![]];
    let nothing = [const { Vec::<u8>::new() }; 3];
    assert_eq!(read_thrice(|spec| spec), nothing);
    assert_eq!(read_thrice(|spec| spec.stdin(b"0123".to_vec())), bytes);
    assert_eq!(read_thrice(|spec| spec.stdin(Stdin::reader(&b"0123"[..]))), bytes);
    let (reader, writer) = pipe();
    writer.try_write(b"0123").unwrap();
    drop(writer);
    assert_eq!(read_thrice(|spec| spec.stdin(reader)), bytes);
    let file = OpenFile::new(open(&files(), "in"));
    let read = read_thrice(|spec| spec.stdin(file.clone()));
    assert_eq!(read, [b"from a f".to_vec(), b"ile".to_vec(), vec![]]);
    assert_eq!(file.position(), 11);
}

#[test]
fn a_closure_that_fails_is_an_errno() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }
    let mut puppet = Puppet::new();
    let (room, n) = (puppet.room(8), puppet.room(4));
    let iovs = puppet.iovs(&[room]);
    puppet.call("fd_read", &[0, iovs.at, 1, n.at]);
    let done = puppet.run_on(files(), |spec| spec.stdin(Stdin::reader(Broken)));
    assert_eq!(done.errnos(), [number(Errno::Pipe)]);
}

#[test]
fn sinks_get_every_byte() {
    let mut puppet = Puppet::new();
    write(&mut puppet, b"one ");
    write(&mut puppet, b"two");

    let captured = puppet.run();
    assert_eq!(captured.finished.stdout, b"one two");

    let null = puppet.run_on(files(), |spec| spec.stdout(Stdout::Null));
    assert_eq!((null.errnos(), null.finished.stdout), (vec![0, 0], vec![]));

    let (reader, writer) = pipe();
    let piped = puppet.run_on(files(), |spec| spec.stdout(writer));
    let mut buf = [0; 16];
    assert_eq!((piped.errnos(), reader.try_read(&mut buf)), (vec![0, 0], Ok(7)));
    assert_eq!(reader.try_read(&mut buf), Ok(0), "the guest's end is closed when it has ended");

    let tree = files();
    puppet.run_on(files(), |spec| spec.stdout(OpenFile::new(open(&tree, "out"))));
    assert_eq!(content(&tree, "out"), b"one two");
    puppet.run_on(files(), |spec| spec.stdout(OpenFile::appending(open(&tree, "out"))));
    assert_eq!(content(&tree, "out"), b"one twoone two");

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);
    impl Write for Kept {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(buf)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let kept = Kept::default();
    puppet.run_on(files(), |spec| spec.stdout(Stdout::writer(kept.clone())));
    assert_eq!(*kept.0.lock().unwrap(), b"one two");
}

#[test]
fn two_streams_in_one_file_keep_their_order() {
    let mut puppet = Puppet::new();
    write(&mut puppet, b"out");
    let tree = files();
    let file = OpenFile::new(open(&tree, "out"));
    puppet.run_on(files(), |spec| spec.stdout(file.clone()).stderr(file.clone()));
    // The guest's last act is to write its memory to stderr.
    assert_eq!(file.position(), 3 + 65_536);
    assert_eq!(&content(&tree, "out")[..3], b"out");
}

#[test]
fn a_pipe_that_nobody_reads_is_broken_and_a_full_one_that_nobody_will_read_is_a_deadlock() {
    let mut puppet = Puppet::new();
    write(&mut puppet, b"x");
    let (reader, writer) = pipe();
    drop(reader);
    let done = puppet.run_on(files(), |spec| spec.stdout(writer));
    assert_eq!(done.errnos(), [number(Errno::Pipe)]);

    let (reader, writer) = pipe();
    writer.try_write(&[0; 65_536]).unwrap();
    let done = puppet.run_on(files(), |spec| spec.stdout(writer));
    // The report names the call and its descriptor.
    insta::assert_snapshot!(done.finished.exit, @r"
    deadlock: it waits for something that can never come
      `puppet`: fd_write of descriptor 1, a pipe
    ");
    drop(reader);
}

#[test]
fn a_stream_that_must_not_wait_says_again() {
    let mut puppet = Puppet::new();
    puppet.call("fd_fdstat_set_flags", &[0, 4]);
    let (room, n) = (puppet.room(8), puppet.room(4));
    let iovs = puppet.iovs(&[room]);
    let read = puppet.call("fd_read", &[0, iovs.at, 1, n.at]);
    let (reader, _writer) = pipe();
    let done = puppet.run_on(files(), |spec| spec.stdin(reader));
    assert_eq!(done.errno(read), number(Errno::Again));
}

#[test]
fn output_beyond_the_limit_ends_the_guest_and_what_fits_is_kept() {
    let mut puppet = Puppet::new();
    write(&mut puppet, b"0123");
    write(&mut puppet, b"4567");
    let run = |output_bytes_max| -> Done {
        let limits = Limits { output_bytes_max, ..Limits::default() };
        puppet.run_on(files(), |spec| spec.limits(limits).stderr(Stdout::Null))
    };
    let enough = run(8);
    assert!(enough.finished.exit.success());
    let small = run(7);
    let limit = Limit::Output { bytes_max: 7 };
    assert!(matches!(&small.finished.exit, Exit::Limit(l) if *l == limit));
    assert_eq!(small.finished.limits_hit, [limit]);
    assert_eq!(small.finished.stdout, b"0123456");
}

#[test]
fn signals_do_what_they_do_to_a_process_that_handles_none() {
    for (signal, errno) in
        [(0, Ok(())), (16, Ok(())), (18, Err(Errno::Notsup)), (31, Err(Errno::Inval))]
    {
        let mut puppet = Puppet::new();
        puppet.call("proc_raise", &[signal]);
        assert_eq!(puppet.run().errnos(), [errno.map_or_else(number, |()| 0)], "signal {signal}");
    }
    let mut puppet = Puppet::new();
    puppet.call("proc_raise", &[6]);
    let exit = puppet.run().finished.exit;
    assert!(matches!(&exit, Exit::Killed(why) if &**why == "raised SIGABRT"), "{exit}");
}
