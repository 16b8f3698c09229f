//! The upper layer: inodes, the entries of directories, and the bytes that were changed.

pub(crate) mod chunk;
pub(crate) mod content;
pub(crate) mod inode;
pub(crate) mod quota;
pub(crate) mod store;

/// A persistent ordered map that can be sent between threads.
pub(crate) type PMap<K, V> = rpds::RedBlackTreeMapSync<K, V>;
