//! A random sequence of file operations, as `fsops` reads it.

use std::fmt;

use testbench_clock::{RandomStream, Seed};

/// Every operation of `fsops`.
pub(crate) const OPERATIONS: &[&str] = &[
    "open", "close", "renumber", "read", "readv", "pread", "write", "writev", "fill", "pwrite",
    "seek", "tell", "size", "allocate", "flags", "fdstat", "advise", "sync", "datasync", "fstat",
    "ftimes", "readdir", "mkdir", "rmdir", "unlink", "rename", "link", "symlink", "readlink",
    "stat", "times", "same", "poll",
];

/// How many operations a sequence has.
const LENGTH: usize = 50;

/// One operation a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script(Vec<String>);

impl Script {
    /// The sequence of this number.
    pub(crate) fn draw(seed: Seed, n: u64) -> Script {
        let mut draw =
            Draw { random: seed.stream(&format!("sequence {n}")), slots: [Slot::Closed; 8] };
        draw.slots[0] = Slot::Dir;
        Script((0..LENGTH).map(|_| draw.operation()).collect())
    }

    pub(crate) fn of(lines: Vec<String>) -> Script {
        Script(lines)
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// What a slot probably holds: a guess, so that operations mostly find what they need.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Closed,
    File,
    Dir,
}

struct Draw {
    random: RandomStream,
    slots: [Slot; 8],
}

const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 6;
const READDIR: u64 = 1 << 14;
const CREAT: u64 = 1;
const DIRECTORY: u64 = 2;
const EXCL: u64 = 4;
const TRUNC: u64 = 8;

impl Draw {
    fn operation(&mut self) -> String {
        match self.below(100) {
            0..20 => self.open(),
            20..23 => self.on_any("close"),
            23..24 => format!("renumber {} {}", self.any_slot(), self.any_slot()),
            24..28 => self.read(),
            28..37 => self.write(),
            37..41 => {
                format!("seek {} {} {}", self.file(), self.offset(), self.pick(&[0, 0, 1, 1, 2, 2]))
            }
            41..42 => self.on_file("tell"),
            42..46 => self.resize(),
            46..48 => format!("flags {} {}", self.file(), self.pick(&[0, 0, 1, 1, 4, 5, 2, 16])),
            48..49 => self.on_any("fdstat"),
            49..50 => format!(
                "advise {} {} {} {}",
                self.file(),
                self.length(),
                self.length(),
                self.below(6)
            ),
            50..51 => {
                let operation = self.pick(&["sync", "datasync"]);
                self.on_file(operation)
            }
            51..55 => self.on_any("fstat"),
            55..57 => self.times(),
            57..61 => {
                format!("readdir {} {}", self.dir(), self.pick(&[4096, 4096, 300, 64, 40, 26, 10]))
            }
            61..66 => format!("mkdir {}", self.at()),
            66..69 => format!("rmdir {}", self.at()),
            69..74 => format!("unlink {}", self.at()),
            74..82 => self.rename(),
            82..86 => self.link(),
            86..89 => format!("symlink ={} {}", self.target(), self.at()),
            89..91 => format!("readlink {} {}", self.at(), self.pick(&[4096, 4096, 3, 0])),
            91..97 => {
                let (dir, path) = (self.dir(), self.path());
                format!("stat {dir} {} ={path}", self.below(2))
            }
            97..99 => format!("same {} {}", self.at(), self.at()),
            _ => format!("poll {} {}", self.file(), self.pick(&["read", "write"])),
        }
    }

    fn open(&mut self) -> String {
        let (to, dir, path) = (1 + self.below(6), self.dir(), self.path());
        let oflags = match self.below(16) {
            0..6 => 0,
            6..9 => CREAT,
            9 => CREAT | EXCL,
            10 => CREAT | TRUNC,
            11 => TRUNC,
            12..15 => DIRECTORY,
            _ => self.random.next_u64() % 16,
        };
        let rights = match oflags & DIRECTORY {
            // wasmtime-wasi lets files be written that were only opened to be cut off.
            0 if oflags & TRUNC != 0 && !self.one_in(10) => self.pick(&[WRITE, READ | WRITE]),
            0 => self.pick(&[READ, WRITE, READ | WRITE, READ | WRITE, READ | WRITE, 0]),
            _ => self.pick(&[READ | READDIR, READDIR, READ | WRITE]),
        };
        let fdflags = self.pick(&[0, 0, 0, 0, 0, 0, 0, 1, 1, 4, 5]);
        let fdflags = if self.one_in(150) { self.pick(&[2, 8, 16]) } else { fdflags };
        self.slots[to] = if oflags & DIRECTORY != 0 { Slot::Dir } else { Slot::File };
        format!("open {to} {dir} {} {oflags} {rights} {fdflags} ={path}", self.below(2))
    }

    fn read(&mut self) -> String {
        let (slot, count) = (self.file(), self.length());
        match self.below(4) {
            0 | 1 => format!("read {slot} {count}"),
            2 => format!("readv {slot} {count} {}", self.length()),
            _ => format!("pread {slot} {count} {}", self.unsigned_offset()),
        }
    }

    fn write(&mut self) -> String {
        let slot = self.file();
        match self.below(8) {
            0..3 => format!("write {slot} ={}", self.text()),
            3 => format!("writev {slot} ={} ={}", self.text(), self.text()),
            4 | 5 => format!("fill {slot} {} {}", 97 + self.below(26), self.length()),
            _ => format!("pwrite {slot} ={} {}", self.text(), self.unsigned_offset()),
        }
    }

