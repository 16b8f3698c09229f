//! The descriptor table: numbers, and the open files that they refer to.

use std::sync::Arc;

use testbench_overlay::Errno;

use super::open::Open;
use super::rights::Rights;

/// The open file of a descriptor, and the operations that the descriptor allows.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) open: Arc<Open>,
    /// The rights of this descriptor.
    pub(crate) base: Rights,
    /// The rights that descriptors opened below this can have.
    pub(crate) inheriting: Rights,
    /// The name by which the guest finds this directory when it starts.
    pub(crate) preopen: Option<Arc<[u8]>>,
}

impl Entry {
    /// A descriptor with all the rights that `open` can have.
    pub(crate) fn new(open: Arc<Open>) -> Self {
        let base = open.rights();
        let inheriting = if base == Rights::DIRECTORY { Rights::all() } else { base };
        Entry { open, base, inheriting, preopen: None }
    }

    /// A directory that the guest finds under `name` when it starts.
    pub(crate) fn preopen(dir: Open, name: &[u8]) -> Self {
        Entry { preopen: Some(name.into()), ..Entry::new(Arc::new(dir)) }
    }

    /// Fails unless all of `wanted` is allowed.
    pub(crate) fn need(&self, wanted: Rights) -> Result<(), Errno> {
        if self.base.contains(wanted) { Ok(()) } else { Err(Errno::NotCapable) }
    }
}

/// The descriptors of a process. A new one always gets the lowest number that is free.
///
/// Removed entries are returned, not dropped, so that a pipe's last end is not closed
/// under the lock that guards the table.
#[derive(Default)]
pub(crate) struct FdTable {
    entries: Vec<Option<Entry>>,
    /// No number below this one is free.
    first_free: usize,
}

impl FdTable {
    /// The table of these, numbered from 0. The limit on open files counts for files that
    /// the guest opens itself.
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        let first_free = entries.len();
        FdTable { entries: entries.into_iter().map(Some).collect(), first_free }
    }

    /// All entries, in order.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.iter().flatten().cloned().collect()
    }

    pub(crate) fn get(&self, fd: u32) -> Result<&Entry, Errno> {
        self.entries.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::Badf)
    }

    pub(crate) fn get_mut(&mut self, fd: u32) -> Result<&mut Entry, Errno> {
        self.entries.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::Badf)
    }

    /// Whether there is a free number below `open_max`.
    pub(crate) fn has_room(&self, open_max: u32) -> bool {
        let count = self.entries.len();
        count < open_max as usize
            || self.entries[self.first_free.min(count)..].iter().any(Option::is_none)
    }

    /// Gives `entry` the lowest free number below `open_max`.
    pub(crate) fn push(&mut self, entry: Entry, open_max: u32) -> Result<u32, Errno> {
        let free = (self.first_free..self.entries.len()).find(|&i| self.entries[i].is_none());
        let index = free.unwrap_or(self.entries.len());
        let fd = u32::try_from(index).ok().filter(|&fd| fd < open_max).ok_or(Errno::Mfile)?;
        if free.is_some() {
            self.entries[index] = Some(entry);
        } else {
            self.entries.push(Some(entry));
        }
        self.first_free = index + 1;
        Ok(fd)
    }

    pub(crate) fn remove(&mut self, fd: u32) -> Result<Entry, Errno> {
        let entry = self.entries.get_mut(fd as usize).and_then(Option::take).ok_or(Errno::Badf)?;
        self.first_free = self.first_free.min(fd as usize);
        Ok(entry)
    }

    /// Makes `to` refer to what `from` refers to, and frees `from`. Both must be open.
    /// Returns the old entry of `to`.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) -> Result<Option<Entry>, Errno> {
        self.get(from)?;
        self.get(to)?;
        if from == to {
            return Ok(None);
        }
        let moved = self.remove(from)?;
        Ok(self.entries[to as usize].replace(moved))
    }

    /// Takes everything out.
    pub(crate) fn clear(&mut self) -> Vec<Option<Entry>> {
        self.first_free = 0;
        std::mem::take(&mut self.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::stdio::{Output, Stdout};

    fn entry() -> Entry {
        Entry::new(Stdout::Null.open(Output::Stdout))
    }

    #[test]
    fn the_lowest_free_number_is_taken() {
        let mut fds = FdTable::default();
        for expected in 0..5 {
            assert_eq!(fds.push(entry(), 5), Ok(expected));
        }
        assert_eq!(fds.push(entry(), 5), Err(Errno::Mfile));
        fds.remove(3).map(drop).unwrap();
        fds.remove(1).map(drop).unwrap();
        assert_eq!(fds.push(entry(), 5), Ok(1));
        assert_eq!(fds.push(entry(), 5), Ok(3));
        assert_eq!(fds.remove(7).map(drop), Err(Errno::Badf));
    }

    #[test]
    fn renumber_wants_both_and_frees_the_first() {
        let mut fds = FdTable::default();
        for _ in 0..3 {
            fds.push(entry(), 9).unwrap();
        }
        let moved = Arc::clone(&fds.get(0).unwrap().open);
        assert!(fds.renumber(0, 9).is_err() && fds.renumber(9, 0).is_err());
        assert!(fds.renumber(2, 2).unwrap().is_none());
        assert!(fds.renumber(0, 2).unwrap().is_some());
        assert!(Arc::ptr_eq(&fds.get(2).unwrap().open, &moved));
        assert!(fds.get(0).is_err());
        assert_eq!(fds.push(entry(), 9), Ok(0));
    }
}
