//! Random sequences of operations, on a plain copy of a tree through `std::fs` and on an overlay of
//! it through `testbench_overlay::fs`. After every step both must answer the same and look the
//! same; at the end the diff, applied to a copy by git, must give the merged tree.

#![allow(clippy::print_stderr, reason = "the table of what was tried is for people")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{Host, Random, Subject, Tree, Under, tree};
use testbench_overlay::{LowerModes, Overlay, install};

/// One operation, on names below the root.
#[derive(Clone, Debug)]
enum Op {
    Write(String, Vec<u8>),
    Append(String, Vec<u8>),
    WriteAt(String, u64, Vec<u8>),
    SetLen(String, u64),
    CreateNew(String),
    Read(String),
    CreateDir(String),
    CreateDirAll(String),
    RemoveFile(String),
    RemoveDir(String),
    RemoveDirAll(String),
    Rename(String, String),
    HardLink(String, String),
    Symlink(String, String),
    ReadLink(String),
    Copy(String, String),
    Chmod(String, u32),
    Stat(String),
    Lstat(String),
    ReadDir(String),
    Canonicalize(String),
    OpenHeld(String),
    ReadHeld,
    WriteHeld(Vec<u8>),
}

impl Op {
    fn kind(&self) -> &'static str {
        match self {
            Op::Write(..) => "write",
            Op::Append(..) => "append",
            Op::WriteAt(..) => "write_at",
            Op::SetLen(..) => "set_len",
            Op::CreateNew(..) => "create_new",
            Op::Read(..) => "read",
            Op::CreateDir(..) => "create_dir",
            Op::CreateDirAll(..) => "create_dir_all",
            Op::RemoveFile(..) => "remove_file",
            Op::RemoveDir(..) => "remove_dir",
            Op::RemoveDirAll(..) => "remove_dir_all",
            Op::Rename(..) => "rename",
            Op::HardLink(..) => "hard_link",
            Op::Symlink(..) => "symlink",
            Op::ReadLink(..) => "read_link",
            Op::Copy(..) => "copy",
            Op::Chmod(..) => "chmod",
            Op::Stat(..) => "stat",
            Op::Lstat(..) => "lstat",
            Op::ReadDir(..) => "read_dir",
            Op::Canonicalize(..) => "canonicalize",
            Op::OpenHeld(..) => "open_held",
            Op::ReadHeld => "read_held",
            Op::WriteHeld(..) => "write_held",
        }
    }
}

/// Draws operations; it knows what is there, so that most of them succeed.
struct Generator<'r> {
    random: &'r mut Random,
    present: Tree,
}

const NAMES: &[&str] = &["a", "b", "c", "d", "e"];

