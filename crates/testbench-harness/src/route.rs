//! The [`Route`] of a spawn: decided here, purely, and acted upon in `spawn.rs`.
//!
//! The order, from what the command says to what holds for all programs:
//!
//! 1. [`Command::via`](crate::Command::via) with anything but `NotFound`;
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

use crate::config::{NativeFiles, SessionConfig};
use crate::names::tool_name;
use crate::policy::{OnMiss, Policy};
use crate::refusal::{Refusal, Unmatched};
use crate::spec::SpawnSpec;
use crate::sys;
use crate::tape::{Call, Record};
use crate::toolchain::Tool;

/// The way that one spawn goes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Route {
    /// This module runs as a guest.
    Guest(Tool),
    /// The standard library starts the host's own program.
    Native {
        /// The session's tape gets a record of it, also one that is played back.
        record: bool,
    },
    /// This record of the session's tape is played.
    Replay(Box<Record>),
    /// Nothing is started, for this reason.
    Refuse(Refusal),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Route::Guest(tool) => write!(f, "guest {tool}"),
            Route::Native { record: false } => f.write_str("native"),
            Route::Native { record: true } => f.write_str("native, recorded"),
            Route::Replay(record) => {
                write!(f, "replay of spawn {} of the tape ({})", record.sequence, record.route)
            }
            Route::Refuse(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

/// A [`Route`] and every step of the decision; see [`Command::explain`](crate::Command::explain).
///
/// Shown as one line for each step, and the route as the last.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The program, as it was called.
    pub program: OsString,
    /// The steps, in order. The last one decided.
    pub steps: Vec<Step>,
    /// The decision.
    pub route: Route,
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The thing consulted, such as `policy of the session`.
    pub what: String,
    /// The finding, such as `not set`.
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
pub(crate) fn resolve(session: &SessionConfig, spec: &SpawnSpec) -> Route {
    explain(session, spec).route
}

/// Decides as [`resolve`] does, and says why.
pub(crate) fn explain(session: &SessionConfig, spec: &SpawnSpec) -> Explanation {
    let mut decision = Decision { session, spec, steps: Vec::new() };
    let route = decision.route();
    Explanation { program: spec.program.clone(), steps: decision.steps, route }
}

/// A decision that is being made.
struct Decision<'a> {
    session: &'a SessionConfig,
    spec: &'a SpawnSpec,
    /// The steps so far.
    steps: Vec<Step>,
}

impl<'a> Decision<'a> {
    fn note(&mut self, what: impl Into<String>, found: impl Into<String>) {
        self.steps.push(Step { what: what.into(), found: found.into() });
    }

    fn route(&mut self) -> Route {
        let (session, spec) = (self.session, self.spec);
        let program = spec.program.as_os_str();
        let name = tool_name(program, |dir| session.toolchain.claims(dir));
        let key = name.unwrap_or(program);
        self.note("via", shown(spec.via));
        match spec.via {
            Some(Policy::NotFound) | None => {}
            Some(policy) => return self.act(policy, || "`.via(Policy::Deny)`".into()),
        }
        let (said, by) = self.policy_for(key);
        if said == Some(Policy::Deny) {
            return self.act(Policy::Deny, by);
        }

        let unclaimed = unclaimed_path(session, spec, name.is_some());
        if !sys::has_separator(program) {
            self.note("PATH of the child", path_found(session, spec, &unclaimed));
        } else if name.is_none() {
            self.note("toolchain", "not asked, since this is a path");
        }
        if let Some(name) = name.filter(|_| unclaimed.is_none())
            && let Some(tool) = session.toolchain.look_up(name, |dir, found| self.note(dir, found))
        {
            return Route::Guest(tool);
        }
        if said.is_none() {
            self.note("policy for all that is not matched", format!("{:?}", session.unmatched));
        }
        match spec.via.or(said).unwrap_or(session.unmatched) {
            Policy::NotFound => {
                let unmatched = unmatched(session, program, name, unclaimed);
                Route::Refuse(Refusal::NotFound(Box::new(unmatched)))
            }
            policy => self.act(policy, by),
        }
    }

    /// The policy for the program: the session's, else that of the toolchain's manifest; and how it
    /// was written.
    fn policy_for(
        &mut self,
        key: &'a OsStr,
    ) -> (Option<Policy>, impl FnOnce() -> String + use<'a>) {
        let session = self.session;
        let own = session.policies.get(key).copied();
        self.note(format!("policy of the session for `{}`", key.display()), shown(own));
        let entry = session.toolchain.entry(key);
        let manifest = entry.and_then(|(entry, path)| Some((entry.policy?, path)));
        let found = shown(manifest.map(|(policy, _)| policy));
        self.note("policy of the toolchain's manifest", found);
        let by = move || match (own, manifest) {
            (Some(_), _) => format!("`.policy({:?}, Policy::Deny)`", Path::new(key)),
            (None, Some((_, path))) => format!("`policy = \"deny\"` in `{}`", path.display()),
            (None, None) => "`.unmatched(Policy::Deny)`".to_owned(),
        };
        (own.or(manifest.map(|(policy, _)| policy)), by)
    }

