//! The errors of a tree that is closed to changes.
//!
//! Linux says `EROFS` at a certain point of each operation, and whatever it finds before comes
//! first: a name that is taken is `EEXIST`, a directory on the way that is missing `ENOENT`. Code
//! such as `mkdir -p` relies on it. The order here is that of `fs/namei.c`; a test compares it with a
//! real read-only mount.

use crate::resolve::{self, Last, ShortName, not_to_create};
use crate::vfs::Result;
use crate::{Create, Errno, File, FileKind, Follow, Fs, GuestPath, OpenHow, Stat};

/// A path in a tree that is closed to changes. Each operation fails with the error that comes before
/// `EROFS`, if there is one.
#[derive(Clone, Copy)]
pub(crate) struct Closed<'a> {
    pub(crate) fs: &'a dyn Fs,
    pub(crate) dir: &'a dyn File,
    pub(crate) path: GuestPath<'a>,
}

impl Closed<'_> {
    /// Opening: returns how to open it instead, where that changes nothing.
    pub(crate) fn open(self, how: &OpenHow) -> Result<OpenHow> {
        let creates = how.create != Create::Never;
        let writes = how.write || how.truncate;
        if creates && how.directory {
            return Err(Errno::Inval);
        }
        if !creates && !writes {
            return Ok(how.clone());
        }
        if creates && self.has_slash() {
            return Err(not_to_create(&self.last()?, how.create));
        }
        if how.create == Create::New {
            self.new_name(false)?;
            return Err(Errno::Rofs);
        }
        match self.stat(how.follow) {
            Err(Errno::Noent) if creates => {
                self.last()?;
                Err(Errno::Rofs)
            }
            Err(errno) => Err(errno),
            Ok(stat) => match stat.kind {
                FileKind::Dir => Err(Errno::Isdir),
                _ if how.directory => Err(Errno::Notdir),
                FileKind::Symlink => Err(Errno::Loop),
                FileKind::Special => Err(Errno::Nxio),
                FileKind::File if writes => Err(Errno::Rofs),
                FileKind::File => Ok(OpenHow { create: Create::Never, ..how.clone() }),
            },
        }
    }

    /// Making something.
    pub(crate) fn new_name(self, is_dir: bool) -> Result<()> {
        resolve::check_text(self.path)?;
        let bytes = self.path.as_bytes();
        let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(1, |at| at + 1);
        match self.fs.stat_at(self.dir, GuestPath::new(&bytes[..end]), Follow::No) {
            Ok(_) => Err(Errno::Exist),
            Err(Errno::Noent) => match self.last() {
                // Only a directory may have a slash behind it.
                Ok(_) if self.has_slash() && !is_dir => Err(Errno::Noent),
                last => last.map(drop),
            },
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn symlink(self, target: &[u8]) -> Result<()> {
        if target.is_empty() { Err(Errno::Noent) } else { self.new_name(false) }
    }

    /// Giving a file one more name.
    pub(crate) fn link(self, follow: Follow, to: Closed<'_>) -> Result<()> {
        self.stat(follow)?;
        to.new_name(false)
    }

    /// Moving. The entries of the names are not looked at.
    pub(crate) fn rename(self, to: Closed<'_>) -> Result<()> {
        match (self.last()?, to.last()?) {
            (Last::Name(_), Last::Name(_)) => Ok(()),
            _ => Err(Errno::Busy),
        }
    }

    pub(crate) fn remove_file(self) -> Result<()> {
        match self.last()? {
            Last::Name(_) => Ok(()),
            Last::Dot | Last::DotDot => Err(Errno::Isdir),
        }
    }

    pub(crate) fn remove_dir(self) -> Result<()> {
        match self.last()? {
            Last::Name(_) => Ok(()),
            Last::Dot => Err(Errno::Inval),
            Last::DotDot => Err(Errno::Notempty),
        }
    }

    pub(crate) fn stat(self, follow: Follow) -> Result<Stat> {
        self.fs.stat_at(self.dir, self.path, follow)
    }

    /// The last component, if the directory that holds it is there.
    fn last(self) -> Result<Last> {
        resolve::check_text(self.path)?;
        let bytes = self.path.as_bytes();
        let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
        let start = bytes[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let (last, parent, follow) = match &bytes[start..end] {
            // It must lead somewhere, and not out of the tree. The top of the host is nothing that
            // could be moved or removed, either.
            b"" | b"." => (Last::Dot, bytes, Follow::No),
            b".." => (Last::DotDot, bytes, Follow::No),
            name => {
                // With its slash, which asks for a directory.
                let parent = if start == 0 { b"." } else { &bytes[..start] };
                (Last::Name(ShortName::from_slice(name)), parent, Follow::Yes)
            }
        };
        self.fs.stat_at(self.dir, GuestPath::new(parent), follow).map(|_| last)
    }

    fn has_slash(self) -> bool {
        self.path.as_bytes().last() == Some(&b'/')
    }
}