impl Generator<'_> {
    fn dir(&mut self) -> String {
        let dirs: Vec<&String> =
            self.present.iter().filter(|(_, n)| n.starts_with("dir")).map(|(p, _)| p).collect();
        match dirs.len() {
            0 => String::new(),
            n => match self.random.below(n as u64 + 1) as usize {
                0 => String::new(),
                i => format!("{}/", dirs[i - 1]),
            },
        }
    }

    fn fresh(&mut self) -> String {
        let dir = self.dir();
        format!("{dir}{}", self.random.pick(NAMES))
    }

    fn old(&mut self, kind: &str) -> String {
        let of_kind: Vec<&String> =
            self.present.iter().filter(|(_, n)| n.starts_with(kind)).map(|(p, _)| p).collect();
        if of_kind.is_empty() || self.random.below(12) == 0 {
            return self.any();
        }
        of_kind[self.random.below(of_kind.len() as u64) as usize].clone()
    }

    /// Anything, with the oddities of paths.
    fn any(&mut self) -> String {
        let plain = self.fresh();
        match self.random.below(12) {
            0 => format!("{plain}/"),
            1 => format!("{plain}/."),
            2 => format!("{plain}/.."),
            3 => format!("{plain}//{}", self.random.pick(NAMES)),
            4 => format!("{plain}/../{}", self.random.pick(NAMES)),
            5 => format!("{}{}", self.dir(), "n".repeat(254 + self.random.below(4) as usize)),
            _ => plain,
        }
    }

    fn target(&mut self) -> String {
        if self.random.below(3) == 0 { self.any() } else { self.fresh() }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = [0, 1, 5, 300, 70_000][self.random.below(5) as usize];
        let tag = self.random.below(26) as u8;
        (0..len).map(|i| b'a' + ((i as u8 / 7) ^ tag) % 26).collect()
    }

    fn offset(&mut self) -> u64 {
        [0, 1, 10, 65_535, 65_536, 100_000][self.random.below(6) as usize]
    }

    fn link_target(&mut self) -> String {
        match self.random.below(6) {
            0 => "../a".to_owned(),
            1 => ".".to_owned(),
            2 => format!("{}/{}", self.random.pick(NAMES), self.random.pick(NAMES)),
            _ => self.random.pick(NAMES).to_owned(),
        }
    }

    fn draw(&mut self) -> Op {
        match self.random.below(34) {
            0..=2 => Op::Write(self.target(), self.bytes()),
            3 => Op::Append(self.old("file"), self.bytes()),
            4 => Op::WriteAt(self.old("file"), self.offset(), self.bytes()),
            5 => Op::SetLen(self.old("file"), self.offset()),
            6 => Op::CreateNew(self.target()),
            7 => Op::Read(self.old("file")),
            8..=10 => Op::CreateDir(self.target()),
            11 => Op::CreateDirAll(format!("{}/{}", self.target(), self.random.pick(NAMES))),
            12 => Op::RemoveFile(self.old("file")),
            13 => Op::RemoveFile(self.old("link")),
            14 => Op::RemoveDir(self.old("dir")),
            15 => Op::RemoveDirAll(self.old("dir")),
            16..=17 => Op::Rename(self.old("file"), self.target()),
            18..=20 => Op::Rename(self.old("dir"), self.target()),
            21 => Op::Rename(self.old("link"), self.target()),
            22 => Op::HardLink(self.old("file"), self.target()),
            23 => Op::Symlink(self.link_target(), self.target()),
            24 => Op::ReadLink(self.old("link")),
            25 => Op::Copy(self.old("file"), self.target()),
            26 => {
                let mode =
                    [0o600, 0o644, 0o755, 0o444, 0o700, 0o555][self.random.below(6) as usize];
                let kind = if self.random.below(4) == 0 { "dir" } else { "file" };
                Op::Chmod(self.old(kind), mode)
            }
            27 => Op::Stat(self.any()),
            28 => Op::Lstat(self.any()),
            29 => Op::ReadDir(self.old("dir")),
            30 => Op::Canonicalize(self.any()),
            31 => Op::OpenHeld(self.old("file")),
            32 => Op::ReadHeld,
            _ => Op::WriteHeld(self.bytes()),
        }
    }
}

