//! [`Scrubber`]: finds secrets and the root's path in bytes before these go onto a tape.
//!
//! It looks for literal values and patterns in the raw bytes of arguments, output and whole files. If a
//! secret and the root overlap, the secret is hidden. Secrets that overlap become one mark, with the
//! name of the first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use regex::bytes::Regex;

use super::error::TapeError;
use super::{Mark, Taped};
use crate::sys;

/// The length from which the value of a variable that only looks secret is looked for. With a lower
/// one, `TOKEN_TYPE=jwt` would hide every `jwt`.
const VALUE_BYTES_MIN: usize = 6;

/// The words that make a variable's name look like that of a secret.
const WORDS: &str = "APIKEY AUTH BEARER COOKIE CRED CREDENTIAL CREDENTIALS CREDS DSN JWT KEY KEYS \
                     PASS PASSCODE PASSPHRASE PASSWD PASSWORD PAT PRIVATE PWD SECRET SECRETS TOKEN \
                     TOKENS";

/// The words that also count inside of a longer word, as in `PGPASSWORD`.
const PARTS: [&str; 5] = ["APIKEY", "PASSWD", "PASSWORD", "SECRET", "TOKEN"];

/// Whether a variable of this name probably holds a secret, such as `GITHUB_TOKEN` or
/// `AWS_SECRET_ACCESS_KEY`.
///
/// ```
/// use testbench_harness::tape::looks_secret;
///
/// assert!(looks_secret("GITHUB_TOKEN") && looks_secret("PGPASSWORD"));
/// assert!(!looks_secret("HOME") && !looks_secret("GIT_AUTHOR_NAME") && !looks_secret("PWD"));
/// ```
pub fn looks_secret(variable: impl AsRef<OsStr>) -> bool {
    let name = variable.as_ref().to_string_lossy().to_ascii_uppercase();
    if matches!(name.as_str(), "PWD" | "OLDPWD") {
        return false;
    }
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| WORDS.split(' ').any(|secret| secret == word))
        || PARTS.iter().any(|part| name.contains(part))
}

/// Finds the root's path and secrets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrubber {
    /// The root's paths and the values of secrets.
    values: Vec<(Vec<u8>, Mark)>,
    patterns: Arc<[(String, Regex)]>,
    /// The variables that are declared secret, whatever their names and values look like.
    named: Arc<[OsString]>,
}

/// A place in the bytes, and the mark for it.
type Found = (Range<usize>, Mark);

