//! Where a guest's randomness comes from.

use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use testbench_clock::RandomStream;
use testbench_overlay::Errno;

/// A guest's source of randomness.
#[derive(Clone)]
#[non_exhaustive]
pub enum Random {
    /// Bytes that follow from a seed. A clone begins where the original stands.
    Seeded(Box<RandomStream>),
    /// A reader, called on the guest's thread; clones share it. When it fails or ends, the guest gets
    /// its errno, `EIO` for the end. See [`Random::reader`].
    Reader(Arc<Mutex<dyn Read + Send>>),
}

impl Random {
    /// [`Random::Reader`] of `reader`, such as [`std::io::repeat`] or `/dev/urandom`.
    pub fn reader(reader: impl Read + Send + 'static) -> Self {
        Random::Reader(Arc::new(Mutex::new(reader)))
    }

    pub(super) fn fill(&mut self, buf: &mut [u8]) -> Result<(), Errno> {
        match self {
            Random::Seeded(stream) => {
                stream.fill(buf);
                Ok(())
            }
            Random::Reader(reader) => {
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                reader.read_exact(buf).map_err(|error| match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => Errno::Io,
                    _ => Errno::from(error),
                })
            }
        }
    }
}

impl From<RandomStream> for Random {
    fn from(stream: RandomStream) -> Self {
        Random::Seeded(Box::new(stream))
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Random::Seeded(stream) => f.debug_tuple("Seeded").field(stream).finish(),
            Random::Reader(_) => f.write_str("Reader"),
        }
    }
}
