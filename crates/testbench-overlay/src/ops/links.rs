//! Lower files with several names.
//!
//! The names of one file are one inode here, too: what is written through one of them shows under
//! all. Beneath, a file tells how many names it has, but not where, and some may lie outside of the
//! root. So a name is noted when it is looked up ([`Tx::other_name`]), and only where a *changed*
//! file may have names that were never looked at is the lower tree searched for them
//! ([`Core::find_other_names`]): before a diff and before a commit. All such files are searched for
//! at once, and before a diff without the lock.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::lower::observe::{LowerId, Origin, Stamp};
use crate::ops::core::{Core, Tx};
use crate::upper::inode::{Ino, Inode, State};
use crate::vfs::Result;
use crate::vfs::name::{Name, RelPath};
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

impl Core {
    /// Makes sure that all names of changed lower files are known, and answers the state in which
    /// they are. If a changed file may have names that were not seen, the whole lower tree is
    /// searched, without the lock.
    pub(crate) fn find_other_names(&self) -> Result<State> {
        loop {
            let wanted = self.tx().lacking_names();
            let paths = if wanted.is_empty() { Vec::new() } else { self.paths_of(&wanted)? };
            let mut tx = self.tx();
            tx.take_names(&wanted, &paths)?;
            // Unless one more such file was changed meanwhile, all is done.
            if tx.lacking_names().is_empty() {
                return Ok(tx.live.state.clone());
            }
        }
    }

    /// Where in the lower tree these files are. Nothing is noted as seen on the way: most of it
    /// has nothing to do with what was changed.
    fn paths_of(&self, wanted: &BTreeMap<LowerId, Ino>) -> Result<Vec<RelPath>> {
        let lower = &self.lower;
        let inos: HashSet<u64> = wanted.keys().map(|id| id.ino).collect();
        let mut found = Vec::new();
        let mut dirs = vec![RelPath::TOP];
        while let Some(dir) = dirs.pop() {
            let entries = match lower.list(&dir) {
                // No other walk can look there either, or it has gone in the meantime.
                Err(Errno::Acces | Errno::Noent | Errno::Notdir) => continue,
                entries => entries?,
            };
            for entry in entries {
                match entry.kind {
                    FileKind::Dir => dirs.push(dir.child(&entry.name)),
                    _ if inos.contains(&entry.ino) => {
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
}

impl Tx<'_> {
    /// If this is a further name of a file already known, notes the name.
    pub(crate) fn other_name(
        &mut self,
        dir: Ino,
        name: &[u8],
        path: &RelPath,
        stamp: &Stamp,
    ) -> Result<Option<Ino>> {
        let Some(ino) = self.live.state.lower_ids.get(&stamp.id).copied() else {
            return Ok(None);
        };
        let Some(origin) = self.live.state.inodes.get(&ino).and_then(|i| i.origin.clone()) else {
            return Ok(None);
        };
        if let Some(change) = origin.seen.stamp.change_to(stamp) {
            return Err(self.core.lower.note_change(path, change));
        }
        if !origin.paths.contains(path) {
            let name = Name::new(name)?;
            let changed = self.is_pinned(ino) || self.live.state.inode(ino)?.is_changed();
            let mut inode = (**self.live.state.inode(ino)?).clone();
            let mut origin = (*origin).clone();
            origin.paths.push(path.clone());
            inode.origin = Some(Arc::new(origin));
            inode.names.push((dir, name));
            inode.is_pinned = false;
            self.live.state.insert(ino, inode);
            // Without its other names it may have been kept for a handle alone.
            self.live.state.orphans.remove_mut(&ino);
            if changed {
                self.pin(ino)?;
            }
        }
        Ok(Some(ino))
    }

    /// As [`Core::find_other_names`], under the lock: what is found is still so afterwards.
    pub(crate) fn find_other_names(&mut self) -> Result<()> {
        let wanted = self.lacking_names();
        if wanted.is_empty() {
            return Ok(());
        }
        let paths = self.core.paths_of(&wanted)?;
        self.take_names(&wanted, &paths)
    }

    /// The changed lower files that may have names that were not seen.
    fn lacking_names(&self) -> BTreeMap<LowerId, Ino> {
        let may_lack_names = |inode: &Inode| {
            let origin = inode.origin.as_ref()?;
            let lacks = origin.may_have_more_names() && inode.is_changed();
            lacks.then_some(origin.seen.stamp.id)
        };
        let inodes = self.live.state.inodes.iter();
        inodes.filter_map(|(ino, inode)| Some((may_lack_names(inode)?, *ino))).collect()
    }

    /// Notes where these files are beneath; what else is a name of theirs lies outside of the root.
    fn take_names(&mut self, wanted: &BTreeMap<LowerId, Ino>, paths: &[RelPath]) -> Result<()> {
        for path in paths {
            self.look_at_lower(path)?;
        }
        for (id, ino) in wanted {
            // Gone, or another file's by now, if others went on meanwhile.
            let inode = self.live.state.inodes.get(ino);
            let origin = inode.and_then(|inode| inode.origin.as_ref());
            if origin.is_some_and(|origin| origin.seen.stamp.id == *id) {
                self.all_names_are_known(*ino)?;
            }
        }
        Ok(())
    }

    /// Looks a lower path up in the directory that shows it, wherever that is now; does nothing if
    /// none does.
    fn look_at_lower(&mut self, path: &RelPath) -> Result<()> {
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

    /// Notes that all further names of this lower file are outside the root.
    fn all_names_are_known(&mut self, ino: Ino) -> Result<()> {
        let inode = self.live.state.inode_mut(ino)?;
        if let Some(origin) = &inode.origin {
            let links = origin.paths.len() as u64;
            inode.origin = Some(Arc::new(Origin { links, ..(**origin).clone() }));
        }
        if inode.names.is_empty() && !self.live.opens.contains_key(&ino) {
            self.live.state.forget(ino);
        }
        Ok(())
    }
}
