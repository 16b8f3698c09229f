//! One sequence: a plain tree and an overlay, the same operations on both, and at the end all that
//! can be asked of the overlay.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use testbench_clock::Guard;
use testbench_overlay::{
    Checkpoint, HostDir, LowerModes, LowerTimes, Overlay, OverlayBuilder, install,
};

use crate::common::{self, Random, explain};
use crate::model::bugs::{Bug, Planted};
use crate::model::generate::Generator;
use crate::model::op::{self, Mirror, Op, Plain, SLOTS, Subject};
use crate::model::outcome;
use crate::model::table::Table;
use crate::model::tree::{self, Tree, difference};

/// How the overlay is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Above an empty directory.
    Empty,
    /// Above a directory with files, links and hard links.
    Seeded,
    /// The same, with a checkpoint after every step, so that every change meets a frozen layer.
    Frozen,
    /// The same, with a fresh overlay above the last one after every step.
    Stacked,
    /// In another overlay, with or without a bug.
    Mounted(Option<Bug>),
}

/// One sequence, before it is played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) mode: Mode,
    pub(crate) seed: u64,
    pub(crate) steps: usize,
}

/// Where the two came apart.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) setup: Setup,
    pub(crate) check: Check,
    pub(crate) text: String,
    /// Up to the one that failed.
    pub(crate) ops: Vec<Op>,
}

/// What found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    Answer,
    Tree,
    Checkpoint,
    Fork,
    Diff,
    GitApply,
    Diffy,
    Lower,
    Commit,
}

pub(crate) type Checked = Result<(), (Check, String)>;

/// Plays a sequence: that of the seed, or these operations.
pub(crate) fn play(setup: Setup, ops: Option<&[Op]>, table: &mut Table) -> Result<(), Failure> {
    let mut random = Random::new(setup.seed);
    let mut world = World::new(setup);
    let mut log = Vec::new();
    for step in 0..ops.map_or(setup.steps, <[Op]>::len) {
        let op = match ops {
            Some(ops) => ops[step].clone(),
            None => world.generator(&mut random).draw(),
        };
        log.push(op.clone());
        match world.step(&op, table) {
            Ok(true) => {}
            // What comes behind cannot be compared.
            Ok(false) => return Ok(()),
            Err((check, text)) => return Err(Failure { setup, check, text, ops: log }),
        }
    }
    table.event("sequences played to the end");
    world.finish(table).map_err(|(check, text)| Failure { setup, check, text, ops: log })
}

impl Failure {
    /// The same failure with as few operations as dropping some of them leaves.
    pub(crate) fn minimised(self) -> Failure {
        let mut least = self;
        let mut budget = 600;
        let mut size = least.ops.len().div_ceil(2);
        while size > 0 {
            let (mut at, before) = (0, least.ops.len());
            while at < least.ops.len() && budget > 0 {
                budget -= 1;
                let mut fewer = least.ops.clone();
                fewer.drain(at..(at + size).min(fewer.len()));
                match play(least.setup, Some(&fewer), &mut Table::default()) {
                    Err(failure) if failure.check == least.check => least = failure,
                    _ => at += size,
                }
            }
            if size > 1 || least.ops.len() == before {
                size /= 2;
            }
        }
        least
    }

    /// To find out why.
    pub(crate) fn report(&self) -> String {
        let ops: Vec<String> = self.ops.iter().map(|op| format!("    {op:?}")).collect();
        let Setup { mode, seed, .. } = self.setup;
        let (check, text) = (self.check, &self.text);
        let ops = ops.join("\n");
        format!("mode {mode:?}, seed {seed}, check {check:?}: {text}\n  after only:\n{ops}")
    }
}

struct World {
    dir: tempfile::TempDir,
    mode: Mode,
    seed: u64,
    /// The directory beneath the overlay.
    lower: PathBuf,
    /// The tops as the two subjects name them.
    plain: PathBuf,
    top: PathBuf,
    overlay: Arc<Overlay>,
    installed: Guard,
    host: Plain,
    mirror: Mirror,
    present: Tree,
    /// The lower directory at the beginning.
    before: Vec<String>,
    saved: Option<Checkpoint>,
    frozen: Vec<(Checkpoint, Tree)>,
}

