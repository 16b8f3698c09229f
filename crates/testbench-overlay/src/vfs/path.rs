//! Paths as guests write them: bytes, `/` between components, never resolved lexically.

use std::fmt;

/// A path inside a tree of files, in raw bytes.
///
/// It is kept as it was written: `..`, `.`, doubled and trailing slashes have their meaning only
/// when the path is walked, since what `a/..` is depends on what `a` is. Host paths are
/// [`std::path::Path`]; the two meet only in [`HostDir`](crate::HostDir) and at the overlay's edge.
///
/// ```
/// use testbench_overlay::GuestPath;
///
/// let path = GuestPath::new("src//./main.rs");
/// let parts: Vec<&[u8]> = path.components().collect();
/// assert_eq!(parts, [&b"src"[..], b".", b"main.rs"]);
/// assert!(!path.wants_dir());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPath<'a> {
    bytes: &'a [u8],
}

impl<'a> GuestPath<'a> {
    /// The path that these bytes spell.
    ///
    /// ```
    /// use testbench_overlay::GuestPath;
    ///
    /// assert_eq!(GuestPath::new("a/b"), GuestPath::new(b"a/b"));
    /// let any_bytes = GuestPath::new(b"caf\xe9/menu");
    /// assert_eq!(any_bytes.to_string(), r"caf\xe9/menu");
    /// ```
    pub fn new<B: AsRef<[u8]> + ?Sized>(bytes: &'a B) -> Self {
        GuestPath { bytes: bytes.as_ref() }
    }

    /// The bytes as they were written.
    ///
    /// ```
    /// use testbench_overlay::GuestPath;
    ///
    /// assert_eq!(GuestPath::new("a/./b//").as_bytes(), b"a/./b//", "nothing is tidied up");
    /// ```
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether it starts with a slash.
    ///
    /// ```
    /// use testbench_overlay::GuestPath;
    ///
    /// assert!(GuestPath::new("/etc/hosts").is_absolute());
    /// assert!(!GuestPath::new("./etc/hosts").is_absolute());
    /// ```
    pub fn is_absolute(self) -> bool {
        self.bytes.first() == Some(&b'/')
    }

    /// Whether there are no bytes at all, which POSIX takes for a missing file.
    ///
    /// ```
    /// use testbench_overlay::{Errno, Follow, Fs, GuestPath, MemoryDir};
    ///
    /// let (tree, path) = (MemoryDir::builder().build()?, GuestPath::new(""));
    /// assert!(path.is_empty());
    /// assert_eq!(tree.stat_at(&*tree.root()?, path, Follow::Yes), Err(Errno::Noent));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether it can only name a directory: it ends with a slash, `.` or `..`.
    ///
    /// ```
    /// use testbench_overlay::GuestPath;
    ///
    /// for path in ["src/", "src/.", "..", "/"] {
    ///     assert!(GuestPath::new(path).wants_dir());
    /// }
    /// assert!(!GuestPath::new("src/..rs").wants_dir());
    /// ```
    pub fn wants_dir(self) -> bool {
        self.bytes.last() == Some(&b'/') || matches!(self.components().last(), Some(b"." | b".."))
    }

    /// The parts between the slashes, `.` and `..` included, empty ones left out.
    ///
    /// ```
    /// use testbench_overlay::GuestPath;
    ///
    /// let path = GuestPath::new("/usr//lib/../bin/");
    /// assert!(path.is_absolute() && path.wants_dir() && !path.is_empty());
    /// let parts: Vec<&[u8]> = path.components().collect();
    /// assert_eq!(parts, [&b"usr"[..], b"lib", b"..", b"bin"]);
    /// ```
    pub fn components(self) -> impl DoubleEndedIterator<Item = &'a [u8]> + Clone {
        self.bytes.split(|b| *b == b'/').filter(|part| !part.is_empty())
    }
}

/// The bytes as text, with what is not UTF-8 or not printable escaped.
impl fmt::Display for GuestPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?
                } else {
                    write!(f, "{c}")?
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for GuestPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_component_decides_whether_a_directory_is_wanted() {
        let wants = |s: &str| GuestPath::new(s).wants_dir();
        assert!(wants("a/") && wants("a/.") && wants("..") && wants("/"));
        assert!(!wants("a") && !wants("../a") && !wants("a/.b") && !wants(""));
    }

    #[test]
    fn display_escapes_what_cannot_be_printed() {
        assert_eq!(GuestPath::new(b"a\xff\nb").to_string(), "a\\xff\\nb");
    }
}
