//! wasmtime-wasi as the oracle: random sequences of file operations, carried out by the guest
//! `fsops` on a real directory under wasmtime-wasi, and on equal files under our host: in the lower
//! directory of an overlay, and in a confined real directory. Every answer and the final trees must
//! be equal.
//!
//! `cargo test -p testbench-wasi --features oracle --test oracle`; with `-- --ignored --nocapture`
//! 2,000 sequences of a seed that no run had before. The seed is printed; `TESTBENCH_ORACLE_SEED`
//! chooses it and `TESTBENCH_ORACLE_SEQUENCES` the number of sequences.
//!
//! # How it works
//!
//! [`script`] draws a sequence, [`hosts`] runs it and reads the trees back, [`compare`] looks for the
//! first difference that `known.txt` does not explain, and [`shrink`] makes what differs as short as
//! it can. [`wrong`] holds hosts with a planted mistake each, which must be found: otherwise all of
//! this would show nothing.
#![allow(clippy::print_stderr, reason = "the seed and the table are for people")]

mod compare;
mod hosts;
mod script;
mod shrink;
mod wrong;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use compare::{Difference, Known, Verdict};
use hosts::{Host, Oracle, Ours};
use script::Script;
use testbench_clock::Seed;
use wrong::Mistake;

/// The seed of the sequences that run always.
const SEED: u64 = 3;

#[test]
fn our_host_answers_as_wasmtime_wasi_does() {
    let tally = compare_many(Seed::new(SEED), sequences(150));
    tally.print();
    tally.check_variety();
}

