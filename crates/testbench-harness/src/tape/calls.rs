//! [`Matching`] finds the entry of a tape for a call; a [`Miss`] shows how a call without one differs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
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

impl Matching {
    /// The index of the entry that `call` takes; `used` tells which are used already. The error is the
    /// index of the entry to show beside a call that has none.
    pub(crate) fn find(
        self,
        records: &[Record],
        used: &[bool],
        call: &TapedCall,
    ) -> Result<usize, Option<usize>> {
        let fits = |at: &usize| records[*at].call == *call;
        let mut unused = (0..records.len()).filter(|at| !used[*at]);
        let next = match self {
            Matching::Ordered => unused.next(),
            Matching::PerProgram => unused.find(|at| records[*at].call.program == call.program),
            Matching::AnyOrder => unused.find(fits).or((0..records.len()).rev().find(fits)),
        };
        match next {
            Some(at) if fits(&at) => Ok(at),
            Some(at) => Err(Some(at)),
            // The one that is most alike; of several the first.
            None => Err((0..records.len())
                .max_by_key(|at| (likeness(&records[*at].call, call), Reverse(*at)))),
        }
    }
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
        let [mut taped_marks, marks] = [marks(taped, call), marks(call, taped)];
        if !marks.is_empty() {
            // Else the tape's line alone has marks: under the arguments that the call lacks.
            taped_marks.clear();
        }
        for (name, call, marks) in [("taped: ", taped, taped_marks), ("actual:", call, marks)] {
            write!(f, "\n  {name} {}", command_line(call))?;
            if !marks.is_empty() {
                write!(f, "\n          {marks}")?;
            }
        }
        let (taped, actual) = (settings(taped), settings(call));
        let names: BTreeSet<_> = taped.keys().chain(actual.keys()).collect();
        for name in names {
            let value = |of: &Settings| of.get(name).map_or("not set".to_owned(), String::clone);
            let (taped, actual) = (value(&taped), value(&actual));
            if taped != actual {
                write!(f, "\n  {}: taped {taped}, actual {actual}", name.1)?;
            }
        }
        f.write_str(ADVICE)
    }
}

const ADVICE: &str = "\nRecord the tape again with `TapeMode::Record`, or let calls that are not \
                      on it run with `Policy::Replay(OnMiss::Record)`.";

/// A line with a mark under each argument that `other` does not have in the same place.
fn marks(call: &TapedCall, other: &TapedCall) -> String {
    let mut marks = String::new();
    for (at, arg) in call.argv.iter().enumerate() {
        let mark = if other.argv.get(at) == Some(arg) { " " } else { "^" };
        marks += &mark.repeat(quoted(arg).chars().count());
        marks.push(' ');
    }
    marks.trim_end().to_owned()
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

/// The program, the directory and the variables, in the order in which they are shown.
type Settings = BTreeMap<(u8, String), String>;

fn settings(call: &TapedCall) -> Settings {
    let quoted = |value: &Taped| format!("`{value}`");
    let mut settings = BTreeMap::from([
        ((0, "program".to_owned()), quoted(&call.program)),
        ((1, "cwd".to_owned()), quoted(&call.cwd)),
    ]);
    for (name, value) in &call.env {
        let value = value.as_ref().map_or("removed".to_owned(), quoted);
        settings.insert((2, name.to_string()), value);
    }
    settings
}
