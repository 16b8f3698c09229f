//! The trees that are no overlay: a confined real directory, a tree in memory, and a view of any
//! tree without its changing operations.

pub(crate) mod host_dir;
pub(crate) mod memory_dir;
pub(crate) mod namespace;
pub(crate) mod read_only;
pub(crate) mod refusal;
