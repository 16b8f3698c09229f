//! The only path walk.
//!
//! Every tree resolves paths here, component by component; neither the kernel nor any other code
//! follows a symlink for us. A tree says what a name in a directory is ([`Walk::step`]); the walk
//! does the rest by the rules of POSIX.1-2017 4.13 and Linux's `path_resolution(7)`:
//!
//! - `..` goes back to the directory through which the walk came, never to what the text says.
//! - The directory from which a walk starts is a boundary: a `..` in it is [`Errno::NotCapable`].
//! - An absolute symlink is refused the same way, unless the tree says that its target lies inside
//!   ([`Walk::inside`]); then the walk goes on from the top, and must end within the boundary.
//! - Where the boundary is the top, a tree may let symlinks lead out of it ([`Walk::may_leave`]):
//!   then the walk goes on around the tree, by the same rules.

use std::borrow::Cow;
use std::ops::Range;

use smallvec::{SmallVec, smallvec};

use crate::vfs::Result;
use crate::vfs::name::NAME_BYTES_MAX;
use crate::{Create, Errno, Follow, GuestPath, OpenHow};

/// Linux's `MAXSYMLINKS`: enough for any real tree, and an end for loops.
const LINKS_MAX: usize = 40;

/// Linux's `PATH_MAX`, including the terminating NUL.
pub(crate) const PATH_BYTES_MAX: usize = 4096;

/// A tree as the walk sees it.
pub(crate) trait Walk {
    /// A directory through which a path leads.
    type Dir: Clone;
    /// Anything else, as the caller wants it.
    type Leaf;

    /// Whether names in `dir`, or `.` and `..`, may be looked up at all. [`Walk::step`] asks this
    /// too.
    fn search(&mut self, dir: &Self::Dir, is_for_dots: bool) -> Result<()>;

    /// Returns the kind of `name` in `dir`. Unless it `is_last`, the walk continues through it.
    fn step(
        &mut self,
        dir: &Self::Dir,
        name: &[u8],
        is_last: bool,
    ) -> Result<Step<Self::Dir, Self::Leaf>>;

    /// The top directory.
    fn top(&mut self) -> Self::Dir;

    /// Whether the two are one directory.
    fn same(&self, a: &Self::Dir, b: &Self::Dir) -> bool;

    /// Whether a symlink in `dir` may lead out of the tree.
    fn may_leave(&self, dir: &Self::Dir) -> bool {
        let _ = dir;
        false
    }

    /// The directories on the way from `/` to where a walk goes on that leaves the tree.
    fn leave(&mut self, how: Leaving) -> Result<Trail<Self::Dir>> {
        let _ = how;
        Err(Errno::NotCapable)
    }

    /// Returns the part of `target` behind the tree's own absolute path, if it leads there.
    fn inside<'t>(&self, target: &'t [u8]) -> Option<&'t [u8]>;
}

/// How a symlink leads out of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// From `/`.
    Absolute,
    /// By a `..` in the top, to the directory above.
    Up,
}

/// The directories through which a walk has come.
pub(crate) type Trail<D> = SmallVec<[D; 8]>;

/// The kind of a name.
#[derive(Clone, Debug)]
pub(crate) enum Step<D, L> {
    Missing,
    Dir(D),
    /// A symlink, with its target and itself.
    Link(Vec<u8>, L),
    Leaf(L),
}

/// The treatment of a symlink at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Follow it.
    Follow,
    /// Follow it, unless a slash comes behind it: `O_CREAT` makes no directories, and refuses the
    /// slash at the end of the path or of a symlink before it looks at what is before it.
    Create,
    /// Follow it only if a slash comes behind it.
    Keep,
    /// Never follow it: the caller wants to create or remove the name itself.
    Name,
    /// Do not even look: the caller will, with [`Place::look`].
    Parent,
}

impl End {
    /// The end of a walk to something that exists.
    pub(crate) fn of(follow: Follow) -> End {
        match follow {
            Follow::Yes => End::Follow,
            Follow::No => End::Keep,
        }
    }

    /// The end of a walk to something that is to be opened.
    pub(crate) fn of_open(path: GuestPath<'_>, how: &OpenHow) -> End {
        let creates = how.create != Create::Never;
        match how.follow {
            _ if how.create == Create::New => End::Name,
            // `O_CREAT` with a slash behind is refused without following what comes before it.
            _ if creates && path.as_bytes().last() == Some(&b'/') => End::Name,
            Follow::Yes if creates => End::Create,
            follow => End::of(follow),
        }
    }
}

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Place<D, L> {
    /// The directory that holds the last component; for [`Last::Dot`] the place itself.
    pub(crate) dir: D,
    pub(crate) last: Last,
    pub(crate) found: Step<D, L>,
    /// A slash follows the last component, so that only a directory will do.
    pub(crate) slash: bool,
}

impl<D: Clone, L> Place<D, L> {
    /// Looks up the last component after a walk with [`End::Parent`].
    pub(crate) fn look<W: Walk<Dir = D, Leaf = L>>(&mut self, tree: &mut W) -> Result<()> {
        if let Last::Name(name) = &self.last {
            if name.len() > NAME_BYTES_MAX {
                return Err(Errno::Nametoolong);
            }
            self.found = tree.step(&self.dir, name, true)?;
        }
        Ok(())
    }
}