#[test]
#[ignore = "soak: 2,000 sequences"]
fn soak() {
    let seed = number("TESTBENCH_ORACLE_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let tally = compare_many(Seed::new(seed), sequences(2000));
    tally.print();
    tally.check_variety();
}

/// Of one seed, since some of them are met once in a thousand sequences.
#[test]
#[ignore = "soak: 4,000 sequences"]
fn every_known_difference_is_still_one() {
    let unused = compare_many(Seed::new(SEED), sequences(4000)).unused_known();
    assert!(unused.is_empty(), "no longer differ; take them out of known.txt:\n{unused}");
}

#[test]
fn every_planted_mistake_is_found_and_shrunk() {
    let oracle = Oracle::new();
    let known = Known::read();
    for mistake in Mistake::ALL {
        let host = Ours::with_mistake(mistake);
        let differs = |script: &Script| {
            let verdict = known.compare(script, &oracle.run(script), &host.run(script));
            matches!(verdict, Verdict::Differs(_))
        };
        let found = (0..150).map(|n| Script::draw(Seed::new(SEED), n)).find(differs);
        let found = found.unwrap_or_else(|| panic!("{mistake:?} was not found"));
        let short = shrink::shrink(&found, differs);
        assert!(short.lines().len() <= 6, "{mistake:?} shrank to\n{short}");
    }
}

/// What many sequences met.
struct Tally {
    known: Known,
    answers: BTreeMap<(String, String), u64>,
    used: BTreeMap<usize, u64>,
    sequences: u64,
    cut: u64,
}

fn compare_many(seed: Seed, sequences: u64) -> Tally {
    eprintln!("TESTBENCH_ORACLE_SEED={}, {sequences} sequences", seed.number());
    let oracle = Oracle::new();
    let ours = [Ours::on_overlay(), Ours::on_host_dir()];
    let mut tally = Tally {
        known: Known::read(),
        answers: BTreeMap::new(),
        used: BTreeMap::new(),
        sequences,
        cut: 0,
    };
    let mut reports = BTreeMap::new();
    for n in 0..sequences {
        let script = Script::draw(seed, n);
        let expected = oracle.run(&script);
        for host in &ours {
            let got = host.run(&script);
            for answer in &got.answers {
                let key = (answer.operation.clone(), answer.errno_name());
                *tally.answers.entry(key).or_default() += 1;
            }
            match tally.known.compare(&script, &expected, &got) {
                Verdict::Equal { explained, cut } => {
                    explained.into_iter().for_each(|i| *tally.used.entry(i).or_default() += 1);
                    tally.cut += u64::from(cut);
                }
                Verdict::Differs(Difference { kind, .. }) => {
                    if reports.len() < DIFFERENCES_MAX && !reports.contains_key(&kind) {
                        let report = report(&tally.known, n, &script, &oracle, host, &kind);
                        reports.insert(kind, report);
                    }
                }
            }
        }
    }
    let reports: Vec<String> = reports.into_values().collect();
    assert!(
        reports.is_empty(),
        "TESTBENCH_ORACLE_SEED={}: wasmtime-wasi (<) and our host (>) differ\n\n{}",
        seed.number(),
        reports.join("\n")
    );
    tally
}

/// How many kinds of differences are reported.
const DIFFERENCES_MAX: usize = 60;

/// One kind of difference, with the shortest script that shows it.
fn report(
    known: &Known,
    n: u64,
    script: &Script,
    oracle: &Oracle,
    host: &Ours,
    kind: &str,
) -> String {
    let difference =
        |script: &Script| match known.compare(script, &oracle.run(script), &host.run(script)) {
            Verdict::Differs(difference) if difference.kind == kind => Some(difference),
            _ => None,
        };
    let short = shrink::shrink(script, |script| difference(script).is_some());
    let shown = difference(&short).map(|difference| difference.text).unwrap_or_default();
    format!("{}, sequence {n}: {kind}\n{shown}\nshrunk script:\n{short}", host.name())
}

impl Tally {
    /// A row for each operation, a column for each errno.
    fn print(&self) {
        let mut rows: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for ((operation, errno), count) in &self.answers {
            rows.entry(operation).or_default().push(format!("{errno} {count}"));
        }
        for (operation, answers) in rows {
            eprintln!("{operation:<10} {}", answers.join(", "));
        }
        for (index, count) in &self.used {
            eprintln!("known, {count} times: {}", self.known.entry(*index));
        }
        eprintln!("{} sequences, {} ended early by a known difference", self.sequences, self.cut);
    }

    /// A generator that hardly gets anywhere would show little.
    fn check_variety(&self) {
        let count = |operation: &str, errno: &str| {
            self.answers.get(&(operation.to_owned(), errno.to_owned())).copied().unwrap_or(0)
        };
        let least = self.sequences / 100;
        for operation in script::OPERATIONS {
            assert!(count(operation, "OK") >= least, "{operation} hardly ever succeeds");
        }
        let errnos = [
            ("open", "ENOENT"),
            ("open", "EEXIST"),
            ("open", "EISDIR"),
            ("open", "ENOTDIR"),
            ("open", "ELOOP"),
            ("open", "ENOTCAPABLE"),
            ("rename", "ENOTEMPTY"),
            ("rename", "EISDIR"),
            ("rename", "ENOTDIR"),
            ("rename", "EINVAL"),
            ("rmdir", "ENOTEMPTY"),
            ("unlink", "EISDIR"),
            ("mkdir", "EEXIST"),
            ("readlink", "EINVAL"),
            ("read", "EBADF"),
            ("seek", "EINVAL"),
            ("link", "EEXIST"),
            ("stat", "ENAMETOOLONG"),
        ];
        for (operation, errno) in errnos {
            assert!(count(operation, errno) > 0, "{operation} never answered {errno}");
        }
        let runs = 2 * self.sequences;
        assert!(self.cut * 4 < runs, "{} of {runs} ended early", self.cut);
    }

    fn unused_known(&self) -> String {
        let unused = (0..self.known.len()).filter(|index| !self.used.contains_key(index));
        unused.map(|index| format!("{}\n", self.known.entry(index))).collect()
    }
}

fn sequences(default: u64) -> u64 {
    number("TESTBENCH_ORACLE_SEQUENCES").unwrap_or(default)
}

#[expect(clippy::disallowed_methods, reason = "a developer's choice for one run")]
fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not `{value}`")))
}