impl Scrubber {
    pub(crate) fn new(
        patterns: &[(String, String)],
        named: &[OsString],
    ) -> Result<Scrubber, TapeError> {
        let compile = |(name, pattern): &(String, String)| match Regex::new(pattern) {
            Ok(regex) => Ok((name.clone(), regex)),
            Err(source) => Err(TapeError::Pattern { name: name.clone(), source }),
        };
        let patterns = patterns.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Scrubber { values: Vec::new(), patterns, named: named.into() })
    }

    /// Adds the paths of a root. The root directory `/` is ignored, since every path begins with it.
    pub(crate) fn add_roots(&mut self, roots: impl IntoIterator<Item = PathBuf>) {
        for root in roots {
            let mut root = sys::guest_path(&root);
            while root.last() == Some(&b'/') {
                root.pop();
            }
            self.add(root, Mark::Root);
        }
    }

    /// Adds the values of variables that look secret or are declared secret.
    pub(crate) fn add_env<'e>(&mut self, env: impl IntoIterator<Item = (&'e OsStr, &'e OsStr)>) {
        for (name, value) in env {
            let value = sys::guest_bytes(value);
            let is_found = looks_secret(name) && value.len() >= VALUE_BYTES_MIN;
            if is_found || self.is_named(name) {
                self.add(value, secret(name));
            }
        }
    }

    fn add(&mut self, value: Vec<u8>, mark: Mark) {
        let kind = std::mem::discriminant(&mark);
        let is_known = |(known, mark): &(Vec<u8>, Mark)| {
            *known == value && std::mem::discriminant(mark) == kind
        };
        if !value.is_empty() && !self.values.iter().any(is_known) {
            self.values.push((value, mark));
        }
    }

    fn is_named(&self, variable: &OsStr) -> bool {
        self.named.iter().any(|named| named == variable)
    }

    /// Returns the value of a variable for the tape: a single mark if the variable is a secret one.
    pub(crate) fn tape_value(&self, name: &OsStr, value: &OsStr) -> Taped {
        if value.is_empty() || !(looks_secret(name) || self.is_named(name)) {
            return self.tape(&sys::guest_bytes(value));
        }
        let mut taped = Taped::default();
        taped.push_mark(secret(name));
        taped
    }

    /// Returns the bytes with marks in the place of the root's path and of secrets.
    pub(crate) fn tape(&self, bytes: &[u8]) -> Taped {
        let mut taped = Taped::default();
        let mut from = 0;
        for (range, mark) in self.find(bytes) {
            taped.push(&bytes[from..range.start]);
            taped.push_mark(mark);
            from = range.end;
        }
        taped.push(&bytes[from..]);
        taped
    }

    /// Returns the matches of the patterns. If a pattern has a group, the group is the secret.
    pub(crate) fn find_patterns(&self, bytes: &[u8]) -> Vec<Found> {
        let mut all = Vec::new();
        for (name, regex) in self.patterns.iter() {
            let matches = regex.captures_iter(bytes);
            let secrets = matches.filter_map(|found| Some(found.get(1).or(found.get(0))?.range()));
            let secrets = secrets.filter(|range| !range.is_empty());
            all.extend(secrets.map(|range| (range, Mark::Secret(name.clone()))));
        }
        all
    }

    /// Returns all finds, in order and without overlaps.
    fn find(&self, bytes: &[u8]) -> Vec<Found> {
        let mut all = self.find_patterns(bytes);
        for (value, mark) in &self.values {
            let places = occurrences(bytes, value).map(|start| start..start + value.len());
            let counts = |range: &Range<usize>| *mark != Mark::Root || is_whole_path(bytes, range);
            all.extend(places.filter(counts).map(|range| (range, mark.clone())));
        }
        // Of finds that begin at the same place, the longest comes first.
        all.sort_by_key(|(range, _)| (range.start, Reverse(range.end)));
        let mut kept: Vec<Found> = Vec::new();
        for (range, mark) in all {
            match kept.last_mut() {
                Some((last, of)) if range.start < last.end => match (&*of, &mark) {
                    (_, Mark::Root) => {}
                    (Mark::Root, _) => (*last, *of) = (range, mark),
                    // The name of the first stands for both.
                    _ => last.end = last.end.max(range.end),
                },
                _ => kept.push((range, mark)),
            }
        }
        kept
    }
}

/// The values that replace marks in a replay: they turn a [`Taped`] back into bytes.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    /// The root's path in this session.
    pub(super) root: Option<Vec<u8>>,
    /// The variables that marks may name.
    pub(super) secrets: BTreeMap<OsString, OsString>,
}

impl Marks {
    /// Returns the value of a mark; `None` if this session does not know it.
    pub(crate) fn value(&self, mark: &Mark) -> Option<Vec<u8>> {
        match mark {
            Mark::Root => self.root.clone(),
            Mark::Secret(name) => {
                self.secrets.get(OsStr::new(name)).map(|value| sys::guest_bytes(value))
            }
        }
    }

    /// Returns the bytes with each mark replaced by its value, or by its text if it has none.
    pub(crate) fn expand(&self, taped: &Taped) -> Vec<u8> {
        taped.expand(|mark| self.value(mark).unwrap_or_else(|| mark.to_string().into_bytes()))
    }
}

fn secret(variable: &OsStr) -> Mark {
    Mark::Secret(variable.to_string_lossy().into_owned())
}

/// Returns the offsets at which `value` begins. The occurrences may overlap.
fn occurrences(bytes: &[u8], value: &[u8]) -> impl Iterator<Item = usize> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + memchr::memmem::find(&bytes[from..], value)?;
        from = at + 1;
        Some(at)
    })
}

