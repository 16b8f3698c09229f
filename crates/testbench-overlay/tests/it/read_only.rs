//! Trees that are closed to changes answer as a real read-only mount does, operation by operation.
//!
//! The table is in a snapshot; where the machine lets us mount, it is made by the kernel, too.
#![cfg(target_os = "linux")]
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "what is skipped is said, and the child says its table"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::common::answers::{Kernel, Ours, PATHS, QUESTIONS, Subject, populate};
use rustix::fs::{CWD, Mode, OFlags};
use testbench_overlay::{Fs, HostDir, Overlay, ReadOnly, SetTimes};

/// A line for each path, with what each operation answers.
fn table(subject: &dyn Subject) -> String {
    let mut out = String::new();
    for path in PATHS {
        let _ = write!(out, "{path:?}:");
        for (what, ask) in QUESTIONS {
            let _ = match ask(subject, path) {
                Ok(()) => write!(out, " {what}: ok;"),
                Err(errno) => write!(out, " {what}: {errno:?};"),
            };
        }
        out.push('\n');
    }
    let none = subject.times("f", SetTimes::default());
    let _ = writeln!(out, "no time: {none:?}");
    out
}

/// What differs from Linux on purpose: special files are never opened.
fn without_specials(table: &str) -> String {
    let lines = table.lines().map(|line| match line.strip_prefix("\"fifo\":") {
        None => format!("{line}\n"),
        Some(rest) => {
            let opens = [
                "read",
                "write",
                "truncate",
                "truncate to read",
                "write nofollow",
                "create",
                "create to read",
            ];
            let rest = rest.split_terminator(';').filter(|answer| {
                let what = answer.trim().split(':').next().unwrap_or_default();
                !opens.contains(&what)
            });
            format!("\"fifo\":{};\n", rest.collect::<Vec<_>>().join(";"))
        }
    });
    lines.collect()
}

#[test]
fn every_answer_is_that_of_a_read_only_mount() {
    let dir = tempfile::tempdir().unwrap();
    populate(dir.path());
    let host = || HostDir::open(dir.path()).unwrap();
    let trees: [(&str, Arc<dyn Fs>); 3] = [
        ("read-only host directory", Arc::new(host().read_only())),
        ("read-only view", Arc::new(ReadOnly::new(host()))),
        ("overlay in a read-only view", {
            let overlay = Overlay::builder(dir.path()).as_root(true).build().unwrap();
            Arc::new(ReadOnly::over(overlay))
        }),
    ];
    let tables: Vec<_> = trees
        .into_iter()
        .map(|(name, fs)| (name, without_specials(&table(&Ours::new(fs)))))
        .collect();
    insta::assert_snapshot!("read_only", tables[0].1);
    for (name, table) in &tables[1..] {
        assert_lines(name, table, &tables[0].1);
    }
    match kernel_table() {
        Some(kernel) => assert_lines("read-only mount", &tables[0].1, &without_specials(&kernel)),
        None => eprintln!("SKIPPED: no mount can be made here; compared with the snapshot only"),
    }
}

#[track_caller]
fn assert_lines(name: &str, got: &str, wanted: &str) {
    let differ: Vec<_> = got.lines().zip(wanted.lines()).filter(|(a, b)| a != b).collect();
    let shown: Vec<_> = differ
        .iter()
        .flat_map(|(a, b)| {
            let path = a.split(':').next().unwrap_or_default();
            let pairs = a.split(';').zip(b.split(';')).filter(|(a, b)| a != b);
            pairs.map(move |(a, b)| format!("{path}:{a}, not{b}")).collect::<Vec<_>>()
        })
        .collect();
    assert!(differ.is_empty(), "{name}:\n{}", shown.join("\n"));
}

/// In a name space of its own for mounts, a child prints the table of a file system that is
/// mounted read-only.
fn kernel_table() -> Option<String> {
    let place = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs none \"$1\" && TREE=\"$1\" TASK=populate \"$2\" --exact read_only::child \
                  --ignored >/dev/null && mount -o remount,ro \"$1\" && \
                  TREE=\"$1\" TASK=table \"$2\" --exact read_only::child --ignored --nocapture";
    for flags in ["-m", "-rm"] {
        let output = Command::new("unshare")
            .args([flags, "sh", "-c", script, "sh"])
            .arg(place.path())
            .arg(std::env::current_exe().unwrap())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).unwrap();
        if let Some((_, rest)) = text.split_once("BEGIN\n")
            && let Some((table, _)) = rest.split_once("END\n")
        {
            return Some(table.to_owned());
        }
    }
    None
}

#[test]
#[ignore = "the part of the test above that runs in a child"]
#[allow(clippy::disallowed_methods, reason = "how the child is told what to do")]
fn child() {
    let (Some(tree), Some(task)) = (std::env::var_os("TREE"), std::env::var_os("TASK")) else {
        return;
    };
    if task == "populate" {
        return populate(Path::new(&tree));
    }
    let top = rustix::fs::openat(CWD, &*tree, OFlags::DIRECTORY, Mode::empty()).unwrap();
    println!("BEGIN\n{}END", table(&Kernel(top)));
}
