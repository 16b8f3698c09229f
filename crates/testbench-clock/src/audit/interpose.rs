//! For interposers of the C library's clock functions, such as the crate `testbench-interpose`.
//!
//! An interposer calls [`enable`] once, before the program's `main`. In every interposed function it
//! asks [`is_wanted`], and if so finds out who called it and calls [`count`]. Both are safe in a
//! signal handler: they take no lock and do not allocate. Names are put to the return addresses
//! later, when an [`Audit`](super::Audit) is asked for its leaks.
//!
//! ```
//! use testbench_clock::audit::{Source, interpose};
//! use testbench_clock::{Lifetime, MockClock, install_for};
//!
//! // Once, before `main`. A real one looks the addresses up in the debug information.
//! interpose::enable(|addresses| Some(format!("somewhere ({:#x})", addresses[0])));
//!
//! let session = Lifetime::new("docs");
//! let _installed = install_for(MockClock::builder().build(), &session);
//! // In the interposed `clock_gettime`:
//! if interpose::is_wanted() {
//!     interpose::count(Source::InstantNow, &[0x1234, 0x5678]);
//! }
//! assert_eq!(session.audit().leaks()[0].site, "somewhere (0x1234)");
//! ```

use super::sites::{Audited, Lease, Source, Table, set_enabled};
use super::unattributed;
use crate::scope;
use std::sync::OnceLock;

pub use super::sites::FRAMES_MAX;

/// Puts a name to a call by its return addresses, innermost first: `path::of::function (file:line)`.
/// `None` if the call is accounted for otherwise, as those of [`real`](super::real) are.
///
/// ```
/// use testbench_clock::audit::interpose::NameSite;
///
/// const BY_ADDRESS: NameSite = |addresses| Some(format!("{:#x}", addresses.first()?));
/// assert_eq!(BY_ADDRESS(&[16]).as_deref(), Some("0x10"));
/// assert_eq!(BY_ADDRESS(&[]), None);
/// ```
pub type NameSite = fn(&[usize]) -> Option<String>;

/// Has sessions keep counters from now on, and has `name` put names to what is counted. Only the
/// first call in a process has an effect.
///
/// Clocks that were installed before are not audited by interposed functions.
///
/// ```
/// use testbench_clock::audit::interpose;
///
/// fn name(_addresses: &[usize]) -> Option<String> {
///     Some("no debug information".to_owned())
/// }
/// interpose::enable(name);
/// ```
pub fn enable(name: NameSite) {
    NAME.get_or_init(|| name);
    set_enabled();
}

/// Whether a use of real time on this thread would be counted. Costs a few loads; safe in a signal
/// handler.
#[inline]
pub fn is_wanted() -> bool {
    table_here().is_some()
}

/// Counts a use of real time by the code on the stack, as far as it is given: return addresses,
/// innermost first, the first [`FRAMES_MAX`] of which are kept. Safe in a signal handler.
///
/// It counts for the session whose mock clock is installed on this thread. On threads without any
/// clock it counts as [`unattributed`], if some session of the process has a mock clock.
pub fn count(source: Source, return_addresses: &[usize]) {
    if let Some(table) = table_here() {
        table.count(source, return_addresses);
    }
}

#[inline]
fn table_here() -> Option<&'static Table> {
    match scope::audited() {
        Audited::Mock(table) => Some(table),
        Audited::Nowhere if Lease::any() => unattributed().table(),
        Audited::Real | Audited::Nowhere => None,
    }
}

static NAME: OnceLock<NameSite> = OnceLock::new();

pub(super) fn name(return_addresses: &[usize]) -> Option<String> {
    if return_addresses.is_empty() {
        return Some("more places than are kept apart".to_owned());
    }
    let name = NAME.get()?;
    name(return_addresses)
}
