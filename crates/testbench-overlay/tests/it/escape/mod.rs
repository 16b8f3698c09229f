//! Attempts to get out of the root, by every way that we know of, through every door that there is.
//!
//! Beside each root lies a directory whose content, metadata and access times are taken down before
//! and compared after: nothing there may be read, written, made or removed. Attempts that must fail
//! have a control beside them that succeeds.
#![cfg(unix)]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]
#![allow(clippy::type_complexity, reason = "tables of cases with what is done in each")]

mod arena;
mod links;
mod names;
mod out;
mod outward;
mod paths;
mod races;
mod special;
