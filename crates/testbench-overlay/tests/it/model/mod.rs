//! Random sequences of operations, on a plain copy of a tree through `std::fs` and on an overlay of
//! it through `testbench_overlay::fs`. After every step both must answer the same and look the
//! same; at the end come diff, patch, commit, checkpoints and forks.
//!
//! `op.rs` says what is tried and `generate.rs` how often, `tree.rs` what is compared after each step,
//! `outcome.rs` what at the end; `bugs.rs` has the faults that must be found. A failure is printed
//! with its seed and with as few operations as show it.
//!
//! Owners and extended attributes are not offered and so not tried here; nor is what limits of one
//! file system alone refuse (`EFBIG`).

#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr, reason = "the table of what was tried is for people")]
#![allow(clippy::disallowed_methods, reason = "the real disk is what is compared with")]

mod bugs;
mod generate;
mod op;
mod outcome;
mod table;
mod tree;
mod world;

use crate::common;
use bugs::Bug;
use table::{Table, Wanted};
use world::{Check, Failure, Mode, Setup, play};

/// How much is tried.
#[derive(Clone, Copy)]
enum Size {
    /// Within seconds, always.
    Fast,
    /// What the project promises.
    Full,
}

/// That of the first sequence; `MODEL_SEED=<number>` tries others than the usual ones.
fn first_seed() -> u64 {
    let given = std::env::var("MODEL_SEED").ok();
    given.map_or(1_000, |seed| seed.parse().expect("MODEL_SEED is a number"))
}

/// Plays sequences until there are enough operations, and checks what occurred.
fn model(mode: Mode, size: Size) {
    common::fix_umask();
    let (operations, steps, least_of_each) = match (size, mode) {
        (Size::Fast, Mode::Stacked) => (400, 40, 1),
        (Size::Fast, _) => (1_200, 100, 4),
        // Each layer asks the one beneath, so that the time goes by the square of the depth.
        (Size::Full, Mode::Stacked) => (20_000, 50, 200),
        (Size::Full, _) => (20_000, 200, 200),
    };
    let begun = std::time::Instant::now();
    let mut table = Table::default();
    let mut seed = first_seed();
    while table.operations() < operations {
        let setup = Setup { mode, seed, steps };
        if let Err(failure) = play(setup, None, &mut table) {
            panic!("{}", failure.minimised().report());
        }
        seed += 1;
    }
    let user = if common::is_root() { "root" } else { "an unprivileged user" };
    table.print(&format!("{mode:?} as {user}, {:.1} s", begun.elapsed().as_secs_f64()));
    table.check(&Wanted {
        least_of_each,
        every_error: matches!(size, Size::Full),
        denials: !common::is_root(),
        renames: !matches!(mode, Mode::Mounted(_)),
        holds: mode != Mode::Stacked,
    });
}

#[test]
fn over_an_empty_directory() {
    model(Mode::Empty, Size::Fast);
}

#[test]
fn over_a_directory_with_files() {
    model(Mode::Seeded, Size::Fast);
}

#[test]
fn with_every_step_frozen() {
    model(Mode::Frozen, Size::Fast);
}

#[test]
fn with_a_fresh_layer_for_every_step() {
    model(Mode::Stacked, Size::Fast);
}

/// Permission bits bind all users but root, so a run as root sees the other half
/// only here; and a run as another user never sees that of root.
#[test]
fn as_an_unprivileged_user() {
    as_nobody(&[
        "over_an_empty_directory",
        "over_a_directory_with_files",
        "with_every_step_frozen",
    ]);
}

#[test]
#[ignore = "takes a minute"]
fn twenty_thousand_operations_over_an_empty_directory() {
    model(Mode::Empty, Size::Full);
}

#[test]
#[ignore = "takes a minute"]
fn twenty_thousand_operations_over_a_directory_with_files() {
    model(Mode::Seeded, Size::Full);
}

#[test]
#[ignore = "takes a minute"]
fn twenty_thousand_operations_with_every_step_frozen() {
    model(Mode::Frozen, Size::Full);
}

#[test]
#[ignore = "takes minutes"]
fn twenty_thousand_operations_with_a_fresh_layer_for_every_step() {
    model(Mode::Stacked, Size::Full);
}

#[test]
#[ignore = "takes minutes"]
fn twenty_thousand_operations_as_an_unprivileged_user() {
    as_nobody(&[
        "twenty_thousand_operations_over_an_empty_directory",
        "twenty_thousand_operations_over_a_directory_with_files",
        "twenty_thousand_operations_with_every_step_frozen",
    ]);
}

fn as_nobody(tests: &[&str]) {
    if !common::is_root() {
        eprintln!("SKIPPED: the tests run as an unprivileged user, so nothing was tried as root");
        return;
    }
    for test in tests {
        eprint!("{}", common::rerun_as_nobody(&format!("model::{test}")));
    }
}

/// What the planted bugs are found through has none of its own.
#[test]
fn a_mounted_overlay_without_a_bug_passes() {
    model(Mode::Mounted(None), Size::Fast);
}

#[test]
fn every_planted_bug_is_caught() {
    common::fix_umask();
    for bug in Bug::ALL {
        let failure = find(bug).unwrap_or_else(|| panic!("{bug:?} is not found"));
        let least = failure.clone().minimised();
        eprintln!("== {bug:?} after {} operations\n{}", failure.ops.len(), least.report());
        assert!(matches!(least.check, Check::Answer | Check::Tree), "{bug:?}: {:?}", least.check);
        assert!(least.ops.len() <= 5, "{bug:?}: {:#?}", least.ops);
    }
}

/// The sequences that a sound overlay passes, until one fails.
fn find(bug: Bug) -> Option<Failure> {
    (1_000..1_060).find_map(|seed| {
        let setup = Setup { mode: Mode::Mounted(Some(bug)), seed, steps: 100 };
        play(setup, None, &mut Table::default()).err()
    })
}
