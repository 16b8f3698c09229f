//! Patterns of paths, by the rules of `.gitignore` where they matter.

use globset::{Candidate, GlobBuilder, GlobMatcher};

use crate::name::RelPath;
use std::os::unix::ffi::OsStrExt as _;

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

/// Which paths are meant.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    matcher: GlobMatcher,
    /// Without a slash in it, it is about the last component, in whatever directory.
    of_name: bool,
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Result<Pattern, PatternError> {
        let refused = |reason: String| PatternError { pattern: pattern.to_owned(), reason };
        if pattern.is_empty() {
            return Err(refused("it is empty; use `**` for everything".to_owned()));
        }
        // Paths start from the top either way.
        let from_top = pattern.strip_prefix('/').unwrap_or(pattern);
        let glob = GlobBuilder::new(from_top)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| refused(error.kind().to_string()))?;
        Ok(Pattern { matcher: glob.compile_matcher(), of_name: !pattern.contains('/') })
    }

    pub(super) fn matches(&self, path: &RelPath) -> bool {
        let bytes = path.as_bytes();
        let subject = match path.split() {
            Some((_, name)) if self.of_name => name,
            _ => bytes,
        };
        let subject = std::ffi::OsStr::from_bytes(subject);
        self.matcher.is_match_candidate(&Candidate::new(subject))
    }
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
