//! One test for three kinds of children: a guest, a native program as a child of a session, and a
//! process of the standard library's, started by the same [`Command`] on a thread without a
//! session. The last one is the control: what it does is what is to be expected of the others.
//!
//! All of them run `act` (`guests/act.c`), which does what its arguments say, compiled for WASI
//! and for the host from the same source.

#![allow(dead_code, unused_macros, unused_imports, reason = "no test needs all of it")]

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsStr;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::OnceLock;

use tempfile::TempDir;
use testbench_harness::{Command, NativeFiles, Policy, Session};

use crate::common::{self, Guard};

/// Which kind of child a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Guest,
    NativeChild,
    Std,
}

/// Makes the children of one test.
pub(crate) struct Subject {
    kind: Kind,
    root: PathBuf,
    /// Before the directory, which it is laid over.
    session: Option<Session>,
    _dir: TempDir,
}

/// One test of upstream: its name, and why we have none for it, if we have none.
pub(crate) struct Row {
    pub(crate) upstream: &'static str,
    pub(crate) left_out: Option<&'static str>,
}

/// Makes of each name in `module { name; }` a test for each kind of child, which calls the function
/// of that name in that module, and of all of them the constant `ROWS`. A `name => "reason";` is
/// left out.
macro_rules! table {
    ($($module:ident { $($name:ident $(=> $reason:literal)? ;)* })*) => {
        const ROWS: &[$crate::subject::Row] = &[$($($crate::subject::Row {
            upstream: concat!(stringify!($module), "::", stringify!($name)),
            left_out: [$($reason,)?].first().copied(),
        },)*)*];
        $crate::subject::tests!(guest Guest $($module { $($name $($reason)?;)* })*);
        $crate::subject::tests!(
            native_child NativeChild $($module { $($name $($reason)?;)* })*
        );
        $crate::subject::tests!(std Std $($module { $($name $($reason)?;)* })*);
    };
}
pub(crate) use table;

/// The tests of a [`table`] for one kind of child.
macro_rules! tests {
    ($column:ident $kind:ident $($module:ident { $($name:ident $($reason:literal)?;)* })*) => {
        mod $column {
            $(mod $module { $($crate::subject::test!($kind $module $name $($reason)?);)* })*
        }
    };
}
pub(crate) use tests;

/// One test of a [`table`].
macro_rules! test {
    ($kind:ident $module:ident $name:ident $reason:literal) => {};
    ($kind:ident $module:ident $name:ident) => {
        #[test]
        fn $name() {
            let kind = $crate::subject::Kind::$kind;
            $crate::subject::run(kind, super::super::$module::$name);
        }
    };
}
pub(crate) use test;

/// Runs a test with one kind of child, if there can be one here.
pub(crate) fn run(kind: Kind, test: impl FnOnce(&Subject)) {
    let _guard = Guard::new("a test of children");
    if kind == Kind::Guest || native_act().is_some() {
        test(&Subject::new(kind));
    }
}

impl Subject {
    fn new(kind: Kind) -> Subject {
        let dir = common::dir_with(&[]);
        let root = dir.path().canonicalize().unwrap();
        let session = (kind != Kind::Std).then(|| {
            let bench = common::bench(&root).native_files(NativeFiles::Copy);
            bench.pass_env(["CARGO_MANIFEST_DIR"]).build().unwrap().enter()
        });
        Subject { kind, root, session, _dir: dir }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The session's, if there is one.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// A directory for its files, which the children see, too.
    pub(crate) fn dir(&self) -> &Path {
        &self.root
    }

    /// A program that this kind of child would be found under.
    pub(crate) fn program(&self, name: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(name);
        if self.kind == Kind::NativeChild {
            command.via(Policy::Native);
        }
        command
    }

    /// `act` with these words.
    pub(crate) fn act<I>(&self, words: I) -> Command
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = match self.kind {
            Kind::Guest => self.program("act"),
            Kind::NativeChild | Kind::Std => self.program(native_act().unwrap()),
        };
        command.args(words);
        command
    }

    /// The directory in which `act` is found by a look into `PATH`.
    pub(crate) fn bin(&self) -> PathBuf {
        match self.kind {
            Kind::Guest => PathBuf::from("/usr/bin"),
            Kind::NativeChild | Kind::Std => native_act().unwrap().parent().unwrap().to_owned(),
        }
    }
}

/// `act` for the host; `None`, with a word about it, where there is no C compiler.
pub(crate) fn native_act() -> Option<&'static Path> {
    static ACT: OnceLock<Option<PathBuf>> = OnceLock::new();
    ACT.get_or_init(|| match compile() {
        Ok(path) => Some(path),
        Err(why) => {
            // Past the capture of the test runner: a test that did not run must be seen.
            let notice = format!("SKIPPED: tests with native children: {why}\n");
            std::io::stderr().write_all(notice.as_bytes()).unwrap();
            None
        }
    })
    .as_deref()
}

fn compile() -> Result<PathBuf, String> {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let mut hasher = DefaultHasher::new();
    for source in ["act.c", "common.h"] {
        fs::read(guests.join(source)).unwrap().hash(&mut hasher);
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("act-{:x}", hasher.finish()));
    let act = dir.join("act");
    if act.exists() {
        return Ok(act);
    }
    fs::create_dir_all(&dir).unwrap();
    // Other processes may be at the same: each compiles a file of its own and puts it in place.
    let made = tempfile::Builder::new().prefix("act-").tempfile_in(&dir).unwrap().into_temp_path();
    let compiler = process::Command::new("cc")
        .args(["-std=gnu17", "-D_GNU_SOURCE", "-O1", "-w", "-o"])
        .args([made.as_os_str(), guests.join("act.c").as_os_str()])
        .output()
        .map_err(|error| format!("the C compiler `cc` cannot be started: {error}"))?;
    assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
    made.persist(&act).unwrap();
    Ok(act)
}
