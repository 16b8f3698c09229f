//! [`Entries`] find the entry of a tape for a call; a [`Miss`] shows how a call without one differs.

use std::fmt;
use std::path::PathBuf;

use super::Taped;
use super::format::{Record, TapedCall};

/// How a call finds its entry on the tape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Matching {
    /// It takes the next entry: calls come in the order in which they were recorded.
    #[default]
    Ordered,
    /// It takes the next entry of the same program: programs that run side by side may overtake each
    /// other.
    PerProgram,
    /// It takes any entry that fits: the first unused one, or the last one again.
    AnyOrder,
}

impl fmt::Display for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Matching::Ordered => "in order",
            Matching::PerProgram => "in order for each program",
            Matching::AnyOrder => "in any order",
        })
    }
}

/// The entries of a tape, with the number of times that each was used.
#[derive(Debug)]
pub(crate) struct Entries {
    matching: Matching,
    uses: Vec<u32>,
}

impl Entries {
    pub(crate) fn new(matching: Matching, count: usize) -> Entries {
        Entries { matching, uses: vec![0; count] }
    }

    /// The index of the entry that `call` takes. The error is the index of the entry to show beside
    /// a call that has none.
    pub(crate) fn find(
        &self,
        records: &[Record],
        call: &TapedCall,
    ) -> Result<usize, Option<usize>> {
        let fits = |at: &usize| records[*at].call == *call;
        let mut unused = (0..records.len()).filter(|at| self.uses[*at] == 0);
        let next = match self.matching {
            Matching::Ordered => unused.next(),
            Matching::PerProgram => unused.find(|at| records[*at].call.program == call.program),
            Matching::AnyOrder => {
                let fitting = unused.find(fits);
                return fitting
                    .or_else(|| (0..records.len()).rev().find(fits))
                    .ok_or_else(|| nearest(records, call));
            }
        };
        match next {
            Some(at) if fits(&at) => Ok(at),
            Some(at) => Err(Some(at)),
            None => Err(nearest(records, call)),
        }
    }

    pub(crate) fn used(&mut self, at: usize) {
        self.uses[at] = self.uses[at].saturating_add(1);
    }

    pub(crate) fn is_used(&self, at: usize) -> bool {
        self.uses[at] > 0
    }
}

/// The record whose call is most like this one; of several the first.
fn nearest(records: &[Record], call: &TapedCall) -> Option<usize> {
    let likeness = |at: &usize| (likeness(&records[*at].call, call), std::cmp::Reverse(*at));
    (0..records.len()).max_by_key(likeness)
}

/// A measure of what two calls have in common; more alike is larger.
fn likeness(a: &TapedCall, b: &TapedCall) -> usize {
    let same_args = a.argv.iter().zip(&b.argv).filter(|(a, b)| a == b).count();
    let same_length = usize::from(a.argv.len() == b.argv.len());
    let same_place = usize::from(a.cwd == b.cwd) + usize::from(a.env == b.env);
    100 * usize::from(a.program == b.program) + 4 * same_args + same_length + same_place
}

/// A call for which a tape has no entry. Its text shows both calls.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Miss {
    /// The file of the tape.
    pub tape: PathBuf,
    /// How entries are matched.
    pub matching: Matching,
    /// The call that was made.
    pub call: TapedCall,
    /// The entry that was next, or is most like the call, with its number; `None` on an empty tape.
    pub nearest: Option<(u32, TapedCall)>,
    /// The entry fits, but has been used already.
    pub used: bool,
}

impl std::error::Error for Miss {}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (call, tape) = (&self.call, self.tape.display());
        write!(f, "`{}`: the tape {tape} has no entry for this call", call.program)?;
        let Some((sequence, taped)) = &self.nearest else {
            f.write_str(", or for any other")?;
            return f.write_str(ADVICE);
        };
        if self.used {
            write!(f, " left: entry {sequence} is used already (matched {})", self.matching)?;
        } else {
            write!(f, " (matched {}; entry {sequence} is the nearest)", self.matching)?;
        }
        let (taped_line, taped_marks) = line(taped, call);
        let (line, marks) = line(call, taped);
        write!(f, "\n  taped:  {taped_line}")?;
        // Arguments that only the tape has are marked in the tape's line.
        if marks.is_empty() && !taped_marks.is_empty() {
            write!(f, "\n          {taped_marks}")?;
        }
        write!(f, "\n  actual: {line}")?;
        if !marks.is_empty() {
            write!(f, "\n          {marks}")?;
        }
        if taped.program != call.program {
            write!(f, "\n  program: taped `{}`, actual `{}`", taped.program, call.program)?;
        }
        if taped.cwd != call.cwd {
            write!(f, "\n  cwd: taped `{}`, actual `{}`", taped.cwd, call.cwd)?;
        }
        for (name, taped, actual) in different_env(taped, call) {
            write!(f, "\n  {name}: taped {}, actual {}", value(taped), value(actual))?;
        }
        f.write_str(ADVICE)
    }
}

const ADVICE: &str = "\nRecord the tape again with `TapeMode::Record`, or let calls that are not \
                      on it run with `Policy::Replay(OnMiss::Record)`.";

/// The command line of a call, and a line with a mark under each argument that `other` does not have
/// in the same place.
fn line(call: &TapedCall, other: &TapedCall) -> (String, String) {
    let (mut line, mut marks) = (String::new(), String::new());
    for (at, arg) in call.argv.iter().enumerate() {
        if at > 0 {
            line.push(' ');
            marks.push(' ');
        }
        let shown = quoted(arg);
        let mark = if other.argv.get(at) == Some(arg) { ' ' } else { '^' };
        marks.extend(std::iter::repeat_n(mark, shown.chars().count()));
        line += &shown;
    }
    (line, marks.trim_end().to_owned())
}

/// The argument as a person types it.
pub(crate) fn quoted(arg: &Taped) -> String {
    let text = arg.to_string();
    let plain = |c: char| c.is_alphanumeric() || "-_./:=+,@%[]".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("{text:?}") }
}

/// The command line of a call.
pub(crate) fn command_line(call: &TapedCall) -> String {
    call.argv.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

type Value<'c> = Option<&'c Option<Taped>>;

/// The variables that differ, in order.
fn different_env<'c>(a: &'c TapedCall, b: &'c TapedCall) -> Vec<(&'c Taped, Value<'c>, Value<'c>)> {
    fn get<'c>(call: &'c TapedCall, name: &Taped) -> Value<'c> {
        call.env.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
    let names: std::collections::BTreeSet<&Taped> =
        a.env.iter().chain(&b.env).map(|(name, _)| name).collect();
    let both = names.into_iter().map(|name| (name, get(a, name), get(b, name)));
    both.filter(|(_, a, b)| a != b).collect()
}

fn value(value: Value<'_>) -> String {
    match value {
        None => "not set".to_owned(),
        Some(None) => "removed".to_owned(),
        Some(Some(value)) => format!("`{value}`"),
    }
}
