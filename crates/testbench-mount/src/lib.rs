//! Mounts an [`Overlay`](testbench_overlay::Overlay) in the kernel's tree with FUSE, so that any program can use it
//! (Linux; on other systems this crate is empty).
//!
//! ```no_run
//! use std::process::Command;
//! use testbench_mount::FuseMount;
//! use testbench_overlay::Overlay;
//!
//! let overlay = Overlay::new("/home/me/project")?;
//! let at = tempfile::tempdir()?;
//! let mount = FuseMount::new(&overlay, at.path())?;
//! Command::new("make").current_dir(mount.path()).status()?;
//! mount.unmount()?;
//! println!("{}", overlay.diff()?.summary());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | name | is |
//! | --- | --- |
//! | [`FuseMount`] | a mounted overlay; dropping it unmounts |
//! | [`FuseOptions`] | other users, read-only, the kernel's cache |
//! | [`MountError`] | why mounting or unmounting failed |
//!
//! # The tree that programs see
//!
//! The mount shows the tree as it is at each moment: a change made through the mount is in the overlay at
//! once, and a change made in the overlay by other ways shows in the mount
//! (see [`FuseOptions::cache_for`]). Every operation goes through the overlay's
//! [pipeline](testbench_overlay::pipeline), so policy, quota, faults and audit hold here too. A read that a
//! fault cuts short is repeated, because the kernel would take it for the end of the file.
//!
//! - **Permissions** are checked by the kernel, by owner and mode as on a disk. The overlay also checks the
//!   owner's bits, even for root, unless it was made with
//!   [`as_root`](testbench_overlay::OverlayBuilder::as_root). Use that for a mount with several users.
//! - **Owners** are no part of an overlay. In the mount everything belongs to the user that mounted it,
//!   except files that were created by another user or given away through the mount: these keep their owner for
//!   as long as the mount lasts. A diff shows no owners.
//! - **Devices, sockets and FIFOs** made here work while the mount lasts, devices aside (it is `nodev`). In
//!   the overlay, and after the mount, each is an empty file. Special files of the lower tree show as
//!   sockets, which cannot be opened.
//! - Renaming knows `RENAME_NOREPLACE` and `RENAME_EXCHANGE`. `SEEK_DATA` and `SEEK_HOLE` see holes.
//!   Extended attributes are not supported (`EOPNOTSUPP`). Times of access are not kept.
//! - A file that is open or mapped shows bytes written by other ways than the mount once it is opened
//!   again.
//!
//! # How it works
//!
//! The kernel names a file by a number. For each number `table.rs` keeps the
//! [`InodeHandle`](testbench_overlay::InodeHandle) until the kernel forgets it, so a file without a name
//! stays while it is open. `table.rs` also has the owners and the kinds of special files. `server.rs` does each
//! request in terms of the overlay, `protocol.rs` speaks FUSE. Requests are served by a few threads that end with the
//! mount. Begin reading at `server.rs`.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod attr;
mod error;
mod mount;
mod options;
mod protocol;
mod server;
mod table;

pub use error::MountError;
pub use mount::FuseMount;
pub use options::FuseOptions;
