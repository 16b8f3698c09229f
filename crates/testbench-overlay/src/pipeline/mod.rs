//! The stages between the caller of an operation and the tree that carries it out:
//! `faults → quota → policy → core → audit`.
//!
//! Both front doors, [`crate::fs`] and [`Fs`]/[`File`](crate::File), end in the operations of
//! [`Overlay`](crate::Overlay). If nothing was set up, these go straight to the core: a pipeline that
//! is not there costs one comparison. Else each operation is described once, as what is done and to
//! which path, and goes through the stages in this order:
//!
//! 1. **Faults** ([`FaultPlan`]): it takes virtual time, fails, or is cut short. No lock is held
//!    while time passes.
//! 2. **Quota** ([`Quota`]): bytes held, files made, the length of a file. The need of an operation is
//!    known only when it happens, so the core itself does the sums, also without a pipeline: there
//!    always is a quota. An operation beyond it has done nothing, or as much as fits.
//! 3. **Policy**: subtrees that cannot be changed, names that are hidden, and other trees mounted
//!    in between ([`OverlayBuilder::read_only_at`], [`hide`] and [`mount`]).
//! 4. **Core**: the operation happens.
//! 5. **Audit** ([`Audit`]): it is noted with its result, whichever stage gave it.
//!
//! [`OverlayBuilder::read_only_at`]: crate::OverlayBuilder::read_only_at
//! [`hide`]: crate::OverlayBuilder::hide
//! [`mount`]: crate::OverlayBuilder::mount
//!
//! # Patterns
//!
//! Paths are relative to the overlay's top, and have been resolved: no symlinks, no `..`. A pattern
//! without a slash is about the last component, in whatever directory, as in `.gitignore`:
//! `*.log`, `.env`. One with a slash is about the whole path: `src/*.rs`, `/Cargo.lock`,
//! `target/**`. `*` and `?` do not match a slash, `**` does; `[a-z]` is one of several characters
//! and `{a,b}` one of several patterns; a backslash takes the meaning from what follows.
//!
//! # Where to begin reading
//!
//! `operation.rs` (the description), `staged.rs` (an operation's way through the stages), then the
//! stages: `fault.rs` with `faults.rs`, `policy.rs` with `trees/namespace.rs`, `audit.rs`.
//! The quota's sums are in `quota.rs` and the core.
//!
//! # Example
//!
//! A disk that is full, files that must not change, and a note of all that was tried:
//!
//! ```
//! use testbench_overlay::pipeline::{Audit, Fault};
//! use testbench_overlay::{Overlay, fs, install};
//!
//! let dir = tempfile::tempdir()?;
//! std::fs::write(dir.path().join("ledger"), "1\n")?;
//! let audit = Audit::new();
//! let overlay = Overlay::builder(dir.path())
//!     .faults(Fault::full_after(4))
//!     .read_only_at("ledger")
//!     .audit(&audit)
//!     .build()?;
//! let _installed = install(overlay);
//!
//! assert!(fs::write(dir.path().join("report"), "12345").is_err());
//! assert!(fs::remove_file(dir.path().join("ledger")).is_err());
//! assert_eq!(audit.to_string(), "\
//! create report
//! write report: 4 bytes
//! write report: ENOSPC
//! remove_file ledger: EROFS
//! ");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod audit;
mod fault;
mod faults;
mod file;
mod inode_handle;
mod operation;
mod pattern;
mod policy;
mod staged;

use std::sync::Arc;

pub use crate::upper::quota::{Quota, Usage};
pub use audit::{Audit, AuditLine};
pub use fault::{Fault, FaultError};
pub use faults::{FaultCount, FaultPlan};
pub use inode_handle::InodeHandle;
pub use operation::Operation;
pub use pattern::PatternError;

pub use crate::trees::namespace::OutwardLinks;

pub(crate) use file::StagedFile;
pub(crate) use policy::{Policy, is_in, plain_path};

use crate::ops::core::Core;
use crate::trees::namespace::Namespace;
use crate::{Fs, OverlayError};
use faults::Faults;

/// The namespace of one overlay behind its stages.
#[derive(Debug)]
pub(crate) struct Pipeline {
    core: Arc<Core>,
    faults: Faults,
    namespace: Namespace,
    audit: Option<Audit>,
}

/// The settings of a pipeline, as the builder got them.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) faults: FaultPlan,
    pub(crate) read_only: Vec<Vec<u8>>,
    pub(crate) hidden: Vec<String>,
    pub(crate) mounts: Vec<(Vec<u8>, Arc<dyn Fs>)>,
    pub(crate) outward_links: OutwardLinks,
    pub(crate) audit: Option<Audit>,
}

impl Settings {
    fn is_empty(&self) -> bool {
        self.faults.faults().is_empty()
            && self.read_only.is_empty()
            && self.hidden.is_empty()
            && self.mounts.is_empty()
            && self.outward_links == OutwardLinks::Refuse
            && self.audit.is_none()
    }

    pub(crate) fn policy(&self) -> Result<Policy, OverlayError> {
        Policy::new(&self.read_only, &self.hidden)
    }

    /// The pipeline of `core`; `None` if it would do nothing.
    pub(crate) fn build(self, core: &Arc<Core>) -> Result<Option<Arc<Pipeline>>, OverlayError> {
        if self.is_empty() {
            return Ok(None);
        }
        let faults = Faults::new(self.faults).map_err(|source| OverlayError::Fault { source })?;
        let namespace = Namespace::new(core, self.mounts, self.outward_links)?;
        let core = core.clone();
        Ok(Some(Arc::new(Pipeline { core, faults, namespace, audit: self.audit })))
    }
}

impl Pipeline {
    /// The same stages for a fork: the faults go on from where they are, the audit is one.
    pub(crate) fn fork(&self, core: &Arc<Core>) -> Arc<Pipeline> {
        Arc::new(Pipeline {
            core: core.clone(),
            faults: self.faults.fork(),
            namespace: self.namespace.fork(core.clone()),
            audit: self.audit.clone(),
        })
    }

    pub(crate) fn faults(&self) -> Vec<FaultCount> {
        self.faults.report()
    }

    fn policy(&self) -> &Policy {
        &self.core.config.policy
    }
}
