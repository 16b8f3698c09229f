//! What was tried and what came of it, kind by kind: printed, and checked for what must occur.

use std::collections::BTreeMap;

use crate::model::outcome::UNFIT_FOR_GIT;

/// Counts of outcomes.
#[derive(Default)]
pub(crate) struct Table {
    rows: BTreeMap<&'static str, BTreeMap<String, u32>>,
    /// Of whole sequences.
    events: BTreeMap<&'static str, u32>,
}

/// What must have occurred.
pub(crate) struct Wanted {
    /// Of each kind.
    pub(crate) least_of_each: u32,
    /// Whether each kind must have failed with each of its errors.
    pub(crate) every_error: bool,
    /// Whether permission bits bind.
    pub(crate) denials: bool,
    /// Whether names are exchanged.
    pub(crate) renames: bool,
    /// Whether files are held open.
    pub(crate) holds: bool,
}

/// Every kind, with every error that it can give to root, or to the owner of the files, on
/// trees of files, directories and symlinks. The two kinds of `EINVAL` are those of the system and
/// of std, which has no number.
const ERRORS: &[(&str, &str)] = &[
    ("write", "ENOENT ENOTDIR EISDIR ELOOP ENAMETOOLONG"),
    ("append", "ENOENT ENOTDIR EISDIR ELOOP ENAMETOOLONG"),
    ("write_at", "ENOENT ENOTDIR EISDIR ELOOP ENAMETOOLONG"),
    ("set_len", "ENOENT ENOTDIR EISDIR ELOOP ENAMETOOLONG"),
    ("create_new", "EEXIST ENOENT ENOTDIR EISDIR ELOOP ENAMETOOLONG"),
    ("read", "ENOENT ENOTDIR EISDIR ELOOP ENAMETOOLONG"),
    ("create_dir", "EEXIST ENOENT ENOTDIR ELOOP ENAMETOOLONG"),
    ("create_dir+mode", "EEXIST ENOENT ENOTDIR ELOOP ENAMETOOLONG"),
    ("create_dir_all", "EEXIST ENOTDIR ELOOP ENAMETOOLONG"),
    ("remove_file", "ENOENT ENOTDIR EISDIR ELOOP ENAMETOOLONG"),
    ("remove_dir", "ENOENT ENOTDIR ENOTEMPTY EINVAL ELOOP ENAMETOOLONG"),
    ("remove_dir_all", "ENOENT ENOTDIR ELOOP ENAMETOOLONG"),
    ("rename", "ENOENT ENOTDIR EISDIR ENOTEMPTY EINVAL EBUSY ELOOP ENAMETOOLONG"),
    ("rename_noreplace", "EEXIST ENOENT ENOTDIR EINVAL ELOOP ENAMETOOLONG"),
    ("rename_exchange", "ENOENT ENOTDIR EINVAL ELOOP ENAMETOOLONG"),
    ("hard_link", "EEXIST ENOENT ENOTDIR EPERM ELOOP ENAMETOOLONG"),
    ("symlink", "EEXIST ENOENT ENOTDIR ELOOP ENAMETOOLONG"),
    ("read_link", "ENOENT ENOTDIR EINVAL ELOOP ENAMETOOLONG"),
    ("copy", "ENOENT ENOTDIR EISDIR InvalidInput ELOOP ENAMETOOLONG"),
    ("chmod", "ENOENT ENOTDIR ELOOP ENAMETOOLONG"),
    ("set_times", "ENOENT ENOTDIR ELOOP ENAMETOOLONG"),
    ("stat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG"),
    ("lstat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG"),
    ("exists", "ENOTDIR ELOOP ENAMETOOLONG"),
    ("read_dir", "ENOENT ENOTDIR ELOOP ENAMETOOLONG"),
    ("canonicalize", "ENOENT ENOTDIR ELOOP ENAMETOOLONG"),
    ("open", "EEXIST ENOENT ENOTDIR EISDIR InvalidInput ELOOP ENAMETOOLONG"),
    ("try_clone", ""),
    ("close", ""),
    ("f.read", "EBADF EISDIR"),
    ("f.write", "EBADF"),
    ("f.seek", "EINVAL"),
    ("f.read_at", "EBADF EISDIR"),
    ("f.write_at", "EBADF"),
    ("f.set_len", "EINVAL"),
    ("f.metadata", ""),
    ("f.chmod", ""),
    ("f.set_times", ""),
    ("f.sync", ""),
];

