//! The changes as a value: [`Diff`], format version 1.
//!
//! A diff is the net change between two trees of files: what an overlay's lower directory held and
//! what the overlay shows now, or two directories ([`Diff::between`]). Its producer
//! reports one [`Change`] for each name that differs; [`Diff::from_changes`] brings them into
//! the one normal form, ordered by raw bytes, in which equal differences are equal values.
//!
//! Three renderings, each stable byte by byte (no owner, inode, absolute path or reading of a
//! clock gets into them):
//!
//! - [`Diff::snapshot`], also its `Display`, is for people: a line for each entry, then the changed
//!   lines. It takes size caps and [`Redactions`], which act before anything is compared or hashed.
//! - [`Diff::patch`] is what `git apply` takes, and `git apply -R` takes back. Facts that git cannot
//!   say stand in lines that start with `# `.
//! - [`Diff::to_json`], also its `Serialize`, is for programs; [`Document`] is what it holds and
//!   reads it back.
//!
//! ```
//! use testbench_overlay::diff::{Change, Diff, Side};
//!
//! let diff = Diff::from_changes([
//!     Change::changed("notes", Side::file(0o644, *b"one\ntwo\n"), Side::file(0o644, *b"one\n2\n")),
//!     Change::added("cache", Side::dir(0o755)),
//!     Change::renamed("a", "b", Side::unread_file(0o644), Side::unread_file(0o755)),
//! ]);
//! assert_eq!(diff.to_string(), "\
//! R a -> b (mode 0644 -> 0755)
//! A cache/
//! M notes
//!
//! diff --git a/notes b/notes
//! --- a/notes
//! +++ b/notes
//! @@ -1,2 +1,2 @@
//!  one
//! -two
//! +2
//! ");
//! ```
//!
//! Begin with `change.rs` (what producers say), then `model.rs` (the normal form). `blocks.rs`
//! decides which of git's file blocks and `# ` lines an entry becomes; `patch.rs` and `review.rs`
//! write them. `text.rs` compares lines, `git.rs` holds git's encodings, `quote.rs` git's quoting.

pub(crate) mod changes;

mod between;
mod blocks;
mod change;
mod document;
mod fields;
mod git;
mod json;
mod model;
mod normal;
mod options;
mod patch;
mod quote;
mod redact;
mod review;
mod stat;
mod text;

pub use change::{Change, Content, Origin, Side};
pub use document::{Document, Facts, Record, Text};
#[doc(hidden)]
pub use fields::mode as octal_mode;
pub(crate) use fields::name;
pub use json::{EntryProblem, JsonError};
pub use model::{Diff, Entry, Op};
pub use options::DiffOptions;
pub use redact::Redactions;
pub use review::SnapshotOptions;
pub use stat::DiffStat;
pub use text::Hunk;
