//! The upper layer: inodes, the entries of directories, and the bytes that were changed.

pub(crate) mod chunk;
pub(crate) mod content;
pub(crate) mod inode;
pub(crate) mod store;