    fn resize(&mut self) -> String {
        let slot = self.file();
        match self.below(3) {
            0 => format!("allocate {slot} {} {}", self.unsigned_offset(), self.length()),
            _ => format!("size {slot} {}", self.unsigned_offset()),
        }
    }

    fn times(&mut self) -> String {
        // Early instants, which no clock of a test shows.
        let mut time = || match self.random.below(5) {
            0 => 0,
            1 => 1,
            _ => self.random.next_u64() % 1_000_000_000_000_000,
        };
        let (atim, mtim) = (time(), time());
        let fstflags = self.pick(&[5, 5, 5, 1, 4, 6, 9, 10, 2, 8, 0, 3, 12]);
        // wasmtime-wasi does not look for the file if there is nothing to set.
        if self.one_in(2) || fstflags == 0 {
            return format!("ftimes {} {atim} {mtim} {fstflags}", self.any_slot());
        }
        let (dir, path) = (self.dir(), self.path());
        format!("times {dir} {} ={path} {atim} {mtim} {fstflags}", self.below(2))
    }

    fn rename(&mut self) -> String {
        if self.one_in(8) {
            // Probably both are directories, as few other pairs are.
            let from = self.pick(&["b/d", "d", "x", "y"]);
            return format!("rename 0 ={from} 0 ={}", self.pick(&["b", "b", "b/d", "x", "y"]));
        }
        format!("rename {} {}", self.at(), self.at())
    }

    fn link(&mut self) -> String {
        let lookupflags = u8::from(self.one_in(40));
        format!("link {lookupflags} {} {}", self.at(), self.at())
    }

    fn on_any(&mut self, operation: &str) -> String {
        format!("{operation} {}", self.any_slot())
    }

    fn on_file(&mut self, operation: &str) -> String {
        format!("{operation} {}", self.file())
    }

    /// A directory and a path below it.
    fn at(&mut self) -> String {
        let (dir, path) = (self.dir(), self.path());
        format!("{dir} ={path}")
    }

    fn any_slot(&mut self) -> usize {
        // The preopened directory too, though closing it leaves little to do: rarely.
        match self.below(40) {
            0 => 0,
            1 => 8,
            2 => 9,
            n => 1 + n % 7,
        }
    }

    fn file(&mut self) -> usize {
        self.probably(Slot::File, 12)
    }

    fn dir(&mut self) -> usize {
        match self.below(3) {
            0 => self.probably(Slot::Dir, 25),
            _ => 0,
        }
    }

    /// A slot that probably holds such a thing, but any once in so many times.
    fn probably(&mut self, wanted: Slot, any_once_in: usize) -> usize {
        let held: Vec<usize> = (0..8).filter(|&slot| self.slots[slot] == wanted).collect();
        if held.is_empty() || self.one_in(any_once_in) {
            return self.any_slot();
        }
        held[self.below(held.len())]
    }

    /// Up to three of few names, so that operations meet; sometimes written in odd ways.
    fn path(&mut self) -> String {
        const NAMES: &[&str] =
            &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "x", "y", "z", "x", "y"];
        let depth = self.pick(&[1, 1, 1, 2, 2, 3]);
        let mut names: Vec<&str> = Vec::new();
        for place in 0..depth {
            // What is a directory at first is likelier to be one later.
            let is_last = place + 1 == depth;
            names.push(if is_last {
                self.pick(NAMES)
            } else {
                self.pick(&["b", "b", "d", "f", "x", "y", "a"])
            });
        }
        let path = names.join("/");
        match self.below(60) {
            0..4 => format!("{path}/"),
            4 => format!("./{path}"),
            5 => format!("b/../{path}"),
            6 => format!("{path}/."),
            7 => format!("{path}/.."),
            8 => format!("../{path}"),
            9 => format!("/{path}"),
            10 => path.replace('/', "//"),
            11 => self.pick(&["", ".", "..", "/", "./", "../", "b/..", "b/../.."]).to_owned(),
            12 => self.pick(&["n", "é", "b/n"]).repeat(self.pick(&[120, 255, 256, 2000])),
            _ => path,
        }
    }

    fn target(&mut self) -> String {
        match self.below(12) {
            0 => "/abs".to_owned(),
            1 => "../up".to_owned(),
            2 => String::new(),
            3 => ".".to_owned(),
            _ => self.path(),
        }
    }

    fn text(&mut self) -> String {
        let length = self.pick(&[0, 1, 3, 8, 40]);
        (0..length).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }

    fn length(&mut self) -> u64 {
        self.pick(&[0, 1, 5, 100, 4095, 4096, 4097, 20_000, 60_000])
    }

    fn unsigned_offset(&mut self) -> u64 {
        if self.one_in(20) {
            return self.pick(&[1 << 63, u64::MAX]);
        }
        self.pick(&[0, 1, 3, 10, 4095, 4096, 10_000, 65_536, 100_000])
    }

    fn offset(&mut self) -> i64 {
        if self.one_in(20) {
            return self.pick(&[i64::MIN, i64::MAX, -100_000]);
        }
        self.pick(&[0, 0, 1, 3, 10, -1, -3, -10, 4096, 10_000, 65_536, 100_000])
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound)
    }
}
