//! Draws operations. It knows what is there, so that most of them succeed, and it likes what is
//! hard: few names, long chains of links, odd paths, files held open.

use std::io::SeekFrom;

use crate::common::{self, Random};
use crate::model::op::{Bytes, How, Op, SLOTS};
use crate::model::tree::{Kind, Node, Tree};

const NAMES: &[&str] = &["a", "b", "c", "d", "e"];

/// Kinds of operations, each with the share that it has of all.
const SHARES: &[(u64, Draw)] = &[
    (4, |g| Op::Write(g.target(), g.bytes())),
    (2, |g| Op::Append(g.old(Kind::File), g.bytes())),
    (3, |g| Op::WriteAt(g.old(Kind::File), g.offset(), g.bytes())),
    (4, |g| Op::SetLen(g.old(Kind::File), g.offset())),
    (2, |g| Op::CreateNew(g.target())),
    (2, |g| Op::Read(g.old(Kind::File))),
    (7, |g| Op::CreateDir(g.target())),
    (3, |g| Op::CreateDirMode(g.target(), [0o777, 0o700, 0o750][g.below(3)])),
    (2, |g| Op::CreateDirAll(format!("{}/{}", g.target(), g.name()))),
    (2, |g| Op::RemoveFile(g.old(Kind::File))),
    (1, |g| Op::RemoveFile(g.old(Kind::Link))),
    (3, |g| Op::RemoveDir(g.old(Kind::Dir))),
    (1, |g| Op::RemoveDir(format!("{}/.", g.old(Kind::Dir)))),
    (2, |g| Op::RemoveDirAll(g.old(Kind::Dir))),
    (3, |g| Op::Rename(g.old(Kind::File), g.target())),
    (2, |g| Op::Rename(g.old(Kind::File), g.old(Kind::File))),
    (4, |g| Op::Rename(g.old(Kind::Dir), g.target())),
    (1, |g| Op::Rename(g.old(Kind::Dir), g.old(Kind::Dir))),
    (1, |g| Op::Rename(g.old(Kind::Link), g.target())),
    (1, |g| Op::RenameNew(g.old(Kind::File), g.target())),
    (1, |g| Op::RenameNew(g.old(Kind::Dir), g.fresh())),
    (1, |g| Op::Exchange(g.old(Kind::File), g.old(Kind::File))),
    (1, |g| Op::Exchange(g.old(Kind::Dir), g.old(Kind::File))),
    (1, |g| Op::Exchange(g.old(Kind::Dir), g.old(Kind::Dir))),
    (4, |g| Op::HardLink(g.old(Kind::File), g.target())),
    (1, |g| Op::HardLink(g.any(), g.target())),
    (4, |g| g.symlink()),
    (2, |g| Op::ReadLink(g.old(Kind::Link))),
    (3, |g| Op::Copy(g.old(Kind::File), g.target())),
    (2, |g| Op::Chmod(g.old(Kind::File), g.mode())),
    (1, |g| Op::Chmod(g.old(Kind::Dir), g.mode())),
    (1, |g| Op::SetTimes(g.old(Kind::File), g.time())),
    (1, |g| Op::SetTimes(g.old(Kind::Dir), g.time())),
    (2, |g| Op::Stat(g.any())),
    (1, |g| Op::Stat(g.old(Kind::File))),
    (2, |g| Op::Lstat(g.any())),
    (1, |g| Op::Lstat(g.old(Kind::Link))),
    (2, |g| Op::Exists(g.any())),
    (2, |g| Op::ReadDir(g.old(Kind::Dir))),
    (2, |g| Op::Canonicalize(g.any())),
    (1, |g| Op::Canonicalize(g.old(Kind::Link))),
    (4, |g| Op::Open(g.slot(), g.old(Kind::File), g.how())),
    (1, |g| Op::Open(g.slot(), g.target(), g.how())),
    (2, |g| {
        Op::Open(g.slot(), g.old(Kind::File), How { read: true, write: true, ..How::default() })
    }),
    (1, |g| Op::Open(g.slot(), g.old(Kind::Dir), How { read: true, ..g.how() })),
    (1, |g| Op::Open(g.slot(), g.old(Kind::Dir), How { read: true, ..How::default() })),
    (2, |g| Op::Clone(g.held(), g.slot())),
    (2, |g| Op::Close(g.held())),
    (2, |g| Op::ReadHeld(g.held(), [0, 1, 10, 100_000][g.below(4)])),
    (4, |g| Op::WriteHeld(g.held(), g.bytes())),
    (2, |g| Op::Seek(g.held(), g.seek())),
    (2, |g| Op::ReadAtHeld(g.held(), g.offset(), [1, 10, 100_000][g.below(3)])),
    (2, |g| Op::WriteAtHeld(g.held(), g.offset(), g.bytes())),
    (4, |g| Op::SetLenHeld(g.held(), g.offset())),
    (2, |g| Op::StatHeld(g.held())),
    (2, |g| Op::ChmodHeld(g.held(), g.mode())),
    (2, |g| Op::SetTimesHeld(g.held(), g.time())),
    (2, |g| Op::SyncHeld(g.held())),
];

