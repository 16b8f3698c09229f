//! A copy-on-write overlay of a real directory: the directory stays as it is, every change is kept
//! in memory, and the difference is a value that a person can review.
//!
//! ```
//! use testbench_overlay::{Overlay, fs, install};
//!
//! let project = tempfile::tempdir()?;
//! std::fs::write(project.path().join("app.conf"), "port: 80\n")?;
//!
//! let overlay = Overlay::new(project.path())?;
//! let installed = install(overlay.clone());
//! fs::rename(project.path().join("app.conf"), project.path().join("app.yaml"))?;
//! fs::create_dir(project.path().join("cache"))?;
//! drop(installed);
//!
//! assert_eq!(overlay.diff()?.to_string(), "R app.conf -> app.yaml\nA cache/\n");
//! assert!(project.path().join("app.conf").exists(), "the disk is as it was");
//! overlay.commit()?;
//! assert!(project.path().join("app.yaml").exists(), "and now it is not");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | name | is |
//! | --- | --- |
//! | [`Overlay`] | a tree of changes in memory above a directory |
//! | [`install()`] | makes an overlay the tree of this thread, for as long as the guard lives |
//! | [`fs`] | `std::fs` over the installed overlay |
//! | [`Diff`] | the changes, as text, JSON or git patch |
//! | [`Fs`] and [`File`] | the operations on any tree, by directory handle and relative path |
//! | [`OverlayBuilder`] | quota, faults, policy, mounts, audit |
//!
//! Code that calls `std::fs` and cannot be changed is for [`capture`]. The guide "Snapshot-test
//! what your code did to the disk" begins there.
//!
//! # How it works
//!
//! An [`Overlay`] has a *lower* tree, usually a real directory, and an *upper* layer of changes.
//! Identity belongs to files, names to directory entries: the upper layer is a table of inodes and,
//! per directory, entries that say "this inode" or "nothing here" (a *whiteout*). A name without
//! an entry is what the lower directory says. Renaming a directory moves one entry; writing a few
//! bytes into a large file copies a chunk of 64 KiB. All of it sits in persistent maps, so that
//! saving a state, forking it and going back to it are cheap.
//!
//! Paths are walked component by component in one place (`resolve.rs`); no symlink is ever left
//! to the kernel, and nothing leads out of the tree.
//!
//! # Two front doors
//!
//! - [`fs`] mirrors `std::fs` and takes host paths. It goes to the overlay that is
//!   [installed](install()) on this thread, or to the real disk if there is none.
//! - [`Fs`] and [`File`] are what guests use: handles of directories and paths relative to them.
//!   [`Overlay`], [`HostDir`] (a confined real directory), [`MemoryDir`] and [`ReadOnly`]
//!   implement them, and a caller's own type may.
//!
//! Programs that know of neither can use an overlay as a directory of the real tree: written out
//! ([`Overlay::materialize`]), or mounted in the kernel's tree (the crate testbench-mount, on Linux).
//!
//! # Determinism
//!
//! The view of a guest does not depend on the machine: inode numbers, directory order, sizes and link
//! counts of directories follow fixed rules; times come from the overlay's clock, those of lower
//! files too unless [`LowerTimes::Real`] is chosen; permission bits of lower files do not depend on
//! the umask they were made under unless [`LowerModes::Real`] is chosen.
//!
//! # Committing
//!
//! [`Overlay::commit`] writes all changes to the real directory. Everything that the overlay has seen
//! there is checked first; if something is not as it was, nothing is written.
//! [`Overlay::commit_with`] commits some paths only, or over conflicts. New content is prepared
//! beside the tree and moved in place, so a file holds its old or its new content at every instant.
//!
//! POSIX cannot change many files in one instant. So all steps stand first, with a checksum and
//! synced to the disk, in a journal in the directory `.testbench-commit` at the top of the root.
//! A commit that was interrupted, by a crash, a full disk or a loss of power, is completed by
//! [`Overlay::recover`]; the outcome is the tree after the commit, or the one before if nothing was
//! changed yet. Until then no overlay of the directory can be made.
//!
//! A file that another process changes when the commit is at work already is not overwritten: the
//! rest is committed, and [`Committed::passed_over`] says where its new content is kept.
//!
//! After a commit, checkpoints from before are refused, and forks find the directory changed.
//!
//! Not promised: that a reader of the directory never sees a part of a commit; that a write by
//! another process is noticed between the last check of a file and its replacement, if it leaves size
//! and times as they were; owners and extended attributes beyond what the system lets us keep; the
//! times of the root directory after an interruption; nor its mode, where a commit takes a right to
//! it from the owner who commits, and the process dies just before that last call.
//!
//! # Where to begin reading
//!
//! `vfs/mod.rs` (the seam), `upper/inode.rs` (the state), `resolve.rs` (paths), `ops/` (what
//! operations do), `diff/changes.rs` (how a diff comes about), `commit/mod.rs` (how it gets to the disk).
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod builder;
mod checkpoint;
mod commit;
pub mod diff;
mod error;
pub mod fs;
mod handle;
mod inspect;
#[cfg(feature = "insta")]
pub mod insta;
mod lower;
mod materialize;
mod ops;
mod overlay;
pub mod pipeline;
mod places;
mod resolve;
mod sys;
mod trees;
mod upper;
mod vfs;

pub use builder::OverlayBuilder;
pub use checkpoint::Checkpoint;
pub use commit::{
    CommitError, CommitOptions, Committed, Conflict, OurChange, PassedOver, RecoverError,
    Recovered, TheirChange,
};
pub use diff::Diff;
pub use error::OverlayError;
pub use fs::install::{active, install, install_for, install_nothing};
pub use inspect::PathState;
pub use lower::observe::{LowerChange, LowerChangeKind};
pub use lower::view::{LowerModes, LowerTimes};
pub use materialize::apply::{ApplyError, Put};
pub use materialize::{Materialized, capture};
pub use ops::Renaming;
pub use overlay::Overlay;
pub use pipeline::{InodeHandle, OutwardLinks};
pub use trees::host_dir::HostDir;
pub use trees::memory_dir::{MemoryDir, MemoryDirBuilder, MemoryDirError};
pub use trees::read_only::ReadOnly;
pub use vfs::errno::Errno;
pub use vfs::path::GuestPath;
pub use vfs::{
    Create, DirEntry, File, FileKind, Follow, Fs, OpenHow, Result, SetTime, SetTimes, Stat,
};

/// For the macros.
#[cfg(feature = "insta")]
#[doc(hidden)]
pub use ::insta as __insta;