    /// Applies a policy to a program that is not looked up; `by` is how a `Deny` was written.
    fn act(&self, policy: Policy, by: impl FnOnce() -> String) -> Route {
        let program = || self.spec.program.clone();
        let session = || self.session.name().to_owned();
        let no_tape = || Refusal::NoTape { program: program(), session: session() };
        match (policy, &self.session.tape) {
            (Policy::Deny | Policy::NotFound, _) => {
                Route::Refuse(Refusal::Denied { program: program(), by: by(), session: session() })
            }
            (Policy::Record | Policy::Replay(_), None) => Route::Refuse(no_tape()),
            (Policy::Native, tape) => {
                self.native(tape.as_ref().is_some_and(|deck| deck.is_recording()))
            }
            (Policy::Record, Some(_)) => self.native(true),
            (Policy::Replay(_), Some(deck)) if deck.is_recording() => self.native(true),
            (Policy::Replay(on_miss), Some(deck)) => {
                match (deck.look(&call(self.session, self.spec)), on_miss) {
                    (Ok(record), _) => Route::Replay(Box::new(record.clone())),
                    (Err(miss), OnMiss::Error) => Route::Refuse(Refusal::NotOnTape(miss)),
                    (Err(_), OnMiss::Record) => self.native(true),
                    (Err(_), OnMiss::Native) => self.native(false),
                }
            }
        }
    }

    fn native(&self, record: bool) -> Route {
        match self.session.files.overlay_root() {
            Some(root) if self.session.native_files == NativeFiles::Refuse => {
                let (program, root) = (self.spec.program.clone(), root.to_owned());
                Route::Refuse(Refusal::NativeOverOverlay { program, root })
            }
            _ => Route::Native { record },
        }
    }
}

/// The call that a spawn makes in a session, as the tape knows it.
pub(crate) fn call<'a>(session: &SessionConfig, spec: &'a SpawnSpec) -> Call<'a> {
    #[expect(clippy::disallowed_methods, reason = "a spawn starts in it, as in std")]
    let process_dir = std::env::current_dir().ok();
    let (said, process_dir) = (spec.current_dir.as_deref(), process_dir.as_deref());
    let cwd = match session.files.cwd(said, process_dir) {
        Ok(Some(cwd)) => cwd,
        // One that cannot be entered makes the start fail; without files it is the host's.
        Ok(None) | Err(_) => {
            let base = process_dir.unwrap_or(Path::new("."));
            sys::guest_path(&said.map_or(base.to_owned(), |said| base.join(said)))
        }
    };
    Call { spec, cwd_in_overlay: session.files.in_overlay(&cwd), cwd }
}

fn shown(policy: Option<Policy>) -> String {
    policy.map_or("not set".to_owned(), |policy| format!("{policy:?}"))
}

/// The child's `PATH`, if the program is a bare name and `PATH` does not lead to the toolchain.
fn unclaimed_path(session: &SessionConfig, spec: &SpawnSpec, is_name: bool) -> Option<OsString> {
    if !is_name || sys::has_separator(&spec.program) {
        return None;
    }
    let path = child_path(session, spec)?;
    let leads = std::env::split_paths(path).any(|dir| session.toolchain.claims(&dir));
    (!leads).then(|| path.to_owned())
}

/// The `PATH` of the child, which decides as it does for a native one; without it, the system's
/// default is `/bin:/usr/bin`.
fn child_path<'a>(session: &'a SessionConfig, spec: &'a SpawnSpec) -> Option<&'a OsStr> {
    let path = OsStr::new("PATH");
    match spec.env.get(path) {
        Some(said) => said.as_deref(),
        None if spec.env_clear => None,
        None => session.env.get(path).map(OsString::as_os_str),
    }
}

fn path_found(session: &SessionConfig, spec: &SpawnSpec, unclaimed: &Option<OsString>) -> String {
    match (child_path(session, spec), unclaimed) {
        (None, _) => "not set, so the toolchain is asked".to_owned(),
        (Some(path), None) => format!("`{}`, so the toolchain is asked", path.display()),
        (Some(path), Some(_)) => {
            format!("`{}`, so the toolchain is not asked", path.display())
        }
    }
}

fn unmatched(
    session: &SessionConfig,
    program: &OsStr,
    name: Option<&OsStr>,
    path: Option<OsString>,
) -> Unmatched {
    Unmatched {
        program: program.to_owned(),
        toolchain: session.toolchain.describe(),
        has: session.toolchain.names(),
        nearest: name.and_then(|name| session.toolchain.nearest(name)),
        alias: name.and_then(|name| session.toolchain.entry(name)?.0.alias.clone()),
        claims: session.toolchain.claimed(),
        path,
    }
}