/// One in so many operations gets a path at which it should fail, whatever its kind: left to chance
/// alone, what is rare is missed with one seed or another.
const TRAPS: usize = 7;

type Draw = fn(&mut Generator<'_>) -> Op;

/// Draws one operation for what is there now.
pub(crate) struct Generator<'r> {
    pub(crate) random: &'r mut Random,
    pub(crate) present: &'r Tree,
    /// Which slots hold an open file.
    pub(crate) open: [bool; SLOTS],
    /// Whether states are saved and gone back to.
    pub(crate) saves: bool,
    /// Whether names may be exchanged: what is mounted does not offer it.
    pub(crate) renames: bool,
    /// Whether files may be held open from one step to the next.
    pub(crate) holds: bool,
    /// The path that the next operation gets, instead of one drawn.
    pub(crate) trap: Option<String>,
}

impl Generator<'_> {
    pub(crate) fn draw(&mut self) -> Op {
        if self.saves && self.below(40) == 0 {
            return if self.below(2) == 0 { Op::Save } else { Op::Restore };
        }
        let traps = self.below(TRAPS) == 0;
        if traps {
            match self.set_trap() {
                Ok(path) => self.trap = Some(path),
                Err(op) => return op,
            }
        }
        loop {
            let draw = if traps { SHARES[self.below(SHARES.len())].1 } else { self.by_share() };
            let op = draw(self);
            let kind = op.kind();
            let of_held = kind.starts_with("f.") || matches!(kind, "open" | "try_clone" | "close");
            if of_held && !self.holds {
                continue;
            }
            if kind.starts_with("rename_") && !self.renames {
                continue;
            }
            let uses_held = of_held && kind != "open";
            if uses_held && !self.open.contains(&true) {
                let how = How { read: true, write: true, ..How::default() };
                return Op::Open(self.slot(), self.old(Kind::File), how);
            }
            return op;
        }
    }

    fn by_share(&mut self) -> Draw {
        let all: u64 = SHARES.iter().map(|(share, _)| share).sum();
        let mut at = self.random.below(all);
        let mut draws = SHARES.iter().filter_map(|(share, draw)| match at.checked_sub(*share) {
            Some(rest) => {
                at = rest;
                None
            }
            None => Some(*draw),
        });
        draws.next().expect("a number below the sum lies in one of the shares")
    }

    /// A path at which most kinds of operations fail, in one way of several. Where what makes it fail
    /// is not there, the operation that makes it.
    fn set_trap(&mut self) -> Result<String, Op> {
        let name = self.name();
        let ways = if common::is_root() { 5 } else { 6 };
        match self.below(ways) {
            0 => Ok(format!("{}{}", self.dir(), "n".repeat(256))),
            1 => match self.one_of(Kind::File) {
                Some(file) => Ok(format!("{file}/{name}")),
                None => Err(Op::CreateNew(self.fresh())),
            },
            2 => match self.link_to_itself() {
                Some(link) => Ok(format!("{link}/{name}")),
                // Git stumbles over it where a directory was.
                None => Err(Op::Symlink("loop".to_owned(), "loop".to_owned())),
            },
            3 => self.one_of(Kind::Dir).ok_or_else(|| Op::CreateDir(name.to_owned())),
            4 => Ok(format!("{}/", self.fresh())),
            _ => match self.one_of(Kind::Closed) {
                Some(dir) => Ok(format!("{dir}/{name}")),
                None => Err(Op::Chmod(self.one_of(Kind::Dir).unwrap_or(name.to_owned()), 0)),
            },
        }
    }

    fn one_of(&mut self, kind: Kind) -> Option<String> {
        let count = self.of_kind(kind).len();
        let nth = self.below(count.max(1));
        self.of_kind(kind).get(nth).map(|path| (*path).clone())
    }

    fn link_to_itself(&self) -> Option<String> {
        let to_itself = |(path, node): &(&String, &Node)| {
            node.kind == Kind::Link && path.rsplit('/').next() == Some(&node.content)
        };
        self.present.iter().find(to_itself).map(|(path, _)| path.clone())
    }

    fn below(&mut self, n: usize) -> usize {
        self.random.below(n as u64) as usize
    }

    fn name(&mut self) -> &'static str {
        self.random.pick(NAMES)
    }

    fn of_kind(&self, kind: Kind) -> Vec<&String> {
        let there =
            self.present.iter().filter(|(path, node)| node.kind == kind && !path.is_empty());
        there.map(|(path, _)| path).collect()
    }

    /// With a slash behind, or nothing for the top.
    fn dir(&mut self) -> String {
        let count = self.of_kind(Kind::Dir).len();
        match self.below(count + 1) {
            0 => String::new(),
            n => format!("{}/", self.of_kind(Kind::Dir)[n - 1]),
        }
    }

    fn fresh(&mut self) -> String {
        let dir = self.dir();
        format!("{dir}{}", self.name())
    }

    /// Most often something of this kind that is there.
    fn old(&mut self, kind: Kind) -> String {
        if let Some(odd) = self.odd() {
            return odd;
        }
        let count = self.of_kind(kind).len();
        if count == 0 || self.below(8) == 0 {
            return self.any();
        }
        let nth = self.below(count);
        let path = self.of_kind(kind)[nth].clone();
        match self.below(12) {
            0 if kind == Kind::Dir => format!("{path}/"),
            1 => match path.rsplit_once('/') {
                Some((dir, name)) => format!("{dir}/../{dir}/{name}").replace("//", "/"),
                None => format!("./{path}"),
            },
            _ => path,
        }
    }

    /// Now and then, a path that cannot lead anywhere.
    fn odd(&mut self) -> Option<String> {
        if let Some(trap) = self.trap.take() {
            return Some(trap);
        }
        match self.below(50) {
            0 => Some(format!("{}{}", self.dir(), "n".repeat(256))),
            1..=3 => self.link_to_itself().map(|link| format!("{link}/{}", self.name())),
            _ => None,
        }
    }

    /// Anything, with the oddities of paths.
    fn any(&mut self) -> String {
        if let Some(odd) = self.odd() {
            return odd;
        }
        let plain = self.fresh();
        let there: Vec<String> = self.of_kind(Kind::Link).into_iter().cloned().collect();
        match self.below(15) {
            0 => format!("{plain}/"),
            1 => format!("{plain}/."),
            2 => format!("{plain}/.."),
            3 => format!("{plain}//{}", self.name()),
            4 => format!("{plain}/../{}", self.name()),
            5 => format!("{}{}", self.dir(), "n".repeat(254 + self.below(4))),
            6 if !there.is_empty() => there[self.below(there.len())].clone(),
            7..=8 if !there.is_empty() => {
                format!("{}/{}", there[self.below(there.len())], self.name())
            }
            _ => plain,
        }
    }

    /// Where something is to be made.
    fn target(&mut self) -> String {
        match self.odd() {
            Some(odd) => odd,
            None if self.below(4) == 0 => self.any(),
            None => self.fresh(),
        }
    }

    fn bytes(&mut self) -> Bytes {
        let len = [0, 1, 5, 300, 70_000][self.below(5)];
        Bytes { len, tag: self.below(26) as u8 }
    }

    fn offset(&mut self) -> u64 {
        [0, 1, 10, 65_535, 65_536, 100_000][self.below(6)]
    }

    fn seek(&mut self) -> SeekFrom {
        match self.below(6) {
            0 => SeekFrom::Start(self.offset()),
            1 => SeekFrom::Start(0),
            2 => SeekFrom::End(0),
            3 => SeekFrom::End(-3),
            4 => SeekFrom::Current(-5),
            _ => SeekFrom::Current(20),
        }
    }

    fn link_target(&mut self) -> String {
        match self.below(9) {
            0 => "../a".to_owned(),
            1 => ".".to_owned(),
            2 => format!("{}/{}", self.name(), self.name()),
            // With a slash behind. Never an absolute path: that leads out of the plain copy.
            3 => format!("./{}", self.dir()),
            4 => "missing/too".to_owned(),
            // To itself.
            5 => "@".to_owned(),
            _ => self.name().to_owned(),
        }
    }

    fn symlink(&mut self) -> Op {
        let (target, path) = (self.link_target(), self.target());
        let own_name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let itself = target == "@" && !own_name.is_empty();
        Op::Symlink(if itself { own_name } else { target }, path)
    }

    fn mode(&mut self) -> u32 {
        [0o600, 0o644, 0o755, 0o444, 0o700, 0o555, 0o000, 0o311][self.below(8)]
    }

    /// From 2001 to 2009, and never anything behind it: that tells times set from times passed.
    fn time(&mut self) -> u64 {
        1_000_000_000 + self.random.below(250_000_000)
    }

    fn how(&mut self) -> How {
        let rare = |g: &mut Self, n: usize| g.below(n) == 0;
        let create = rare(self, 3);
        let create_new = rare(self, 8);
        How {
            read: !rare(self, 4),
            write: !rare(self, 3),
            append: rare(self, 5),
            truncate: rare(self, 6),
            create,
            create_new,
            // Kernels differ in what they make of it together with creation.
            directory: !create && !create_new && rare(self, 6),
            nofollow: rare(self, 4),
            mode: rare(self, 4).then(|| [0o600, 0o755, 0o444][self.below(3)]),
        }
    }

    fn slot(&mut self) -> usize {
        self.below(SLOTS)
    }

    /// One in which something is open, if there is any.
    fn held(&mut self) -> usize {
        let held: Vec<usize> = (0..SLOTS).filter(|slot| self.open[*slot]).collect();
        if held.is_empty() { self.slot() } else { held[self.below(held.len())] }
    }
}
