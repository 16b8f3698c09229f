//! Tests of the interface as a guest sees it, without a C library in between.

mod complete;
mod fd;
mod hostile;
mod path;
mod poll;
mod puppet;
mod readdir;
mod stdio;
mod trace;
