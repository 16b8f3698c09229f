//! The content of a module.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A module's content: owned, shared, or part of the program. Cloning is cheap.
#[derive(Clone)]
pub struct Bytes(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl<B: AsRef<[u8]> + Send + Sync + 'static> From<B> for Bytes {
    fn from(bytes: B) -> Self {
        Bytes(Arc::new(bytes))
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}
