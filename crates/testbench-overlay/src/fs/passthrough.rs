//! A real directory that [`crate::fs`] reaches beside the overlay.

use std::sync::{Arc, OnceLock};

use crate::{Errno, File, Fs as _, HostDir};

#[derive(Clone, Debug)]
pub(crate) struct Passthrough {
    pub(crate) fs: HostDir,
    /// Opened once: what is open in the directory keeps it, and is to take no second descriptor.
    top: OnceLock<Arc<dyn File>>,
}

impl Passthrough {
    pub(crate) fn new(fs: HostDir) -> Passthrough {
        Passthrough { fs, top: OnceLock::new() }
    }

    /// The top directory of it.
    pub(crate) fn top(&self) -> Result<Arc<dyn File>, Errno> {
        if let Some(top) = self.top.get() {
            return Ok(top.clone());
        }
        let top = self.fs.root()?;
        Ok(self.top.get_or_init(|| top).clone())
    }
}
