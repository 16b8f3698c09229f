//! Patterns of paths, by the rules of `.gitignore` where they matter.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use globset::{Candidate, GlobBuilder, GlobMatcher};

use crate::GuestPath;
use crate::vfs::name::RelPath;

/// A pattern that cannot be used.
///
/// ```
/// use testbench_overlay::Overlay;
///
/// let dir = tempfile::tempdir()?;
/// let error = Overlay::builder(dir.path()).hide("a{b").build().unwrap_err();
/// assert!(error.to_string().contains("`a{b`"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern `{pattern}` cannot be used: {reason}")]
pub struct PatternError {
    pattern: String,
    reason: String,
}

/// The kind is [`io::ErrorKind::InvalidInput`].
impl From<PatternError> for io::Error {
    fn from(error: PatternError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

/// Which paths are meant.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    matcher: GlobMatcher,
    subject: Subject,
}

#[derive(Clone, Debug)]
enum Subject {
    /// Without a slash in the pattern: the last component, in whatever directory.
    Name,
    /// The whole path, which each of these steps takes further, if they are known.
    Path(Option<Vec<Step>>),
}

/// The part of a pattern between two slashes.
#[derive(Clone, Debug)]
enum Step {
    /// `**`: any number of directories.
    Any,
    One(GlobMatcher),
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Result<Pattern, PatternError> {
        let refused = |reason: String| PatternError { pattern: pattern.to_owned(), reason };
        if pattern.is_empty() {
            return Err(refused("it is empty; use `**` for everything".to_owned()));
        }
        // Paths start from the top either way.
        let from_top = pattern.strip_prefix('/').unwrap_or(pattern);
        let matcher = matcher(from_top).map_err(|error| refused(error.kind().to_string()))?;
        let subject =
            if pattern.contains('/') { Subject::Path(steps(from_top)) } else { Subject::Name };
        Ok(Pattern { matcher, subject })
    }

    pub(super) fn matches(&self, path: &RelPath) -> bool {
        let bytes = path.as_bytes();
        let subject = match path.split() {
            Some((_, name)) if matches!(self.subject, Subject::Name) => name,
            _ => bytes,
        };
        is_match(&self.matcher, subject)
    }

    /// Whether all that is matched beneath a directory is so still when the directory is at `to`.
    pub(super) fn holds_beneath(&self, from: &RelPath, to: &RelPath) -> bool {
        let steps = match &self.subject {
            Subject::Name => return true,
            Subject::Path(None) => return false,
            Subject::Path(Some(steps)) => steps,
        };
        let (from, to) = (reached(steps, from), reached(steps, to));
        from.iter().zip(&to).all(|(from, to)| !from || *to)
    }
}

fn matcher(glob: &str) -> Result<GlobMatcher, globset::Error> {
    let glob = GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build()?;
    Ok(glob.compile_matcher())
}

fn is_match(matcher: &GlobMatcher, subject: &[u8]) -> bool {
    matcher.is_match_candidate(&Candidate::new(OsStr::from_bytes(subject)))
}

/// `None` where a slash stands in braces, so that the parts are no patterns of their own.
fn steps(pattern: &str) -> Option<Vec<Step>> {
    let step = |part| match part {
        "**" => Some(Step::Any),
        part => matcher(part).ok().map(Step::One),
    };
    pattern.split('/').map(step).collect()
}

/// At which steps of a pattern one can stand behind a path, with the rest still to come.
fn reached(steps: &[Step], path: &RelPath) -> Vec<bool> {
    // `**` may also stand for nothing.
    let pass = |mut at: Vec<bool>| {
        for (step, index) in steps.iter().zip(0..) {
            at[index + 1] |= at[index] && matches!(step, Step::Any);
        }
        at
    };
    let mut at = vec![false; steps.len() + 1];
    at[0] = true;
    at = pass(at);
    for name in GuestPath::new(path.as_bytes()).components() {
        let mut next = vec![false; at.len()];
        for (step, index) in steps.iter().zip(0..).filter(|(_, index)| at[*index]) {
            match step {
                Step::Any => next[index] = true,
                Step::One(matcher) => next[index + 1] |= is_match(matcher, name),
            }
        }
        at = pass(next);
    }
    // Behind the last step, it is the path itself that is matched.
    at.pop();
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &[u8]) -> bool {
        Pattern::new(pattern).unwrap().matches(&RelPath::TOP.join(path))
    }

    #[test]
    fn a_pattern_without_a_slash_is_about_the_name() {
        assert!(matches("*.log", b"a.log") && matches("*.log", b"d/e/a.log"));
        assert!(!matches("*.log", b"a.log/b"));
        assert!(matches(".git", b"sub/.git") && !matches("/.git", b"sub/.git"));
        assert!(matches("/.git", b".git") && matches("**/.git", b".git"));
    }

    #[test]
    fn a_pattern_with_a_slash_is_about_the_whole_path() {
        assert!(matches("d/*.log", b"d/a.log"));
        assert!(!matches("d/*.log", b"d/e/a.log") && !matches("d/*.log", b"c/d/a.log"));
        assert!(matches("d/**", b"d/e/f") && matches("d/**/f", b"d/f"));
        assert!(matches("{a,b}/?", b"b/x") && !matches("{a,b}/?", b"b/xy"));
    }

    #[test]
    fn what_is_matched_beneath_a_directory_may_depend_on_where_that_is() {
        let holds = |pattern: &str, from: &str, to: &str| {
            let [from, to] = [from, to].map(|path| RelPath::from_bytes(path.as_bytes()));
            Pattern::new(pattern).unwrap().holds_beneath(&from, &to)
        };
        assert!(!holds("s/key", "s", "t") && !holds("/a/b/key", "a", "c"));
        assert!(holds("s/key", "t", "s") && holds("s/key", "s/d", "t"));
        assert!(holds("key", "s", "t") && holds("*.pem", "a/b", "c"));
        assert!(holds("src/*/key", "src/a", "src/b") && !holds("src/*/key", "src/a", "lib/a"));
        assert!(holds("**/key", "a/b", "c") && holds("**/s/key", "a", "b"));
        assert!(!holds("**/s/key", "a/s", "a/t") && holds("**/s/key", "a/s", "s"));
        assert!(!holds("d/**", "d/e", "e") && holds("d/**", "d/e", "d/f/g"));
        // These steps are not known, so it could be anything.
        assert!(!holds("{a/b,c}/key", "a", "d"));
    }

    #[test]
    fn names_are_bytes() {
        assert!(matches("a*z", b"a\xff\nz"));
        assert!(matches("**", b"") && matches("**", b"\xfe"));
    }

    #[test]
    fn a_pattern_that_cannot_match_is_an_error() {
        let error = Pattern::new("[a").unwrap_err().to_string();
        assert!(error.starts_with("the pattern `[a` cannot be used: "), "{error}");
        assert!(Pattern::new("").is_err());
    }
}