/// A name, on the stack unless it is a long one.
pub(crate) type ShortName = SmallVec<[u8; 48]>;

/// The last component of a resolved path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Name(ShortName),
    /// `.`, or the end of a symlink to the top.
    Dot,
    /// `..`
    DotDot,
}

/// Walks `path` from `start`.
pub(crate) fn walk<W: Walk>(
    tree: &mut W,
    start: W::Dir,
    path: GuestPath<'_>,
    end: End,
) -> Result<Place<W::Dir, W::Leaf>> {
    check_text(path)?;
    if path.is_absolute() {
        return Err(Errno::NotCapable);
    }
    let trail = smallvec![start.clone()];
    let mut walker = Walker {
        tree,
        start: &start,
        trail,
        from_top: false,
        is_out: false,
        may_leave: false,
        links: 0,
    };
    let place = walker.run(path.as_bytes(), end)?;
    if walker.from_top && !walker.is_out && !walker.is_within(&start, &place, end) {
        return Err(Errno::NotCapable);
    }
    Ok(place)
}

struct Walker<'w, W: Walk> {
    tree: &'w mut W,
    /// The boundary.
    start: &'w W::Dir,
    /// The directories from the boundary (or the top, or `/`) down to where the walk is.
    trail: Trail<W::Dir>,
    from_top: bool,
    /// The trail begins at `/`, since a symlink has led out of the tree.
    is_out: bool,
    /// The symlink from which the text comes that is walked may lead out.
    may_leave: bool,
    links: usize,
}

impl<W: Walk> Walker<'_, W> {
    fn here(&self) -> &W::Dir {
        self.trail.last().expect("the trail starts with a directory that is never taken off")
    }

    fn run(&mut self, path: &[u8], end: End) -> Result<Place<W::Dir, W::Leaf>> {
        // As the mirror of `std::fs` names the top itself: nothing is looked up in it.
        let is_top = path == b"." && {
            let top = self.tree.top();
            self.tree.same(self.here(), &top)
        };
        let mut todo = Todo::new(path);
        let mut last = Last::Dot;
        while let Some(part) = todo.next() {
            let of_link = todo.is_of_link(part.start);
            let here = self.trail.last().expect("as in `here`");
            match todo.text(part) {
                b"." if is_top => {}
                b"." => {
                    self.tree.search(here, true)?;
                    last = Last::Dot;
                }
                b".." => {
                    self.tree.search(here, true)?;
                    match self.trail.len() {
                        // Above `/` there is nothing.
                        1 if self.is_out => {}
                        1 if of_link && self.may_leave => self.leave(Leaving::Up)?,
                        1 => return Err(Errno::NotCapable),
                        _ => {
                            self.trail.pop();
                        }
                    }
                    last = Last::DotDot;
                }
                name => {
                    let is_last = todo.is_done();
                    let arrived = |dir: &W::Dir, found| Place {
                        dir: dir.clone(),
                        last: Last::Name(ShortName::from_slice(name)),
                        found,
                        slash: todo.slash(),
                    };
                    if is_last && end == End::Parent {
                        self.tree.search(here, false)?;
                        return Ok(arrived(here, Step::Missing));
                    }
                    if name.len() > NAME_BYTES_MAX {
                        self.tree.search(here, false)?;
                        return Err(Errno::Nametoolong);
                    }
                    match (self.tree.step(here, name, is_last)?, is_last) {
                        (Step::Link(target, _), _) if follows(is_last, todo.slash(), end) => {
                            let before = !of_link || self.may_leave;
                            self.may_leave = before && self.tree.may_leave(here);
                            todo.enter(self.enter_link(&target)?);
                            last = Last::Dot;
                        }
                        (found, true) => return Ok(arrived(here, found)),
                        (Step::Dir(dir), false) => self.trail.push(dir),
                        (Step::Missing, false) => return Err(Errno::Noent),
                        (Step::Link(..) | Step::Leaf(_), false) => return Err(Errno::Notdir),
                    }
                }
            }
        }
        let here = self.here().clone();
        Ok(Place { dir: here.clone(), last, found: Step::Dir(here), slash: todo.slash() })
    }

    /// Whether a walk that has gone over the top has come back to the boundary. A name beside the
    /// boundary that stands for the boundary itself may be looked at, not changed.
    fn is_within(&self, start: &W::Dir, place: &Place<W::Dir, W::Leaf>, end: End) -> bool {
        let is_start = |dir: &W::Dir| self.tree.same(dir, start);
        self.trail.iter().any(is_start)
            || match &place.found {
                Step::Dir(dir) => {
                    matches!(end, End::Follow | End::Create | End::Keep) && is_start(dir)
                }
                _ => false,
            }
    }

    /// Returns the path to walk in place of a symlink.
    fn enter_link<'t>(&mut self, target: &'t [u8]) -> Result<&'t [u8]> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::Loop);
        }
        check_text(GuestPath::new(target))?;
        if target.first() != Some(&b'/') {
            return Ok(target);
        }
        match self.tree.inside(target) {
            Some(rest) => {
                self.trail = smallvec![self.tree.top()];
                (self.from_top, self.is_out) = (true, false);
                Ok(rest)
            }
            None if self.may_leave => self.leave(Leaving::Absolute).map(|()| target),
            None => Err(Errno::NotCapable),
        }
    }

    /// Goes on around the tree.
    fn leave(&mut self, how: Leaving) -> Result<()> {
        let top = self.tree.top();
        if !self.tree.same(self.start, &top) {
            return Err(Errno::NotCapable);
        }
        self.trail = self.tree.leave(how)?;
        self.is_out = true;
        Ok(())
    }
}

