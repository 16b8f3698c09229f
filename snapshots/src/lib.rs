//! Tests that cross crates, with their insta snapshots; there is no library here.
//!
//! The examples of the README and of the guides run as this crate's documentation tests.

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guides/vm-plugins.md")]
struct VmPlugins;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guides/tape.md")]
struct TapeGuide;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guides/spawning.md")]
struct SpawningGuide;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guides/overlay.md")]
struct OverlayGuide;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guides/virtual-time.md")]
struct VirtualTime;
