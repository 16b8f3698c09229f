//! Where two hosts' answers to one script differ, other than in ways that are known.

use std::collections::BTreeSet;

use crate::hosts::{Answer, Ran};
use crate::script::Script;

const KNOWN: &str = include_str!("known.txt");

/// How many known differences there are. It may only go down.
const KNOWN_MAX: usize = 47;

/// Operations that change something, so that a success on one side only makes the rest incomparable.
/// `allocate` is not among them: where it is not supported, the guest extends the file.
const CHANGING: &[&str] = &[
    "open", "close", "renumber", "read", "readv", "write", "writev", "fill", "pwrite", "size",
    "seek", "flags", "ftimes", "times", "mkdir", "rmdir", "unlink", "rename", "link", "symlink",
];

/// The differences that have reasons, from `known.txt`.
pub(crate) struct Known(Vec<Entry>);

struct Entry {
    operation: &'static str,
    /// Only where a path ends in a slash.
    slash: bool,
    theirs: &'static str,
    ours: &'static str,
    line: &'static str,
}

/// What came of a comparison.
pub(crate) enum Verdict {
    /// No difference but the known ones with these indices; `cut`: a known one made the rest of the
    /// sequence incomparable.
    Equal {
        explained: BTreeSet<usize>,
        cut: bool,
    },
    Differs(Difference),
}

/// The first difference.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    /// What sort of difference: the operation and the two errnos.
    pub(crate) kind: String,
    pub(crate) text: String,
}

impl Known {
    /// Each line is an operation, wasmtime-wasi's errno, ours, and the reason; the file says more.
    pub(crate) fn read() -> Known {
        let lines = KNOWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let entries = lines.map(|line| {
            let mut words = line.split_whitespace();
            let mut word = || words.next().unwrap_or_else(|| panic!("known.txt: `{line}`"));
            let (operation, theirs, ours) = (word(), word(), word());
            assert!(words.next().is_some(), "known.txt: no reason in `{line}`");
            let slash = operation.strip_suffix('/');
            let (operation, slash) = (slash.unwrap_or(operation), slash.is_some());
            Entry { operation, slash, theirs, ours, line }
        });
        let entries: Vec<Entry> = entries.collect();
        assert!(entries.len() <= KNOWN_MAX, "known.txt may only shrink");
        Known(entries)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The line of `known.txt`.
    pub(crate) fn entry(&self, index: usize) -> &str {
        self.0[index].line
    }

    pub(crate) fn compare(&self, script: &Script, theirs: &Ran, ours: &Ran) -> Verdict {
        let mut explained = BTreeSet::new();
        for (i, line) in script.lines().iter().enumerate() {
            let (their, our) = (theirs.answers.get(i), ours.answers.get(i));
            let difference = || {
                let show = |answer: Option<&Answer>| match answer {
                    Some(answer) => answer.to_string(),
                    None => "(the guest has ended)".to_owned(),
                };
                let errno = |answer: Option<&Answer>| {
                    answer.map_or_else(|| "end".to_owned(), Answer::errno_name)
                };
                let operation = line.split(' ').next().unwrap_or_default();
                Verdict::Differs(Difference {
                    kind: format!("{operation} {} {}", errno(their), errno(our)),
                    text: format!("{line}\n< {}\n> {}", show(their), show(our)),
                })
            };
            let (Some(their), Some(our)) = (their, our) else { return difference() };
            if their == our {
                continue;
            }
            let Some(index) = self.find(line, their, our) else { return difference() };
            explained.insert(index);
            let one_sided = (their.errno == 0) != (our.errno == 0);
            if one_sided && CHANGING.contains(&our.operation.as_str()) {
                return Verdict::Equal { explained, cut: true };
            }
        }
        for (name, theirs, ours) in [
            ("exit", &theirs.exit, &ours.exit),
            ("standard error", &theirs.stderr, &ours.stderr),
            ("final tree", &theirs.tree, &ours.tree),
        ] {
            if theirs != ours {
                let text = show_lines(name, theirs, ours);
                return Verdict::Differs(Difference { kind: name.to_owned(), text });
            }
        }
        Verdict::Equal { explained, cut: false }
    }

    fn find(&self, line: &str, theirs: &Answer, ours: &Answer) -> Option<usize> {
        let (their, our) = (theirs.errno_name(), ours.errno_name());
        let matches = |pattern: &str, name: &str| match pattern {
            "*" => true,
            "failure" => name != "OK",
            _ => pattern == name,
        };
        self.0.iter().position(|entry| {
            (!entry.slash || ends_in_slash(line))
                && matches(entry.operation, &ours.operation)
                && matches(entry.theirs, &their)
                && matches(entry.ours, &our)
        })
    }
}

/// Whether a path of the operation asks for a directory by its end.
fn ends_in_slash(line: &str) -> bool {
    let paths = line.split(' ').filter_map(|word| word.strip_prefix('='));
    paths.into_iter().any(|path| path.ends_with('/') || path.ends_with("/."))
}

/// The lines that only one side has.
fn show_lines(name: &str, theirs: &str, ours: &str) -> String {
    let mut text = format!("{name}:");
    for (mark, here, there) in [('<', theirs, ours), ('>', ours, theirs)] {
        for line in here.lines().filter(|line| !there.lines().any(|other| other == *line)) {
            text += &format!("\n{mark} {line}");
        }
    }
    text
}
