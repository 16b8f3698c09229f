//! Lower files with several names.
//!
//! The names of one file are one inode here, too: what is written through one of them shows under
//! all. Beneath, a file tells how many names it has, but not where, and some may lie outside of the
//! root. So a name is noted when it is looked up ([`Tx::other_name`]), and only where a *changed*
//! file may have names that nobody has looked at is the lower tree searched for them
//! ([`Tx::find_other_names`]): before a diff and before a commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::inode::{Ino, Inode};
use crate::lookup::Tx;
use crate::name::{Name, RelPath};
use crate::observe::{LowerId, Stamp};
use crate::{Errno, FileKind, Overlay, Stat};

impl Overlay {
    /// How many names the file of which this is the metadata may have: those that are shown, or
    /// where not all of them have been looked at, those that it has beneath.
    pub(crate) fn links_max(&self, stat: &Stat) -> u64 {
        let tx = self.core.tx();
        let inode = tx.live.state.inodes.get(&Ino(stat.ino));
        let origin = inode.and_then(|inode| inode.origin.as_ref());
        origin.map_or(stat.nlink, |origin| match origin.may_have_more_names() {
            true => stat.nlink + origin.links - origin.paths.len() as u64,
            false => stat.nlink,
        })
    }
}

impl Tx<'_> {
    /// If this is a further name of a file already known, notes the name.
    pub(crate) fn other_name(
        &mut self,
        dir: Ino,
        name: &[u8],
        path: &RelPath,
        stamp: &Stamp,
    ) -> Result<Option<Ino>, Errno> {
        let Some(ino) = self.live.state.lower_ids.get(&stamp.id).copied() else {
            return Ok(None);
        };
        let Some(origin) = self.live.state.inodes.get(&ino).and_then(|i| i.origin.clone()) else {
            return Ok(None);
        };
        if let Some(change) = origin.seen.stamp.change_to(stamp) {
            self.changed_beneath(path, change)?;
            return Ok(None);
        }
        if !origin.paths.contains(path) {
            let name = Name::new(name)?;
            let changed = self.is_pinned(ino) || self.live.state.inode(ino)?.is_changed();
            let inode = self.live.state.inode_mut(ino)?;
            let mut origin = (*origin).clone();
            origin.paths.push(path.clone());
            inode.origin = Some(Arc::new(origin));
            inode.names.push((dir, name));
            // Without its other names it may have been kept for a handle alone.
            self.live.state.orphans.remove_mut(&ino);
            if changed {
                self.pin(ino)?;
            }
        }
        Ok(Some(ino))
    }

    /// Makes sure that all names of changed lower files are known. Searches the whole lower tree
    /// if a changed file has names that were not seen; else it does nothing.
    pub(crate) fn find_other_names(&mut self) -> Result<(), Errno> {
        let may_lack_names = |inode: &Inode| {
            let origin = inode.origin.as_ref()?;
            let lacks = origin.may_have_more_names() && inode.is_changed();
            lacks.then_some(origin.seen.stamp.id)
        };
        let inodes = self.live.state.inodes.iter();
        let wanted: BTreeMap<LowerId, Ino> =
            inodes.filter_map(|(ino, inode)| Some((may_lack_names(inode)?, *ino))).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        for path in self.paths_of(&wanted)? {
            self.look_at_lower(&path)?;
        }
        for ino in wanted.into_values() {
            self.all_names_are_known(ino)?;
        }
        Ok(())
    }

    /// Where in the lower tree these files are. Nothing is noted as seen on the way: most of it
    /// has nothing to do with what was changed.
    fn paths_of(&self, wanted: &BTreeMap<LowerId, Ino>) -> Result<Vec<RelPath>, Errno> {
        let lower = &self.core.lower;
        let mut found = Vec::new();
        let mut dirs = vec![RelPath::TOP];
        while let Some(dir) = dirs.pop() {
            let entries = match lower.list(&dir) {
                // Nobody else can look there either, or it has gone in the meantime.
                Err(Errno::Acces | Errno::Noent | Errno::Notdir) => continue,
                entries => entries?,
            };
            for entry in entries {
                match entry.kind {
                    FileKind::Dir => dirs.push(dir.child(&entry.name)),
                    _ if wanted.keys().any(|id| id.ino == entry.ino) => {
                        let path = dir.child(&entry.name);
                        let stat = lower.stat(&path)?;
                        if stat.is_some_and(|stat| wanted.contains_key(&Stamp::of(&stat).id)) {
                            found.push(path);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// Looks a lower path up in the directory that shows it, wherever that is now; does nothing if
    /// none does.
    fn look_at_lower(&mut self, path: &RelPath) -> Result<(), Errno> {
        // Up to the nearest directory that is known, and down again.
        let mut names = Vec::new();
        let mut at = path.clone();
        let mut dir = loop {
            let Some((parent, name)) = at.split().map(|(parent, name)| (parent, name.to_vec()))
            else {
                break Ino::ROOT;
            };
            names.push((at, name));
            let known = parent.split().and_then(|(dir, name)| self.known(&dir, name));
            if let Some(ino) = known {
                break ino;
            }
            at = parent;
        };
        for (path, name) in names.into_iter().rev() {
            let shown = self.live.state.dir(dir).is_ok_and(|node| {
                let lower = node.lower.as_ref().map(|lower| lower.child(&name));
                lower.as_ref() == Some(&path)
            });
            if !shown {
                return Ok(());
            }
            match self.lookup(dir, &name)? {
                Some(ino) => dir = ino,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// What else beneath is a name of this file lies outside of the root.
    fn all_names_are_known(&mut self, ino: Ino) -> Result<(), Errno> {
        let inode = self.live.state.inode_mut(ino)?;
        if let Some(origin) = &inode.origin {
            let links = origin.paths.len() as u64;
            inode.origin = Some(Arc::new(crate::inode::Origin { links, ..(**origin).clone() }));
        }
        if inode.names.is_empty() && !self.live.opens.contains_key(&ino) {
            self.live.state.forget(ino);
        }
        Ok(())
    }
}