impl World {
    fn new(setup: Setup) -> World {
        let Setup { mode, seed, .. } = setup;
        let dir = tempfile::tempdir().unwrap();
        // Paths of the same length, so that limits are met alike.
        let at = |name: &str| dir.path().join("so/that/some/ways/up/are/harmless").join(name);
        let (lower, plain, top) = match mode {
            Mode::Mounted(_) => (at("lower"), at("plain/m"), at("outer/m")),
            _ => (at("lower"), at("plain"), at("lower")),
        };
        for root in [&lower, &plain, &top] {
            std::fs::create_dir_all(root).unwrap();
        }
        if mode != Mode::Empty {
            seed_tree(&lower, &mut Random::new(seed));
            seed_tree(&plain, &mut Random::new(seed));
        }
        let overlay = set_up(Overlay::builder(&lower));
        let overlay = match mode {
            Mode::Mounted(bug) => {
                let sound = HostDir::open(&lower).unwrap().read_only();
                let planted = Arc::new(Planted::new(overlay, sound, bug));
                set_up(Overlay::builder(at("outer")).mount("m", planted))
            }
            _ => overlay,
        };
        let installed = install(overlay.clone());
        let (present, before) = (tree::of::<Plain>(&plain), outcome::fingerprint(&lower));
        look_at_all(&top);
        World {
            dir,
            mode,
            seed,
            lower,
            plain,
            top,
            overlay,
            installed,
            host: Plain::default(),
            mirror: Mirror::default(),
            present,
            before,
            saved: None,
            frozen: Vec::new(),
        }
    }

    fn generator<'g>(&'g self, random: &'g mut Random) -> Generator<'g> {
        Generator {
            random,
            present: &self.present,
            open: std::array::from_fn::<_, SLOTS, _>(|slot| self.host.is_open(slot)),
            saves: self.mode == Mode::Frozen,
            renames: !matches!(self.mode, Mode::Mounted(_)),
            holds: self.mode != Mode::Stacked,
            trap: None,
        }
    }

    /// Whether the sequence can go on.
    fn step(&mut self, op: &Op, table: &mut Table) -> Result<bool, (Check, String)> {
        let (wanted, got) = match op {
            Op::Save => self.save(),
            Op::Restore => self.restore(),
            _ => {
                self.stay_inside(op);
                let wanted = self.host.run(&self.plain, op).map_err(|error| explain(&error));
                let got = self.mirror.run(&self.top, op).map_err(|error| explain(&error));
                (wanted, got)
            }
        };
        table.count(op.kind(), &wanted);
        if wanted != got && matches!(self.mode, Mode::Mounted(_)) && is_of_mounts(&got) {
            table.event("ended at the border of the mount");
            return Ok(false);
        }
        if wanted != got && got != common::leads_out() {
            return Err((Check::Answer, format!("std::fs {wanted:?}, overlay {got:?}")));
        }
        if wanted != got && wanted.is_ok() {
            table.event("ended where a path leads out of the overlay");
            return Ok(false);
        }
        if self.mode == Mode::Stacked {
            self.stack();
        }
        let (plain, overlay) = (tree::of::<Plain>(&self.plain), tree::of::<Mirror>(&self.top));
        if plain != overlay {
            if matches!(op, Op::RemoveDirAll(_)) && wanted.is_err() {
                // How much it removes before it fails depends on the order of the directory.
                table.event("ended by a removal that failed half-way");
                return Ok(false);
            }
            return Err((Check::Tree, difference(&plain, &overlay)));
        }
        if self.mode == Mode::Frozen {
            self.frozen.push((self.overlay.checkpoint(), plain.clone()));
        }
        self.present = plain;
        Ok(true)
    }

    /// What is done to the plain copy is done to the disk, maybe by root: panics where an operation
    /// would reach anything but the directory that was made for it.
    fn stay_inside(&self, op: &Op) {
        if let Op::Symlink(target, _) = op {
            assert!(!target.starts_with('/'), "{op:?} would lead anywhere");
        }
        let home = self.dir.path().canonicalize().unwrap();
        for path in op.paths() {
            let path = op::join(&self.plain, path);
            // A name that is not there yet is made in the directory above.
            let there = path.ancestors().find_map(|path| path.canonicalize().ok());
            let inside = there.is_some_and(|real| real.starts_with(&home));
            assert!(inside, "{op:?} leads out of {}", home.display());
        }
    }

    fn stack(&mut self) {
        let top = self.top.as_os_str().as_encoded_bytes();
        self.overlay = set_up(Overlay::over(self.overlay.clone()).mounted_at(top));
        self.installed = install(self.overlay.clone());
        look_at_all(&self.top);
    }