/// Whether the path at `range` is not part of a longer name.
fn is_whole_path(bytes: &[u8], range: &Range<usize>) -> bool {
    let in_name = |b: &u8| b.is_ascii_alphanumeric() || b"_-".contains(b);
    !bytes[..range.start].last().is_some_and(in_name) && !bytes.get(range.end).is_some_and(in_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubber(root: &str, env: &[(&str, &str)], patterns: &[(&str, &str)]) -> Scrubber {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        let patterns: Vec<_> = patterns.iter().map(owned).collect();
        let mut scrubber = Scrubber::new(&patterns, &["PLAIN".into()]).unwrap();
        scrubber.add_roots([PathBuf::from(root)]);
        scrubber.add_env(env.iter().map(|(k, v)| (OsStr::new(*k), OsStr::new(*v))));
        scrubber
    }

    #[test]
    fn roots_and_secrets_give_way_to_marks() {
        let s = scrubber(
            "/t/root/",
            &[("API_TOKEN", "s3cr3t-value"), ("PLAIN", "x"), ("HOME", "/home/me"), ("A_KEY", "")],
            &[("bearer", "Bearer ([a-z0-9]+)"), ("card", r"\d{4}-\d{4}")],
        );
        let show = |text: &str| s.tape(text.as_bytes()).to_string();
        assert_eq!(show("cat /t/root/a /t/rooted b/t/root"), "cat [root]/a /t/rooted b/t/root");
        assert_eq!(show("--token=s3cr3t-value!"), "--token=[secret:API_TOKEN]!");
        assert_eq!(show("/home/me a x b"), "/home/me a [secret:PLAIN] b");
        assert_eq!(show("Bearer abc9 1234-5678"), "Bearer [secret:bearer] [secret:card]");
        assert_eq!(show("s3cr3t-values3cr3t-value"), "[secret:API_TOKEN][secret:API_TOKEN]");
    }

    #[test]
    fn of_secrets_that_overlap_all_goes() {
        let s =
            scrubber("/r", &[("TOKEN", "abcdef"), ("KEY", "efghij"), ("PASS", "abcdefgh")], &[]);
        assert_eq!(s.tape(b"-abcdefghij-").to_string(), "-[secret:PASS]-");
        let s = scrubber("/a/abcdef", &[("TOKEN", "abcdef")], &[]);
        assert_eq!(s.tape(b"/a/abcdef/x").to_string(), "/a/[secret:TOKEN]/x");
    }

    #[test]
    fn a_secret_variable_is_hidden_however_short_its_value() {
        let s = scrubber("/r", &[("TOKEN", "ab")], &[]);
        assert_eq!(s.tape(b"ab").to_string(), "ab");
        let value = s.tape_value(OsStr::new("TOKEN"), OsStr::new("ab"));
        assert_eq!(value.to_string(), "[secret:TOKEN]");
        assert_eq!(s.tape_value(OsStr::new("TOKEN"), OsStr::new("")).to_string(), "");
        assert_eq!(s.tape_value(OsStr::new("LANG"), OsStr::new("/r/C")).to_string(), "[root]/C");
    }

    #[test]
    fn names_that_look_secret_and_names_that_do_not() {
        for name in ["TOKEN", "npm_token", "AWS_ACCESS_KEY_ID", "MYSQL_PWD", "DB_PASS", "X_AUTH"] {
            assert!(looks_secret(name), "{name}");
        }
        for name in ["PATH", "KEYBOARD", "AUTHOR", "COMPASS", "GIT_AUTHOR_NAME", "OLDPWD", "TERM"] {
            assert!(!looks_secret(name), "{name}");
        }
    }

    #[test]
    fn the_root_directory_is_no_root_to_look_for() {
        assert_eq!(scrubber("/", &[], &[]).tape(b"/ /a").to_string(), "/ /a");
    }

    #[test]
    fn a_pattern_that_is_none_says_so() {
        let patterns = [("p".to_owned(), "(".to_owned())];
        let error = Scrubber::new(&patterns, &[]).unwrap_err().to_string();
        assert!(error.starts_with("the secret `p` has a pattern that is no regular expression"));
    }
}
