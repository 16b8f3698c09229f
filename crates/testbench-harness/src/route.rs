//! Which way a spawn goes: decided here, purely, and acted upon in `spawn.rs`.
//!
//! The order, from what was said about this very command to what was said about all:
//!
//! 1. [`Command::via`] with anything but `NotFound`;
//! 2. a policy for the program that is `Deny`: the session's, else that of the toolchain's
//!    manifest;
//! 3. the toolchain, if the child's `PATH` leads to it: a bare name is looked up if `PATH` holds a
//!    directory for which the toolchain stands in (`/bin` and `/usr/bin`, unless its manifest says
//!    otherwise) or is not set, and an absolute path if it lies directly in one;
//! 4. what is to happen when nothing matches: the policy for the program, else the session's for
//!    all ([`TestbenchBuilder::unmatched`]), else [`Policy::NotFound`].
//!
//! [`TestbenchBuilder::unmatched`]: crate::TestbenchBuilder::unmatched

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

use crate::bench::Bench;
use crate::refusal::{Refusal, Unmatched};
use crate::tape::{Call, OnMiss, Record};
use crate::{Command, Tool, sys};

/// What to do about a program that the toolchain does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// It does not exist, whatever the host's `PATH` holds: [`std::io::ErrorKind::NotFound`].
    #[default]
    NotFound,
    /// It may not be started: [`std::io::ErrorKind::PermissionDenied`], even if the toolchain has
    /// it.
    Deny,
    /// The host's own program runs, on the real clock.
    Native,
    /// The host's own program runs, and what it did is put onto the session's tape.
    Record,
    /// What the tape says happens, and no program runs. In a session that records its tape this is
    /// `Record`.
    Replay(OnMiss),
}

/// The way that one spawn goes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Route {
    /// This module runs as a guest.
    Guest(Tool),
    /// The standard library starts the host's own program.
    Native,
    /// What this entry of the session's tape says is done again.
    Replay(Box<Record>),
    /// Nothing is started, and this is why.
    Refuse(Refusal),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Route::Guest(tool) => write!(f, "guest {tool}"),
            Route::Native => f.write_str("native"),
            Route::Replay(record) => {
                write!(f, "replay of spawn {} of the tape ({})", record.sequence, record.route)
            }
            Route::Refuse(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

/// A [`Route`] and every step of the decision; see [`Command::explain`].
///
/// Shown as one line for each step, and the route as the last.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The program, as it was called.
    pub program: OsString,
    /// What was looked at, in order. The last one decided.
    pub steps: Vec<Step>,
    /// The decision.
    pub route: Route,
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// What was looked at, such as `policy of the session`.
    pub what: String,
    /// What was found, such as `not set`.
    pub found: String,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}`", self.program.display())?;
        for Step { what, found } in &self.steps {
            writeln!(f, "  {what}: {found}")?;
        }
        write!(f, "=> {}", self.route)
    }
}

/// Decides, and starts nothing.
pub(crate) fn resolve(bench: &Bench, command: &Command) -> Route {
    decide(bench, command, &mut None)
}

/// Decides as [`resolve`] does, and says why.
pub(crate) fn explain(bench: &Bench, command: &Command) -> Explanation {
    let mut steps = Some(Vec::new());
    let route = decide(bench, command, &mut steps);
    let (program, steps) = (command.program.clone(), steps.unwrap_or_default());
    Explanation { program, steps, route }
}

/// The steps so far; `None` where nobody asks for them.
type Steps = Option<Vec<Step>>;

fn note(steps: &mut Steps, what: impl FnOnce() -> String, found: impl FnOnce() -> String) {
    if let Some(steps) = steps {
        steps.push(Step { what: what(), found: found() });
    }
}

fn decide(bench: &Bench, command: &Command, steps: &mut Steps) -> Route {
    let program = command.program.as_os_str();
    let name = tool_name(program, |dir| bench.toolchain.claims(dir));
    let key = name.unwrap_or(program);
    let shown = |policy: Option<Policy>| policy.map_or("not set".to_owned(), |p| format!("{p:?}"));
    note(steps, || "via".into(), || shown(command.via));
    match command.via {
        Some(Policy::NotFound) | None => {}
        Some(policy) => return act(bench, command, policy, "`.via(Policy::Deny)`".into()),
    }

    let session = bench.policies.get(key).copied();
    note(steps, || format!("policy of the session for `{}`", key.display()), || shown(session));
    let manifest =
        bench.toolchain.entry(key).and_then(|(entry, path)| Some((entry.policy()?, path)));
    note(
        steps,
        || "policy of the toolchain's manifest".into(),
        || shown(manifest.map(|(policy, _)| policy)),
    );
    let (said, by) = match (session, manifest) {
        (Some(policy), _) => {
            (Some(policy), format!("`.policy({:?}, Policy::Deny)`", Path::new(key)))
        }
        (None, Some((policy, path))) => {
            (Some(policy), format!("`policy = \"deny\"` in `{}`", path.display()))
        }
        (None, None) => (None, "`.unmatched(Policy::Deny)`".to_owned()),
    };
    if said == Some(Policy::Deny) {
        return act(bench, command, Policy::Deny, by);
    }

    let unclaimed = unclaimed_path(bench, command, name.is_some());
    if !sys::has_separator(program) {
        note(steps, || "PATH of the child".into(), || path_found(bench, command, &unclaimed));
    } else if name.is_none() {
        note(steps, || "toolchain".into(), || "not asked, since this is a path".into());
    }
    if let Some(name) = name.filter(|_| unclaimed.is_none()) {
        let why = |place: String, found| note(steps, || place, || found);
        if let Some(tool) = bench.toolchain.look_up(name, why) {
            return Route::Guest(tool);
        }
    }
    if said.is_none() {
        let unmatched = bench.unmatched;
        note(steps, || "policy for all that is not matched".into(), || format!("{unmatched:?}"));
    }
    match command.via.or(said).unwrap_or(bench.unmatched) {
        Policy::NotFound => {
            let unmatched = unmatched(bench, program, name, unclaimed);
            Route::Refuse(Refusal::NotFound(Box::new(unmatched)))
        }
        policy => act(bench, command, policy, by),
    }
}

