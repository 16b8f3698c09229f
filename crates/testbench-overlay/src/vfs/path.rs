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
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPath<'a> {
    bytes: &'a [u8],
}

impl<'a> GuestPath<'a> {
    /// The path that these bytes spell.
    pub fn new<B: AsRef<[u8]> + ?Sized>(bytes: &'a B) -> Self {
        GuestPath { bytes: bytes.as_ref() }
    }

    /// The bytes as they were written.
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether it starts with a slash.
    pub fn is_absolute(self) -> bool {
        self.bytes.first() == Some(&b'/')
    }

    /// Whether there are no bytes at all, which POSIX takes for a missing file.
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The parts between the slashes, `.` and `..` included, empty ones left out.
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
    fn display_escapes_what_cannot_be_printed() {
        assert_eq!(GuestPath::new(b"a\xff\nb").to_string(), "a\\xff\\nb");
    }
}
