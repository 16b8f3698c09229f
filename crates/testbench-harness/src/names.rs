//! Names of programs: the tool that a path names, versions, and the core utilities.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::sys;

/// Of `all` names, the one that is the highest version of `name`: `python` and `python3` are both
/// `python-3.12`, and `python3.1` is `python-3.1.4`, but not `python-3.12`. Without a version in
/// `name` there must be a dash, or `bzip` would be `bzip2`.
pub(crate) fn best_version<'a>(name: &OsStr, all: &'a [OsString]) -> Option<&'a OsStr> {
    let (wanted_stem, wanted) = split(name.to_str()?);
    let fitting = all.iter().filter_map(|candidate| {
        let (stem, version) = split(candidate.to_str()?);
        let dashed = candidate.to_str()?.as_bytes().get(stem.len()) == Some(&b'-');
        let fits = stem == wanted_stem
            && !version.is_empty()
            && (dashed || !wanted.is_empty())
            && version.starts_with(&wanted);
        fits.then_some((version, candidate))
    });
    // Of equal versions (`a3` and `a-3`) the first name, whatever the order of the directory.
    let best = fitting.max_by(|(a, x), (b, y)| a.cmp(b).then_with(|| y.cmp(x)));
    best.map(|(_, name)| name.as_os_str())
}

/// A part of a version: the number of its digits without leading zeros, and these. Such pairs are
/// ordered as the numbers are, of whatever size.
type Number<'a> = (usize, &'a str);

/// `python-3.12` is `python` and 3, 12; without a version there are no numbers.
fn split(name: &str) -> (&str, Vec<Number<'_>>) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let version = &name[stem.len()..];
    let stem = stem.strip_suffix('-').unwrap_or(stem);
    if stem.is_empty() || version.split('.').any(str::is_empty) {
        return (name, Vec::new());
    }
    let digits = version.split('.').map(|part| part.trim_start_matches('0'));
    (stem, digits.map(|digits| (digits.len(), digits)).collect())
}

/// The multicall module that has the program of this name, if it is one of the core utilities.
pub(crate) fn core_utility(name: &OsStr) -> Option<&'static OsStr> {
    let name = name.to_str()?;
    let is_one = CORE_UTILITIES.split(' ').any(|utility| utility == name);
    is_one.then_some(OsStr::new("coreutils"))
}

/// The programs of the GNU core utilities: the names under which a module `coreutils` is called,
/// unless a manifest says otherwise.
const CORE_UTILITIES: &str = "\
    [ arch b2sum base32 base64 basename basenc cat chcon chgrp chmod chown chroot cksum comm \
    cp csplit cut date dd df dir dircolors dirname du echo env expand expr factor false fmt \
    fold groups head hostid hostname id install join kill link ln logname ls md5sum mkdir \
    mkfifo mknod mktemp more mv nice nl nohup nproc numfmt od paste pathchk pinky pr printenv \
    printf ptx pwd readlink realpath rm rmdir runcon seq sha1sum sha224sum sha256sum sha384sum \
    sha512sum shred shuf sleep sort split stat stdbuf stty sum sync tac tail tee test timeout \
    touch tr true truncate tsort tty uname unexpand uniq unlink vdir wc yes";

/// The name under which a toolchain may know `program`: a bare name itself, or the last component
/// of an absolute path directly under a directory for which the toolchain stands in.
pub(crate) fn tool_name(program: &OsStr, claims: impl Fn(&Path) -> bool) -> Option<&OsStr> {
    if !sys::has_separator(program) {
        return (!program.is_empty()).then_some(program);
    }
    let path = Path::new(program);
    let claimed = path.parent().is_some_and(claims);
    // A trailing slash asks for a directory, which no program is.
    let name = path.file_name().filter(|_| claimed)?;
    program.as_encoded_bytes().ends_with(name.as_encoded_bytes()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::CLAIMS;

    fn best(name: &str, all: &[&str]) -> Option<String> {
        let all: Vec<OsString> = all.iter().map(OsString::from).collect();
        best_version(OsStr::new(name), &all).map(|name| name.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_highest_version_that_fits() {
        let all = ["python-3.9", "python-3.12", "python-2.7", "perl5", "pythons-4", "x86", "a-"];
        assert_eq!(best("python", &all).as_deref(), Some("python-3.12"));
        assert_eq!(best("python3", &all).as_deref(), Some("python-3.12"));
        assert_eq!(best("python-3", &all).as_deref(), Some("python-3.12"));
        assert_eq!(best("python3.9", &all).as_deref(), Some("python-3.9"));
        assert_eq!(best("python2", &all).as_deref(), Some("python-2.7"));
        assert_eq!(best("perl5", &["perl5.36"]).as_deref(), Some("perl5.36"));
        for none in
            ["python3.1", "python4", "pytho", "python-", "perl", "a", "b", "x", "", "3", "python3."]
        {
            assert_eq!(best(none, &all), None, "{none}");
        }
        assert_eq!(best("a", &["a-1.9", "a-1.10"]).as_deref(), Some("a-1.10"));
        assert_eq!(best("a3", &["a-3.1", "a3.1"]).as_deref(), Some("a-3.1"));
        assert_eq!(best("a3", &["a3.1", "a-3.1"]).as_deref(), Some("a-3.1"));
    }

    #[test]
    fn core_utilities_are_found() {
        assert_eq!(CORE_UTILITIES.split(' ').count(), 105);
        assert_eq!(core_utility(OsStr::new("ls")), Some(OsStr::new("coreutils")));
        assert_eq!(core_utility(OsStr::new("[")), Some(OsStr::new("coreutils")));
        assert_eq!(core_utility(OsStr::new("git")), None);
    }

    fn name_of(program: &str) -> Option<&str> {
        let claims = |dir: &Path| CLAIMS.iter().any(|claim| dir == Path::new(claim));
        tool_name(OsStr::new(program), claims).map(|name| name.to_str().unwrap())
    }

    #[test]
    fn only_bare_names_and_claimed_directories_name_a_tool() {
        assert_eq!(name_of("cat"), Some("cat"));
        assert_eq!(name_of("/bin/cat"), Some("cat"));
        assert_eq!(name_of("/usr/bin//cat"), Some("cat"));
        for path in [
            "",
            "./cat",
            "../cat",
            "bin/cat",
            "/cat",
            "/usr/cat",
            "/usr/bin/x/cat",
            "/usr/bin/",
            "/usr/bin/cat/",
            "/usr/bin/..",
            "/opt/bin/cat",
            "/usr/bin/../../etc/passwd",
        ] {
            assert_eq!(name_of(path), None, "{path}");
        }
    }
}
