//! Every operation about every kind of path, on every kind of tree: the answer is the kernel's about
//! the same path on the disk.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::common::answers::{Kernel, Ours, PATHS, QUESTIONS, Subject, populate};
use rustix::fs::{CWD, Mode, OFlags};
use testbench_overlay::{Errno, Fs, HostDir, LowerModes, MemoryDir, Overlay};

type Answers = BTreeMap<(&'static str, &'static str), Result<(), Errno>>;

/// Makes a tree over a directory.
type New<'n> = &'n dyn Fn(&Path) -> Box<dyn Subject>;

/// What a new tree answers to each question.
fn ask_all(new: impl Fn(&Path) -> Box<dyn Subject>) -> Answers {
    let mut answers = Answers::new();
    let mut used: Option<(Box<dyn Subject>, tempfile::TempDir)> = None;
    for path in PATHS {
        for (what, ask) in QUESTIONS {
            let (tree, _dir) = used.get_or_insert_with(|| {
                let dir = tempfile::tempdir().unwrap();
                populate(dir.path());
                (new(dir.path()), dir)
            });
            let answer = ask(&**tree, path);
            answers.insert((*path, *what), answer);
            // What has failed has changed nothing.
            if answer.is_ok() {
                used = None;
            }
        }
    }
    answers
}

/// What differs from Linux on purpose: special files are never opened, and have no mode to set.
fn is_ours_to_say((path, what): (&str, &str)) -> bool {
    let opens = ["read", "write", "truncate", "create", "chmod"];
    path == "fifo" && opens.iter().any(|word| what.starts_with(word)) && what != "create new"
}

#[test]
fn every_tree_answers_as_the_disk_does() {
    let open = |root: &Path| rustix::fs::openat(CWD, root, OFlags::DIRECTORY, Mode::empty());
    let wanted = ask_all(|root| Box::new(Kernel(open(root).unwrap())));
    let ours = |tree: Arc<dyn Fs>| Box::new(Ours::new(tree)) as Box<dyn Subject>;
    let overlay = |root: &Path| Overlay::builder(root).lower_modes(LowerModes::Real).as_root(true);
    let trees: [(&str, New<'_>); 4] = [
        ("a directory", &|root| ours(Arc::new(HostDir::open(root).unwrap()))),
        ("an overlay", &|root| ours(overlay(root).build().unwrap())),
        ("an overlay with stages", &|root| ours(overlay(root).hide("hidden").build().unwrap())),
        ("a tree in memory", &|root| ours(Arc::new(in_memory(root)))),
    ];
    let mut wrong = Vec::new();
    for (tree, new) in trees {
        for (question, answer) in ask_all(new) {
            let (path, _) = question;
            let in_memory = tree == "a tree in memory" && path == "fifo";
            if answer != wanted[&question] && !is_ours_to_say(question) && !in_memory {
                wrong
                    .push(format!("{tree}: {question:?}: {answer:?}, not {:?}", wanted[&question]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same tree, less its special files.
fn in_memory(root: &Path) -> MemoryDir {
    let mut builder = MemoryDir::builder();
    for entry in walk(root) {
        let name = entry.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let kind = entry.symlink_metadata().unwrap().file_type();
        builder = match () {
            () if kind.is_dir() => builder.dir(name),
            () if kind.is_symlink() => {
                let target = entry.read_link().unwrap();
                builder.symlink(name, target.to_str().unwrap())
            }
            () if kind.is_file() => builder.file(name, std::fs::read(&entry).unwrap()),
            () => builder,
        };
    }
    builder.build().unwrap()
}

fn walk(root: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let entries = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name();
    entries.into_iter().map(|entry| entry.unwrap().into_path())
}
