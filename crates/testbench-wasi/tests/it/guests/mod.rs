//! Modules, how they are found, compiled and kept, and how guests run and end.

#[cfg(unix)]
mod cache;
mod modules;
mod programs;
mod running;
