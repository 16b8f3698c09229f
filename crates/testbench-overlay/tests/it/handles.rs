//! What the handle of a file or directory answers, on every kind of tree: the same as the kernel
//! about a descriptor that was opened in the same way.
#![cfg(target_os = "linux")]

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, FallocateFlags, FileType, Mode, OFlags};
use testbench_overlay::pipeline::Audit;
use testbench_overlay::{
    Errno, File, FileKind, Fs, GuestPath, HostDir, MemoryDir, OpenHow, Overlay, ReadOnly, Result,
};

/// What can be asked of something open.
trait Opened {
    fn read(&self, len: usize, offset: u64) -> Result<usize>;
    fn write(&self, bytes: &[u8], offset: u64) -> Result<usize>;
    fn append(&self, bytes: &[u8]) -> Result<usize>;
    fn allocate(&self, offset: u64, len: u64) -> Result<()>;
    fn set_len(&self, len: u64) -> Result<()>;
    fn sync(&self) -> Result<()>;
    /// Of a file; that of a directory is the file system's own.
    fn len(&self) -> Option<u64>;
}

impl Opened for OwnedFd {
    fn read(&self, len: usize, offset: u64) -> Result<usize> {
        Ok(rustix::io::pread(self, &mut vec![0; len][..], offset)?)
    }
    fn write(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        Ok(rustix::io::pwrite(self, bytes, offset)?)
    }
    fn append(&self, bytes: &[u8]) -> Result<usize> {
        let parts = [std::io::IoSlice::new(bytes)];
        Ok(rustix::io::pwritev2(self, &parts, 0, rustix::io::ReadWriteFlags::APPEND)?)
    }
    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        Ok(rustix::fs::fallocate(self, FallocateFlags::empty(), offset, len)?)
    }
    fn set_len(&self, len: u64) -> Result<()> {
        Ok(rustix::fs::ftruncate(self, len)?)
    }
    fn sync(&self) -> Result<()> {
        Ok(rustix::fs::fsync(self)?)
    }
    fn len(&self) -> Option<u64> {
        let stat = rustix::fs::fstat(self).unwrap();
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        (!is_dir).then_some(stat.st_size as u64)
    }
}

impl Opened for Arc<dyn File> {
    fn read(&self, len: usize, offset: u64) -> Result<usize> {
        self.read_at(&mut vec![0; len], offset)
    }
    fn write(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        self.write_at(bytes, offset)
    }
    fn append(&self, bytes: &[u8]) -> Result<usize> {
        File::append(&**self, bytes).map(|(len, _)| len)
    }
    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        File::allocate(&**self, offset, len)
    }
    fn set_len(&self, len: u64) -> Result<()> {
        File::set_len(&**self, len)
    }
    fn sync(&self) -> Result<()> {
        File::sync(&**self, false)
    }
    fn len(&self) -> Option<u64> {
        let stat = self.stat().unwrap();
        (stat.kind != FileKind::Dir).then_some(stat.size)
    }
}

/// One thing after the other, each with its answer and how long the file then is.
fn answers(opened: &dyn Opened) -> String {
    let count = |counted: Result<usize>| counted.map(|count| count as u64);
    let done = |done: Result<()>| done.map(|()| 0);
    let all: [(&str, &dyn Fn() -> Result<u64>); 15] = [
        ("read", &|| count(opened.read(2, 1))),
        ("read behind the end", &|| count(opened.read(2, 100))),
        ("read nothing", &|| count(opened.read(0, 0))),
        ("write", &|| count(opened.write(b"T", 0))),
        ("write behind the end", &|| count(opened.write(b"T", 6))),
        ("write nothing", &|| count(opened.write(b"", 100))),
        ("append", &|| count(opened.append(b"!"))),
        ("append nothing", &|| count(opened.append(b""))),
        ("allocate nothing", &|| done(opened.allocate(0, 0))),
        ("allocate what is there", &|| done(opened.allocate(0, 2))),
        ("allocate more", &|| done(opened.allocate(6, 10))),
        ("extend", &|| done(opened.set_len(20))),
        ("cut", &|| done(opened.set_len(2))),
        ("cut to nothing", &|| done(opened.set_len(0))),
        ("sync", &|| done(opened.sync())),
    ];
    let mut lines = String::new();
    for (what, ask) in all {
        let answer = ask();
        lines += &format!("{what}: {answer:?}, {:?}\n", opened.len());
    }
    lines
}

fn populate(dir: &Path) {
    std::fs::create_dir(dir.join("dir")).unwrap();
    std::fs::write(dir.join("file"), "text").unwrap();
}

/// The trees that can be asked, each as new.
fn trees(dir: &Path) -> Vec<(&'static str, Arc<dyn Fs>)> {
    let host = || HostDir::open(dir).unwrap();
    let memory = || MemoryDir::builder().dir("dir").file("file", "text").build().unwrap();
    let staged = Overlay::builder(dir).audit(&Audit::new()).build().unwrap();
    let mounted = Overlay::builder(dir.join("dir")).mount("m", Arc::new(memory())).build().unwrap();
    vec![
        ("an overlay", Overlay::new(dir).unwrap()),
        ("an overlay with stages", staged),
        ("a tree mounted in an overlay", mounted),
        ("a tree in memory", Arc::new(memory())),
        ("a read-only view", Arc::new(ReadOnly::new(memory()))),
        ("a read-only directory", Arc::new(host().read_only())),
        ("a read-only view of a directory", Arc::new(ReadOnly::new(host()))),
        // The last one, since this is the disk itself.
        ("a directory", Arc::new(host())),
    ]
}

#[test]
fn a_handle_answers_as_a_descriptor_does() {
    let ways =
        [("dir", true, false), ("file", true, false), ("file", false, true), ("file", true, true)];
    for (path, read, write) in ways {
        let control = tempfile::tempdir().unwrap();
        populate(control.path());
        let flags = match (read, write) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            _ => OFlags::RDONLY,
        };
        let fd = rustix::fs::openat(CWD, control.path().join(path), flags, Mode::empty()).unwrap();
        let wanted = answers(&fd);

        let dir = tempfile::tempdir().unwrap();
        populate(dir.path());
        for (tree, fs) in trees(dir.path()) {
            let name = if tree.contains("mounted") { format!("m/{path}") } else { path.into() };
            let how = OpenHow { read, write, ..OpenHow::READ };
            let opened = fs.open_at(&*fs.root().unwrap(), GuestPath::new(&name), &how);
            if write && tree.contains("read-only") {
                assert_eq!(opened.unwrap_err(), Errno::Rofs, "{tree}");
                continue;
            }
            assert_eq!(answers(&opened.unwrap()), wanted, "{tree}: {path}, {read} {write}");
        }
    }
}