/// Does what a policy says about a program that is not looked up.
fn act(bench: &Bench, command: &Command, policy: Policy, by: String) -> Route {
    let program = command.program.as_os_str();
    let (name, session) = (program.to_owned(), bench.name.clone());
    match (policy, &bench.tape) {
        (Policy::Native, _) | (Policy::Record, Some(_)) => native(bench, program),
        (Policy::Record | Policy::Replay(_), None) => {
            Route::Refuse(Refusal::NoTape { program: name, session })
        }
        (Policy::Replay(_), Some(deck)) if deck.is_recording() => native(bench, program),
        (Policy::Replay(on_miss), Some(deck)) => {
            match (deck.look(&call(bench, command)), on_miss) {
                (Ok(record), _) => Route::Replay(Box::new(record.clone())),
                (Err(miss), OnMiss::Error) => Route::Refuse(Refusal::NotOnTape(miss)),
                (Err(_), OnMiss::Record | OnMiss::Native) => native(bench, program),
            }
        }
        (Policy::Deny | Policy::NotFound, _) => {
            Route::Refuse(Refusal::Denied { program: name, by, session })
        }
    }
}

/// The call that a command makes in a session.
pub(crate) fn call(bench: &Bench, command: &Command) -> Call {
    #[expect(clippy::disallowed_methods, reason = "a spawn starts in it, as in std")]
    let process_dir = std::env::current_dir().ok();
    let (said, process_dir) = (command.current_dir.as_deref(), process_dir.as_deref());
    let cwd = match bench.files.cwd(said, process_dir) {
        Ok(Some(cwd)) => cwd,
        // One that cannot be entered makes the start fail; without files it is the host's.
        Ok(None) | Err(_) => {
            let base = process_dir.unwrap_or(Path::new("."));
            sys::guest_path(&said.map_or(base.to_owned(), |said| base.join(said)))
        }
    };
    let argv = [command.get_arg0()].into_iter().chain(command.get_args());
    Call {
        program: command.program.clone(),
        argv: argv.map(OsStr::to_owned).collect(),
        env: command.env.clone(),
        env_clear: command.env_clear,
        cwd_in_overlay: bench.files.in_overlay(&cwd),
        cwd,
    }
}

/// Whether a program that runs natively is to be put onto the tape that is played.
pub(crate) fn is_recorded(bench: &Bench, command: &Command) -> bool {
    let name = tool_name(&command.program, |dir| bench.toolchain.claims(dir));
    let key = name.unwrap_or(&command.program);
    let manifest = || bench.toolchain.entry(key).and_then(|(entry, _)| entry.policy());
    let via = command.via.filter(|policy| *policy != Policy::NotFound);
    let said = via.or_else(|| bench.policies.get(key).copied()).or_else(manifest);
    matches!(said.unwrap_or(bench.unmatched), Policy::Record | Policy::Replay(OnMiss::Record))
}

fn native(bench: &Bench, program: &OsStr) -> Route {
    match bench.files.overlay_root() {
        Some(root) if !bench.copies_files_for_natives => {
            let (program, root) = (program.to_owned(), root.to_owned());
            Route::Refuse(Refusal::NativeOverOverlay { program, root })
        }
        _ => Route::Native,
    }
}

/// The child's `PATH`, if the program is a bare name and `PATH` does not lead to the toolchain.
fn unclaimed_path(bench: &Bench, command: &Command, is_name: bool) -> Option<OsString> {
    if !is_name || sys::has_separator(&command.program) {
        return None;
    }
    let path = child_path(bench, command)?;
    let leads = std::env::split_paths(path).any(|dir| bench.toolchain.claims(&dir));
    (!leads).then(|| path.to_owned())
}

/// The `PATH` of the child, which decides as it does for a native one; without it, the system's
/// default is `/bin:/usr/bin`.
fn child_path<'a>(bench: &'a Bench, command: &'a Command) -> Option<&'a OsStr> {
    let path = OsStr::new("PATH");
    match command.env.get(path) {
        Some(said) => said.as_deref(),
        None if command.env_clear => None,
        None => bench.env.get(path).map(OsString::as_os_str),
    }
}

fn path_found(bench: &Bench, command: &Command, unclaimed: &Option<OsString>) -> String {
    match (child_path(bench, command), unclaimed) {
        (None, _) => "not set, so the toolchain is asked".to_owned(),
        (Some(path), None) => format!("`{}`, so the toolchain is asked", path.display()),
        (Some(path), Some(_)) => {
            format!("`{}`, so the toolchain is not asked", path.display())
        }
    }
}

fn unmatched(
    bench: &Bench,
    program: &OsStr,
    name: Option<&OsStr>,
    path: Option<OsString>,
) -> Unmatched {
    Unmatched {
        program: program.to_owned(),
        toolchain: bench.toolchain.describe(),
        has: bench.toolchain.names(),
        nearest: name.and_then(|name| bench.toolchain.nearest(name)),
        alias: name.and_then(|name| bench.toolchain.entry(name)?.0.alias.clone()),
        claims: bench.toolchain.claimed(),
        path,
    }
}

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
