//! [`SessionConfig`]: what a session is made of, as one value.
//!
//! [`TestbenchBuilder`](crate::TestbenchBuilder) fills it in, [`Testbench`](crate::Testbench) keeps
//! it, and all threads of the session read it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use testbench_clock::Seed;
use testbench_wasi::Limits;

use crate::files::Files;
use crate::policy::Policy;
use crate::tape::Deck;
use crate::toolchain::Toolchain;

/// Everything that decides what a spawn of the session does, other than its clock.
#[derive(Debug, Default)]
pub(crate) struct SessionConfig {
    /// As the builder was told, else that of the thread which enters.
    pub(crate) name: Option<String>,
    pub(crate) seed: Seed,
    pub(crate) toolchain: Toolchain,
    pub(crate) files: Files,
    pub(crate) policies: BTreeMap<OsString, Policy>,
    /// The policy for programs that neither the toolchain nor `policies` has.
    pub(crate) unmatched: Policy,
    /// The environment of every guest, ordered by key.
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) limits: Limits,
    pub(crate) native_files: NativeFiles,
    pub(crate) tape: Option<Arc<Deck>>,
    /// Spawns on threads without a session are refused meanwhile.
    pub(crate) strict_threads: bool,
}

impl SessionConfig {
    /// The session's name in reports and errors.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("unnamed")
    }
}

/// Which files a native program sees in a session with an overlay, which is in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NativeFiles {
    /// None: the program is not started, and the error says what can be done.
    #[default]
    Refuse,
    /// A copy. The overlay is written out into a temporary directory, the program runs there, and
    /// its changes are taken over into the overlay at its end.
    ///
    /// The program's working directory, and every path in its arguments and environment that
    /// begins with the overlay's root, is that of the copy. It does not see what other children
    /// change while it runs, and they see its changes at its end. It is a program of the host and
    /// can write elsewhere, too: nothing keeps it from that.
    Copy,
}
