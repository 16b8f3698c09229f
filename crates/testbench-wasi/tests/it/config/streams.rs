//! The kinds of standard input, output and error.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use testbench_overlay::{Create, Follow, Fs, GuestPath, MemoryDir, OpenHow};
use testbench_wasi::{Cancel, GuestSpec, OpenFile, Stdin, Stdout};

use super::{finished, in_a_process_of_its_own, stdout, tool};

fn open(tree: &MemoryDir, path: &str) -> Arc<dyn testbench_overlay::File> {
    let how = OpenHow {
        read: true,
        write: true,
        truncate: false,
        create: Create::IfMissing,
        directory: false,
        follow: Follow::Yes,
        mode: 0o644,
    };
    tree.open_at(&*tree.root().unwrap(), GuestPath::new(path), &how).unwrap()
}

fn content(file: &Arc<dyn testbench_overlay::File>) -> Vec<u8> {
    let mut bytes = vec![0; 100];
    let read = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(read);
    bytes
}

/// Copies its input to its output.
fn cat() -> GuestSpec {
    tool!("cat")
}

/// Writes `out` to stdout, and a complaint to stderr.
fn both() -> GuestSpec {
    tool!("cat").stdin(b"out\n".to_vec()).args(["-", "/absent"])
}

#[test]
fn stdin() {
    assert_eq!(stdout(cat()), "", "by default it is at its end");
    assert_eq!(stdout(cat().stdin(Stdin::Empty)), "");
    assert_eq!(stdout(cat().stdin(b"some bytes".to_vec())), "some bytes");
    let tree = MemoryDir::builder().file("in", "from a file").build().unwrap();
    assert_eq!(stdout(cat().stdin(OpenFile::new(open(&tree, "in")))), "from a file");
    let (reader, writer) = testbench_wasi::pipe();
    writer.try_write(b"through a pipe").unwrap();
    drop(writer);
    assert_eq!(stdout(cat().stdin(reader)), "through a pipe");
    assert_eq!(stdout(cat().stdin(Stdin::reader(&b"from a closure"[..]))), "from a closure");
}

#[test]
fn a_base_is_used_again() {
    // A clone has bytes of its own, and shares a file's position.
    let base = cat().stdin(b"again".to_vec());
    assert_eq!([stdout(base.clone()), stdout(base)], ["again", "again"]);
    let tree = MemoryDir::builder().file("in", "once").build().unwrap();
    let base = cat().stdin(OpenFile::new(open(&tree, "in")));
    assert_eq!([stdout(base.clone()), stdout(base)], ["once", ""]);
}

#[test]
fn stdout_and_stderr() {
    // By default both are captured, each by itself.
    let captured = finished(both());
    assert_eq!(captured.stdout, b"out\n");
    let complaint = captured.stderr;
    assert!(complaint.starts_with(b"cat: /absent:"));

    let null = finished(both().stdout(Stdout::Null).stderr(Stdout::Null));
    assert_eq!((null.exit.code(), null.stdout, null.stderr), (Some(1), vec![], vec![]));

    // Into files, one of which is appended to; and into one, in order.
    let tree = MemoryDir::builder().file("log", "before\n").build().unwrap();
    let (out, log) = (open(&tree, "out"), open(&tree, "log"));
    let spec = both().stdout(OpenFile::new(out.clone())).stderr(OpenFile::appending(log.clone()));
    assert!(finished(spec).stdout.is_empty());
    assert_eq!(content(&out), b"out\n");
    assert_eq!(content(&log), [b"before\n", &complaint[..]].concat());
    let one = OpenFile::new(open(&tree, "both"));
    finished(both().stdout(one.clone()).stderr(one));
    assert_eq!(content(&open(&tree, "both")), [b"out\n", &complaint[..]].concat());

    let (reader, writer) = testbench_wasi::pipe();
    finished(both().stdout(writer.clone()).stderr(writer));
    let mut bytes = [0; 100];
    let read = reader.try_read(&mut bytes).unwrap();
    assert_eq!(&bytes[..read], [b"out\n", &complaint[..]].concat());

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);
    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let kept = Kept::default();
    finished(both().stdout(Stdout::writer(kept.clone())));
    assert_eq!(*kept.0.lock().unwrap(), b"out\n");
}

#[test]
#[ignore = "the child of inherited_streams"]
fn inherited_streams_child() {
    let spec = cat().stdin(Stdin::Inherit).stdout(Stdout::Inherit).stderr(Stdout::Inherit);
    let ended = finished(spec.args(["-", "/absent"]));
    assert!(ended.stdout.is_empty() && ended.stderr.is_empty());
}

#[test]
fn inherited_streams() {
    let mut command = in_a_process_of_its_own("config::streams::inherited_streams_child");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from this process\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(out.contains("from this process\n"), "{out}");
    assert!(err.contains("cat: /absent:"), "{err}");
}

#[test]
#[ignore = "the child of inherited_input_is_waited_for_outside_of_the_timeline"]
fn inherited_input_child() {
    let clock = testbench_clock::MockClock::builder().build();
    let spec = || cat().stdin(Stdin::Inherit).clock(clock.clone());
    // Nothing comes, and the guest can be ended nevertheless.
    let cancel = Cancel::new();
    let other = std::thread::spawn({
        let cancel = cancel.clone();
        move || {
            // Long enough for the guest to be waiting, mostly.
            std::thread::park_timeout(std::time::Duration::from_millis(50));
            cancel.cancel("it took too long");
        }
    });
    let ended = finished(spec().cancel(cancel));
    other.join().unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "one: {}, {:?} passed", ended.exit, ended.virtual_time).unwrap();
    // What comes after that is the next one's.
    let ended = finished(spec());
    let read = String::from_utf8(ended.stdout).unwrap();
    writeln!(out, "two: {read:?}, {:?} passed", ended.virtual_time).unwrap();
}

#[test]
fn inherited_input_is_waited_for_outside_of_the_timeline() {
    let mut command = in_a_process_of_its_own("config::streams::inherited_input_child");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = |beginning: &str| -> String {
        let mut lines = lines.by_ref().map(|line| line.expect("text"));
        let found = lines.find_map(|line| Some(line.split_once(beginning)?.1.to_owned()));
        found.unwrap_or_else(|| panic!("the child says nothing of `{beginning}`"))
    };
    assert_eq!(line("one: "), "killed: it took too long, 0ns passed");
    child.stdin.take().unwrap().write_all(b"late").unwrap();
    assert_eq!(line("two: "), "\"late\", 0ns passed");
    assert!(child.wait().unwrap().success());
}
