//! A thread of a process, the data of a wasmtime store.

use std::sync::Arc;

use wasmtime::{Caller, Extern, Memory, ResourceLimiter};

use super::process::Process;
use crate::limits::Limit;

/// One thread of a process.
pub(crate) struct Thread {
    pub(crate) process: Arc<Process>,
    /// The memory that the thread's calls are about, if a call has looked for it and found it.
    memory: Option<Memory>,
    /// The same, if no fuel is counted.
    pub(crate) uncounted_memory: Option<Memory>,
}

impl Thread {
    /// The first thread of `process`.
    pub(crate) fn new(process: Arc<Process>) -> Thread {
        Thread { process, memory: None, uncounted_memory: None }
    }

    /// The memory that the calling thread's calls are about: the export `memory`, which later calls
    /// need not look for.
    pub(crate) fn memory_of(caller: &mut Caller<'_, Thread>) -> Option<Memory> {
        if caller.data().memory.is_none()
            && let Some(Extern::Memory(memory)) = caller.get_export("memory")
        {
            let thread = caller.data_mut();
            thread.memory = Some(memory);
            thread.uncounted_memory =
                thread.memory.filter(|_| thread.process.limits.fuel.is_none());
        }
        caller.data().memory
    }

    /// Whether growth to `desired` is within `max`; notes the limit if it is not.
    fn may_grow(&self, desired: usize, max: u64, limit: Limit) -> wasmtime::Result<bool> {
        let may_grow = desired as u64 <= max;
        if !may_grow {
            self.process.limit_hit(limit);
        }
        Ok(may_grow)
    }
}

/// Growth beyond the limits is refused, and noted.
impl ResourceLimiter for Thread {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes_max = self.process.limits.memory_bytes_max;
        self.may_grow(desired, bytes_max, Limit::Memory { bytes_max })
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let elements_max = self.process.limits.table_elements_max;
        self.may_grow(desired, elements_max, Limit::Table { elements_max })
    }

    fn instances(&self) -> usize {
        self.process.limits.instances_max as usize
    }

    fn tables(&self) -> usize {
        self.process.limits.tables_max as usize
    }

    fn memories(&self) -> usize {
        self.process.limits.memories_max as usize
    }
}
