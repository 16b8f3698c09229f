//! The tests of testbench-clock from outside, in one binary.

#[cfg(feature = "macros")]
mod attribute;
mod decorated;
mod model;
#[cfg(feature = "tokio")]
mod on_tokio;
mod scope;
mod stall;
#[cfg(feature = "macros")]
mod synctest;
#[cfg(all(feature = "tokio", feature = "macros"))]
mod tokio_time;
