//! The inode table: a persistent trie over inode numbers.
//!
//! Every operation looks inodes up several times, mostly some that are in no cache of the processor,
//! and the first look at a lower file adds one. So the entries lie in the branches themselves, and
//! not each in an allocation of its own behind its branch. The digits of a number are taken from its
//! low end: numbers of lower files are hashes, those of new files count up, and both spread.

use std::sync::Arc;

use crate::upper::inode::{Ino, Inode};

/// How many bits of a number choose the slot in a branch. With more, branches of a small table are
/// mostly empty, and a change after a checkpoint copies more.
const DIGIT_BITS: u32 = 4;
const SLOTS: usize = 1 << DIGIT_BITS;

/// A map from numbers to inodes. A copy of it costs one reference count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inodes {
    root: Arc<Branch>,
    size: usize,
}

#[derive(Clone, Debug, Default)]
struct Branch {
    slots: [Slot; SLOTS],
}

#[derive(Clone, Debug, Default)]
enum Slot {
    #[default]
    Empty,
    Inode(Ino, Arc<Inode>),
    /// More than one inode whose numbers have the digits that lead here.
    Branch(Arc<Branch>),
}

impl Inodes {
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn get(&self, ino: &Ino) -> Option<&Arc<Inode>> {
        let mut branch = &self.root;
        for level in 0.. {
            match &branch.slots[digit(*ino, level)] {
                Slot::Branch(below) => branch = below,
                Slot::Inode(held, inode) if held == ino => return Some(inode),
                Slot::Inode(..) | Slot::Empty => break,
            }
        }
        None
    }

    pub(crate) fn contains_key(&self, ino: &Ino) -> bool {
        self.get(ino).is_some()
    }

    pub(crate) fn get_mut(&mut self, ino: &Ino) -> Option<&mut Arc<Inode>> {
        let mut branch = Arc::make_mut(&mut self.root);
        for level in 0.. {
            match &mut branch.slots[digit(*ino, level)] {
                Slot::Branch(below) => branch = Arc::make_mut(below),
                Slot::Inode(held, inode) if held == ino => return Some(inode),
                Slot::Inode(..) | Slot::Empty => break,
            }
        }
        None
    }

    pub(crate) fn insert_mut(&mut self, ino: Ino, inode: Arc<Inode>) {
        let is_new = Arc::make_mut(&mut self.root).insert(0, ino, inode);
        self.size += usize::from(is_new);
    }

    pub(crate) fn remove_mut(&mut self, ino: &Ino) {
        // Looked for first: nothing is copied for what is not there.
        if self.contains_key(ino) {
            Arc::make_mut(&mut self.root).remove(0, *ino);
            self.size -= 1;
        }
    }

    /// In an order that depends on nothing but the numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Ino, &Arc<Inode>)> {
        let mut open = vec![self.root.slots.iter()];
        std::iter::from_fn(move || {
            loop {
                match open.last_mut()?.next() {
                    Some(Slot::Inode(ino, inode)) => return Some((ino, inode)),
                    Some(Slot::Branch(below)) => open.push(below.slots.iter()),
                    Some(Slot::Empty) => {}
                    None => drop(open.pop()),
                }
            }
        })
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<Inode>> {
        self.iter().map(|(_, inode)| inode)
    }
}

impl Branch {
    /// Whether there was none with this number. Two numbers differ in some digit, so it ends.
    fn insert(&mut self, level: u32, ino: Ino, inode: Arc<Inode>) -> bool {
        let slot = &mut self.slots[digit(ino, level)];
        match slot {
            Slot::Empty => *slot = Slot::Inode(ino, inode),
            Slot::Branch(below) => return Arc::make_mut(below).insert(level + 1, ino, inode),
            Slot::Inode(held, before) if *held == ino => {
                *before = inode;
                return false;
            }
            Slot::Inode(held, _) => {
                let held = digit(*held, level + 1);
                let mut below = Branch::default();
                below.slots[held] = std::mem::take(slot);
                below.insert(level + 1, ino, inode);
                *slot = Slot::Branch(Arc::new(below));
            }
        }
        true
    }

    /// Removes what is known to be there, and the branches that this empties.
    fn remove(&mut self, level: u32, ino: Ino) {
        let slot = &mut self.slots[digit(ino, level)];
        if let Slot::Branch(below) = slot {
            let below = Arc::make_mut(below);
            below.remove(level + 1, ino);
            if !below.is_empty() {
                return;
            }
        }
        *slot = Slot::Empty;
    }

    fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot, Slot::Empty))
    }
}

fn digit(ino: Ino, level: u32) -> usize {
    (ino.0 >> (level * DIGIT_BITS)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::upper::inode::{Dir, Meta, Node};

    fn inode(mode: u32) -> Arc<Inode> {
        let meta = Meta::new(mode, testbench_clock::WallTime::from_unix_nanos(0));
        Arc::new(Inode {
            meta,
            node: Node::Dir(Dir::opaque()),
            names: Default::default(),
            is_pinned: false,
            origin: None,
        })
    }

    #[test]
    fn agrees_with_a_plain_map_and_copies_stand_apart() {
        let (mut table, mut plain) = (Inodes::default(), BTreeMap::new());
        let mut copies = Vec::new();
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for step in 0..4_000_u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Numbers that agree in their low digits, in their high ones, and in neither.
            let ino = Ino(match seed >> 62 {
                0 => (seed >> 32) % 64,
                1 => ((seed >> 32) % 64) << 58,
                _ => ((seed >> 40) % 512).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            });
            match (seed >> 20) % 4 {
                0 => {
                    table.remove_mut(&ino);
                    plain.remove(&ino);
                }
                1 => {
                    let change = |inode: &mut Arc<Inode>| Arc::make_mut(inode).meta.mode = step;
                    table.get_mut(&ino).map(change);
                    if let Some(mode) = plain.get_mut(&ino) {
                        *mode = step;
                    }
                }
                _ => {
                    table.insert_mut(ino, inode(step));
                    plain.insert(ino, step);
                }
            }
            if step % 500 == 0 {
                copies.push((table.clone(), plain.clone()));
            }
        }
        copies.push((table, plain));
        for (table, plain) in copies {
            let held: BTreeMap<_, _> = table.iter().map(|(ino, i)| (*ino, i.meta.mode)).collect();
            assert_eq!((table.size(), &held), (plain.len(), &plain));
            assert!(plain.iter().all(|(ino, mode)| table.get(ino).unwrap().meta.mode == *mode));
        }
    }

    #[test]
    fn what_is_emptied_takes_no_room() {
        let mut table = Inodes::default();
        for n in 0..1_000 {
            table.insert_mut(Ino(n << 20), inode(0));
        }
        (0..1_000).for_each(|n| table.remove_mut(&Ino(n << 20)));
        assert!(table.root.is_empty() && table.size() == 0 && table.iter().next().is_none());
    }
}