/// Runs one operation and says what came of it, in a form that can be compared.
fn run<S: Subject>(subject: &mut S, root: &Path, op: &Op) -> Result<String, String> {
    let at = |name: &String| PathBuf::from(format!("{}/{name}", root.display()));
    let result = match op {
        Op::Write(p, bytes) => S::write(&at(p), bytes).map(|()| String::new()),
        Op::Append(p, bytes) => S::append(&at(p), bytes).map(|()| String::new()),
        Op::WriteAt(p, offset, bytes) => {
            S::write_at(&at(p), *offset, bytes).map(|()| String::new())
        }
        Op::SetLen(p, len) => S::set_len(&at(p), *len).map(|()| String::new()),
        Op::CreateNew(p) => S::create_new(&at(p)).map(|()| String::new()),
        Op::Read(p) => S::read(&at(p)).map(|bytes| common::digest(&bytes)),
        Op::CreateDir(p) => S::create_dir(&at(p)).map(|()| String::new()),
        Op::CreateDirAll(p) => S::create_dir_all(&at(p)).map(|()| String::new()),
        Op::RemoveFile(p) => S::remove_file(&at(p)).map(|()| String::new()),
        Op::RemoveDir(p) => S::remove_dir(&at(p)).map(|()| String::new()),
        Op::RemoveDirAll(p) => S::remove_dir_all(&at(p)).map(|()| String::new()),
        Op::Rename(a, b) => S::rename(&at(a), &at(b)).map(|()| String::new()),
        Op::HardLink(a, b) => S::hard_link(&at(a), &at(b)).map(|()| String::new()),
        Op::Symlink(t, p) => S::symlink(Path::new(t), &at(p)).map(|()| String::new()),
        Op::ReadLink(p) => S::read_link(&at(p)).map(|t| t.display().to_string()),
        Op::Copy(a, b) => S::copy(&at(a), &at(b)).map(|n| n.to_string()),
        Op::Chmod(p, mode) => S::chmod(&at(p), *mode).map(|()| String::new()),
        Op::Stat(p) => S::stat(&at(p), true),
        Op::Lstat(p) => S::stat(&at(p), false),
        Op::ReadDir(p) => S::list(&at(p)).map(|names| format!("{names:?}")),
        Op::Canonicalize(p) => S::canonicalize(&at(p)).map(|path| {
            path.strip_prefix(root).map_or_else(|_| "outside".into(), |p| p.display().to_string())
        }),
        Op::OpenHeld(p) => subject.open_held(&at(p)).map(|()| String::new()),
        Op::ReadHeld => subject.read_held().map(|bytes| common::digest(&bytes)),
        Op::WriteHeld(bytes) => subject.write_held(bytes).map(|()| String::new()),
    };
    result.map_err(|error| common::explain(&error))
}

#[derive(Default)]
struct Table {
    rows: BTreeMap<&'static str, BTreeMap<String, u32>>,
}

impl Table {
    fn count(&mut self, op: &Op, result: &Result<String, String>) {
        let outcome = result.as_ref().map_or_else(String::clone, |_| "ok".to_owned());
        *self.rows.entry(op.kind()).or_default().entry(outcome).or_default() += 1;
    }

    fn print_and_check(&self, least_of_each: u32) {
        let (mut ok, mut all) = (0, 0);
        for (kind, outcomes) in &self.rows {
            let line: Vec<String> = outcomes.iter().map(|(o, n)| format!("{o} {n}")).collect();
            eprintln!("{kind:>15}: {}", line.join(", "));
            let sum: u32 = outcomes.values().sum();
            assert!(sum >= least_of_each, "only {sum} operations `{kind}` were tried");
            all += sum;
            ok += outcomes.get("ok").copied().unwrap_or(0);
        }
        eprintln!("{ok} of {all} operations succeed");
        assert!(ok * 100 >= all * 40, "the generator mostly fails");
    }
}

fn seed_tree(root: &Path, random: &mut Random) {
    std::fs::create_dir_all(root.join("a/b/c")).unwrap();
    std::fs::create_dir_all(root.join("d/e")).unwrap();
    for (path, len) in [("a/a", 10), ("a/b/a", 70_000), ("a/b/c/a", 0), ("b", 200_000), ("d/a", 5)]
    {
        let byte = random.below(255) as u8;
        std::fs::write(root.join(path), vec![byte; len]).unwrap();
    }
    std::fs::hard_link(root.join("a/a"), root.join("d/b")).unwrap();
    std::os::unix::fs::symlink("a/b", root.join("e")).unwrap();
    std::os::unix::fs::symlink("missing", root.join("d/c")).unwrap();
}