    fn saved_copy(&self) -> PathBuf {
        self.dir.path().join("saved")
    }

    fn save(&mut self) -> (Result<String, String>, Result<String, String>) {
        let copy = self.saved_copy();
        discard(&copy);
        let mut cp = Command::new("cp");
        let copied = cp.arg("-a").arg(&self.plain).arg(&copy).output();
        // A user who may not read all of it cannot copy it.
        let copied = copied.is_ok_and(|output| output.status.success());
        self.saved = copied.then(|| self.overlay.checkpoint());
        (Ok(String::new()), Ok(String::new()))
    }

    fn restore(&mut self) -> (Result<String, String>, Result<String, String>) {
        let Some(saved) = self.saved.take() else {
            let nothing = || Err("nothing is saved".to_owned());
            return (nothing(), nothing());
        };
        self.host.close_all();
        self.mirror.close_all();
        discard(&self.plain);
        std::fs::rename(self.saved_copy(), &self.plain).unwrap();
        let done = self.overlay.rollback(&saved).map_err(|error| error.to_string());
        (Ok(String::new()), done.map(|()| String::new()))
    }

    fn finish(mut self, table: &mut Table) -> Checked {
        self.host.close_all();
        self.mirror.close_all();
        if self.mode == Mode::Frozen {
            self.check_checkpoints(table)?;
        }
        if outcome::fingerprint(&self.lower) != self.before {
            return Err((Check::Lower, "the lower directory was written".into()));
        }
        match self.mode {
            Mode::Empty | Mode::Seeded | Mode::Frozen => {
                outcome::check(&self.overlay, &self.lower, &self.plain, table)
            }
            Mode::Stacked | Mode::Mounted(_) => Ok(()),
        }
    }

    /// Every state that was saved is there still, and no fork of one touches another.
    fn check_checkpoints(&mut self, table: &mut Table) -> Checked {
        let differs = |check, wanted: &Tree, what: &str| {
            let shown = tree::of::<Mirror>(&self.top);
            match shown == *wanted {
                true => Ok(()),
                false => Err((check, format!("{what}:\n{}", difference(wanted, &shown)))),
            }
        };
        let failed =
            |error: testbench_overlay::OverlayError| (Check::Checkpoint, error.to_string());
        let last = self.overlay.checkpoint();
        let mut random = Random::new(!self.seed);
        for _ in 0..self.frozen.len().min(6) {
            let (checkpoint, wanted) =
                &self.frozen[random.below(self.frozen.len() as u64) as usize];
            self.overlay.rollback(checkpoint).map_err(failed)?;
            differs(Check::Checkpoint, wanted, "after a rollback")?;
            let fork = self.overlay.fork_at(&last).map_err(failed)?;
            {
                let _installed = install(fork);
                differs(Check::Fork, &self.present, "in a fork of the last state")?;
                // The top may be closed to us.
                let _ = testbench_overlay::fs::write(self.top.join("of the fork"), "x");
            }
            differs(Check::Fork, wanted, "after a write to a fork")?;
            table.event("rollbacks and forks at the end");
        }
        self.overlay.rollback(&last).map_err(failed)?;
        differs(Check::Checkpoint, &self.present, "after going forth again")
    }
}

/// `EBUSY` and `EXDEV`: what is mounted cannot be moved, nor anything to the outside of it.
fn is_of_mounts(result: &Result<String, String>) -> bool {
    matches!(result, Err(error) if error.ends_with(" 16") || error.ends_with(" 18"))
}

/// An overlay counts those names of a file of which it knows.
fn look_at_all(top: &Path) {
    tree::of::<Mirror>(top);
}

/// As the disk is: its times, its modes, its permissions.
fn set_up(builder: OverlayBuilder) -> Arc<Overlay> {
    let builder = builder.lower_modes(LowerModes::Real).lower_times(LowerTimes::Real);
    builder.as_root(common::is_root()).build().unwrap()
}

fn discard(dir: &Path) {
    if dir.exists() {
        common::open_up(dir);
        std::fs::remove_dir_all(dir).unwrap();
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
    std::fs::write(root.join("c"), "one\ntwo\nthree\n").unwrap();
    std::fs::hard_link(root.join("a/a"), root.join("d/b")).unwrap();
    std::os::unix::fs::symlink("a/b", root.join("e")).unwrap();
    std::os::unix::fs::symlink("missing", root.join("d/c")).unwrap();
}