fn follows(is_last: bool, slash: bool, end: End) -> bool {
    !is_last
        || match end {
            End::Follow => true,
            End::Create => !slash,
            End::Keep => slash,
            End::Name | End::Parent => false,
        }
}

/// The rest of the walk. Most paths contain no symlink, and are not copied.
struct Todo<'p> {
    text: Cow<'p, [u8]>,
    /// Everything before is walked.
    at: usize,
    /// How much at the end is of the path itself, and not of a symlink.
    of_path: usize,
}

impl<'p> Todo<'p> {
    fn new(path: &'p [u8]) -> Todo<'p> {
        Todo { text: Cow::Borrowed(path), at: 0, of_path: path.len() }
    }

    /// Where the next component is.
    fn next(&mut self) -> Option<Range<usize>> {
        let is_slash = |b: &u8| *b == b'/';
        let start = self.at + self.text[self.at..].iter().position(|b| !is_slash(b))?;
        let len = self.text[start..].iter().position(is_slash);
        self.at = len.map_or(self.text.len(), |len| start + len);
        Some(start..self.at)
    }

    fn text(&self, part: Range<usize>) -> &[u8] {
        &self.text[part]
    }

    /// Whether nothing but slashes is left.
    fn is_done(&self) -> bool {
        self.text[self.at..].iter().all(|b| *b == b'/')
    }

    /// Whether a slash follows the last component. One behind a component in the middle of the
    /// path is nothing special.
    fn slash(&self) -> bool {
        self.text.last() == Some(&b'/')
    }

    /// Whether what begins here comes from a symlink's target.
    fn is_of_link(&self, start: usize) -> bool {
        start < self.text.len() - self.of_path
    }

    /// Goes on with a symlink's target before the rest.
    fn enter(&mut self, target: &[u8]) {
        let rest = &self.text[self.at..];
        self.of_path = self.of_path.min(rest.len());
        self.text = Cow::Owned([target, rest].concat());
        self.at = 0;
    }
}

/// A slash behind a name asks for a directory, which `open` does not make; behind a dot it says nothing
/// new.
pub(crate) fn not_to_create(last: &Last, create: Create) -> Errno {
    match last {
        Last::Dot | Last::DotDot if create == Create::New => Errno::Exist,
        _ => Errno::Isdir,
    }
}

pub(crate) fn check_text(path: GuestPath<'_>) -> Result<()> {
    if path.is_empty() {
        Err(Errno::Noent)
    } else if path.as_bytes().len() >= PATH_BYTES_MAX {
        Err(Errno::Nametoolong)
    } else if path.as_bytes().contains(&0) {
        Err(Errno::Inval)
    } else {
        Ok(())
    }
}

/// Returns the part of the absolute path `target` behind the directory `root`, compared component by
/// component; a slash at the end is kept.
pub(crate) fn strip_root<'t>(target: &'t [u8], root: &[u8]) -> Option<&'t [u8]> {
    // The usual spelling.
    if let Some(rest) = target.strip_prefix(root)
        && matches!(rest.first(), None | Some(b'/'))
    {
        return Some(skip_nothing(rest));
    }
    let mut rest = target;
    for part in GuestPath::new(root).components() {
        rest = skip_nothing(rest).strip_prefix(part)?;
        if !matches!(rest.first(), None | Some(b'/')) {
            return None;
        }
    }
    Some(skip_nothing(rest))
}

/// Skips slashes, and `.` components.
fn skip_nothing(mut path: &[u8]) -> &[u8] {
    loop {
        path = match path {
            [b'/', rest @ ..] | [b'.', b'/', rest @ ..] => rest,
            _ => return path,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_stripped_by_whole_components() {
        let strip = |t: &'static str, r: &str| strip_root(t.as_bytes(), r.as_bytes());
        assert_eq!(strip("/a/b/c", "/a/b"), Some(&b"c"[..]));
        assert_eq!(strip("//a/./b//c/", "/a/b/"), Some(&b"c/"[..]));
        assert_eq!(strip("/a/b", "/a/b"), Some(&b""[..]));
        assert_eq!(strip("/a/bc", "/a/b"), None);
        assert_eq!(strip("/a", "/a/b"), None);
        assert_eq!(strip("/x/y", "/"), Some(&b"x/y"[..]));
        assert_eq!(strip("/a/../a/b/c", "/a/b"), None);
    }
}
