//! Tests that cross crates, with their insta snapshots; there is no library here.
//!
//! The README's examples run as this crate's documentation tests.

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