/// The kinds that fail with `EACCES` too, for all users but root.
const DENIED: &str = "write append write_at set_len create_new read create_dir create_dir+mode \
    create_dir_all remove_file remove_dir remove_dir_all rename rename_noreplace \
    rename_exchange hard_link symlink read_link copy \
    chmod set_times stat lstat exists read_dir canonicalize open";

impl Table {
    /// What the plain tree answered, and whether it was refused since it leads out of the overlay.
    pub(crate) fn count(&mut self, kind: &'static str, outcome: &Result<String, String>) {
        let outcome = match outcome {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.split(' ').next_back().map(name_of).unwrap_or_default(),
        };
        *self.rows.entry(kind).or_default().entry(outcome).or_default() += 1;
    }

    pub(crate) fn event(&mut self, what: &'static str) {
        *self.events.entry(what).or_default() += 1;
    }

    pub(crate) fn operations(&self) -> u32 {
        self.rows.values().flat_map(BTreeMap::values).sum()
    }

    pub(crate) fn print(&self, title: &str) {
        let mut text = format!("== {title}\n");
        for (kind, outcomes) in &self.rows {
            let rest: Vec<String> = outcomes.iter().map(|(o, n)| format!("{o} {n}")).collect();
            let sum: u32 = outcomes.values().sum();
            text += &format!("{kind:>16} {sum:>5}: {}\n", rest.join(", "));
        }
        let (ok, all) = (self.succeeded(), self.operations());
        text += &format!("{ok} of {all} operations succeed ({} %); ", ok * 100 / all.max(1));
        let events: Vec<String> = self.events.iter().map(|(e, n)| format!("{n} {e}")).collect();
        text += &events.join(", ");
        eprintln!("{text}");
    }

    pub(crate) fn check(&self, wanted: &Wanted) {
        let mut lacking = Vec::new();
        for (kind, errors) in ERRORS {
            let outcomes = self.rows.get(kind).cloned().unwrap_or_default();
            let sum: u32 = outcomes.values().sum();
            let of_held = kind.starts_with("f.") || matches!(*kind, "open" | "try_clone" | "close");
            if kind.starts_with("rename_") && !wanted.renames {
                continue;
            }
            if of_held && !wanted.holds {
                continue;
            }
            if sum < wanted.least_of_each {
                lacking.push(format!("only {sum} `{kind}`"));
            }
            if !outcomes.contains_key("ok") && wanted.every_error {
                lacking.push(format!("no `{kind}` that succeeds"));
            }
            let denial = wanted.denials && DENIED.split_whitespace().any(|denied| denied == *kind);
            let errors = errors.split_whitespace().chain(denial.then_some("EACCES"));
            for error in errors.filter(|_| wanted.every_error) {
                if !outcomes.contains_key(error) {
                    lacking.push(format!("no `{kind}` that fails with {error}"));
                }
            }
        }
        assert!(lacking.is_empty(), "the generator misses something: {}", lacking.join("; "));
        let events = |what| self.events.get(what).copied().unwrap_or(0);
        let (unfit, commits) = (events(UNFIT_FOR_GIT), events("commits"));
        assert!(
            unfit <= 2 + commits / 20,
            "git takes too few of the patches: {unfit} of {commits} not"
        );
        let (ok, all) = (self.succeeded(), self.operations());
        assert!(ok * 100 >= all * 40, "the generator mostly fails: {ok} of {all} succeed");
    }

    fn succeeded(&self) -> u32 {
        self.rows.values().filter_map(|outcomes| outcomes.get("ok")).sum()
    }
}

/// The name of an error number; what has none stays.
fn name_of(number: &str) -> String {
    let named = number.parse().ok().map(|number: i32| {
        testbench_overlay::Errno::from(std::io::Error::from_raw_os_error(number)).name().to_owned()
    });
    named.unwrap_or_else(|| number.to_owned())
}