/// One sequence; `Err` says where the two came apart.
fn sequence(seed: u64, steps: u32, seeded: bool, table: &mut Table) -> Result<(), String> {
    let mut random = Random::new(seed);
    let dir = tempfile::tempdir().unwrap();
    // The plain copy lies at a path of the same length, so that limits are met alike.
    let (lower, plain) = (dir.path().join("lower"), dir.path().join("plain"));
    for root in [&lower, &plain] {
        std::fs::create_dir(root).unwrap();
        if seeded {
            seed_tree(root, &mut Random::new(seed));
        }
    }
    let before = tree::<Host>(&lower);
    let builder = Overlay::builder(&lower).lower_modes(LowerModes::Real);
    let overlay = builder.as_root(common::is_root()).build().unwrap();
    let _installed = install(overlay.clone());
    let (mut host, mut under) = (Host::default(), Under::default());
    let mut log = Vec::new();
    for step in 0..steps {
        let present = tree::<Host>(&plain);
        let op = Generator { random: &mut random, present }.draw();
        log.push(format!("{op:?}").chars().take(120).collect::<String>());
        let wanted = run(&mut host, &plain, &op);
        let got = run(&mut under, &lower, &op);
        table.count(&op, &wanted);
        let fail = |what: &str| {
            let log = log.join("\n  ");
            format!("seed {seed} step {step}: {what}\n  {log}")
        };
        if wanted != got && got != common::leads_out() {
            return Err(fail(&format!("std::fs {wanted:?}, overlay {got:?}")));
        }
        if wanted != got && wanted.is_ok() {
            // Outside of the plain copy something has changed; what follows cannot be compared.
            return Ok(());
        }
        let (a, b) = (tree::<Host>(&plain), tree::<Under>(&lower));
        if a != b && matches!(op, Op::RemoveDirAll(_)) && wanted.is_err() {
            // How much it removes before it fails depends on the order of the directory.
            return Ok(());
        }
        if a != b {
            return Err(fail(&common::difference(&a, &b)));
        }
    }
    drop((host, under));
    let diff = overlay.diff().map_err(|e| format!("seed {seed}: diff: {e}"))?;
    // What an unprivileged user has closed to itself is to be compared too.
    common::open_up(&plain);
    let after = tree::<Host>(&plain);
    if after == before && !diff.is_empty() {
        return Err(format!("seed {seed}: equal trees, yet\n{diff}"));
    }
    common::check_patch(&lower, &diff, &after)
        .map_err(|e| format!("seed {seed}: {e}\nafter:\n  {}", log.join("\n  ")))?;
    if tree::<Host>(&lower) != before {
        return Err(format!("seed {seed}: the lower directory was written"));
    }
    check_commit(&overlay, &lower, &after)
        .map_err(|e| format!("seed {seed}: commit: {e}\nafter:\n  {}", log.join("\n  ")))?;
    Ok(())
}

/// `commit()` gives the merged tree, and the overlay shows it without a difference.
fn check_commit(overlay: &Overlay, lower: &Path, after: &Tree) -> Result<(), String> {
    overlay.commit().map_err(|e| e.to_string())?;
    let diff = overlay.diff().map_err(|e| e.to_string())?;
    if !diff.is_empty() {
        return Err(format!("a difference is left:\n{diff}"));
    }
    common::open_up(lower);
    let committed = tree::<Host>(lower);
    match committed == *after {
        true => Ok(()),
        false => Err(common::difference(after, &committed)),
    }
}

fn sequences(seeds: std::ops::Range<u64>, steps: u32, seeded: bool, least_of_each: u32) {
    common::fix_umask();
    let mut table = Table::default();
    for seed in seeds {
        if let Err(what) = sequence(seed, steps, seeded, &mut table) {
            panic!("{what}");
        }
    }
    table.print_and_check(least_of_each);
}

#[test]
fn over_an_empty_directory() {
    sequences(0..25, 100, false, 20);
}

#[test]
fn over_a_directory_with_files() {
    sequences(1000..1030, 100, true, 20);
}

/// Permission bits bind everyone but root, so whoever runs the tests as root sees the other half
/// only here.
#[test]
fn as_an_unprivileged_user() {
    if common::is_root() {
        common::rerun_as_nobody("over_a_directory_with_files");
    }
}

/// The full count; `cargo test --test model -- --ignored`.
#[test]
#[ignore = "takes a minute"]
fn twenty_thousand_operations() {
    sequences(10_000..10_100, 200, true, 200);
}

/// The comparison itself: a subject that loses a write must be found out.
#[test]
fn a_planted_difference_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "x").unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let before = tree::<Host>(dir.path());
    let _installed = install(overlay);
    assert_eq!(tree::<Under>(dir.path()), before);
    testbench_overlay::fs::write(dir.path().join("a"), "y").unwrap();
    assert_ne!(tree::<Under>(dir.path()), before);
}
