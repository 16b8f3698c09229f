//! The files that a session shows, and their names.
//!
//! The rule: host and guest name a file alike. The overlay is mounted at its root's own absolute
//! path, so `/home/me/proj/in.txt` is the same file to a test, a script and a guest. A root that is
//! reached through a symlink (as `/tmp` is on macOS) is mounted under its canonical name as well,
//! which is how the process's own working directory is called.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use testbench_overlay::{Errno, FileKind, Follow, Fs, GuestPath, HostDir, Overlay};
use testbench_wasi::Mount;

use crate::sys;

/// The mounts of a session.
#[derive(Debug, Default)]
pub(crate) struct Files {
    overlay: Option<Arc<Overlay>>,
    /// The overlay first, if there is one.
    shown: Vec<Shown>,
}

/// A tree that guests see.
#[derive(Debug)]
struct Shown {
    fs: Arc<dyn Fs>,
    /// The root's absolute names on the host: as it was given, and the canonical one if that
    /// differs.
    host_names: Vec<PathBuf>,
    /// The names by which guests know the root, the preferred one first.
    guest_names: Vec<Vec<u8>>,
}

impl Files {
    /// Shows `overlay` at `guest_path`, or under its own absolute names.
    pub(crate) fn set_overlay(
        &mut self,
        overlay: Arc<Overlay>,
        host_names: Vec<PathBuf>,
        guest_path: Option<Vec<u8>>,
    ) {
        let mut shown = Shown::new(overlay.clone(), host_names);
        if let Some(path) = guest_path {
            shown.guest_names = vec![path];
        }
        self.shown.insert(0, shown);
        self.overlay = Some(overlay);
    }

    /// Shows a real directory read-only, under its own absolute names.
    pub(crate) fn add_passthrough(&mut self, dir: HostDir, host_names: Vec<PathBuf>) {
        self.shown.push(Shown::new(Arc::new(dir), host_names));
    }

    pub(crate) fn overlay(&self) -> Option<&Arc<Overlay>> {
        self.overlay.as_ref()
    }

    /// The overlay's root on the host, as it was given; `None` without an overlay, or if the
    /// overlay has no directory of the host below it.
    pub(crate) fn overlay_root(&self) -> Option<&Path> {
        self.overlay_shown()?.host_names.first().map(PathBuf::as_path)
    }

    /// The names of the overlay's root: those of the host, and those of guests where they differ.
    pub(crate) fn root_names(&self) -> Vec<Vec<u8>> {
        let Some(shown) = self.overlay_shown() else { return Vec::new() };
        let host = shown.host_names.iter().map(|name| sys::guest_path(name));
        let mut names: Vec<_> = host.chain(shown.guest_names.iter().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The place in the overlay of a guest's path; `None` if it is elsewhere.
    pub(crate) fn in_overlay(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.overlay_shown()?.beneath(path).map(<[u8]>::to_vec)
    }

    /// Every host name of the overlay's root, for redaction.
    pub(crate) fn host_names(&self) -> impl Iterator<Item = &Path> {
        self.overlay_shown().into_iter().flat_map(|shown| &shown.host_names).map(PathBuf::as_path)
    }

    /// The preopens of a guest, the overlay first; `tree` gives the one that stands for it.
    pub(crate) fn mounts(&self, tree: impl Fn(&Arc<Overlay>) -> Arc<dyn Fs>) -> Vec<Mount> {
        let overlay = self.overlay.iter().map(tree);
        let others = self.shown.iter().skip(overlay.len()).map(|shown| shown.fs.clone());
        let mut mounts = Vec::new();
        for (fs, shown) in overlay.chain(others).zip(&self.shown) {
            let names = shown.guest_names.iter().cloned();
            mounts.extend(names.map(|guest_path| Mount { fs: fs.clone(), dir: None, guest_path }));
        }
        mounts
    }

    /// The working directory of a guest: `current_dir`, else `process_dir` if it lies inside the
    /// overlay, else the overlay's root. It is an absolute path, as the guest names it, and `None`
    /// in a session without files.
    ///
    /// A relative `current_dir` starts at the directory that would be used without it. An absolute
    /// one is a guest's path, or with [`overlay_at`](crate::TestbenchBuilder::overlay_at) a host
    /// path inside the overlay's root.
    pub(crate) fn cwd(
        &self,
        current_dir: Option<&Path>,
        process_dir: Option<&Path>,
    ) -> Result<Option<Vec<u8>>, CurrentDirError> {
        let base = self.base_dir(process_dir);
        let Some(dir) = current_dir else { return Ok(base) };
        let Some(base) = base else {
            return Err(CurrentDirError::NoFiles { dir: dir.to_owned() });
        };
        let path = if dir.is_absolute() || dir.has_root() {
            self.translate(dir).unwrap_or_else(|| sys::guest_path(dir))
        } else {
            join(&base, &sys::guest_path(dir))
        };
        self.check_dir(dir, &path)?;
        Ok(Some(path))
    }

    /// The working directory of a guest whose command names none.
    pub(crate) fn base_dir(&self, process_dir: Option<&Path>) -> Option<Vec<u8>> {
        let inside = process_dir.and_then(|dir| self.translate(dir));
        inside.or_else(|| self.shown.first()?.guest_names.first().cloned())
    }

    /// Checks that a mount shows a directory at the guest's path `path`, which was given as `dir`.
    fn check_dir(&self, dir: &Path, path: &[u8]) -> Result<(), CurrentDirError> {
        let dir = dir.to_owned();
        let holders = self.shown.iter().filter_map(|shown| Some((shown, shown.beneath(path)?)));
        // The innermost mount, and the first of several.
        let Some((shown, rest)) = holders.min_by_key(|(_, rest)| rest.len()) else {
            return Err(match self.overlay_root() {
                Some(root) => CurrentDirError::Outside { dir, root: root.to_owned() },
                None => CurrentDirError::NoFiles { dir },
            });
        };
        let rest = GuestPath::new(if rest.is_empty() { &b"."[..] } else { rest });
        let stat = shown.fs.root().and_then(|root| shown.fs.stat_at(&*root, rest, Follow::Yes));
        match stat {
            Ok(stat) if stat.kind == FileKind::Dir => Ok(()),
            Ok(_) => Err(CurrentDirError::Enter { dir, errno: Errno::Notdir }),
            Err(errno) => Err(CurrentDirError::Enter { dir, errno }),
        }
    }

    /// The guest's name for a host path inside the overlay's root.
    fn translate(&self, host: &Path) -> Option<Vec<u8>> {
        let shown = self.overlay_shown()?;
        let rest = shown.host_names.iter().find_map(|name| host.strip_prefix(name).ok())?;
        Some(join(shown.guest_names.first()?, &sys::guest_path(rest)))
    }

    fn overlay_shown(&self) -> Option<&Shown> {
        self.shown.first().filter(|_| self.overlay.is_some())
    }
}

impl Shown {
    fn new(fs: Arc<dyn Fs>, host_names: Vec<PathBuf>) -> Shown {
        let guest_names = host_names.iter().map(|name| sys::guest_path(name)).collect();
        Shown { fs, host_names, guest_names }
    }

    /// The rest of a guest's path below the longest of the root's names.
    fn beneath<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let rests = self.guest_names.iter().filter_map(|name| sys::beneath(path, name));
        rests.min_by_key(|rest| rest.len())
    }
}

/// Why a working directory cannot be entered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CurrentDirError {
    /// It lies outside of all that the session shows.
    #[error(
        "its current_dir `{}` is outside of the overlay's root `{}`; a path outside is never \
         looked up on the disk (show a directory read-only with `.passthrough(dir)`)",
        dir.display(), root.display()
    )]
    Outside {
        /// As it was given.
        dir: PathBuf,
        /// The overlay's root on the host.
        root: PathBuf,
    },
    /// The session shows no files at all.
    #[error(
        "its current_dir is `{}`, but the session has no files; \
         give it a directory with `.overlay(dir)`",
        dir.display()
    )]
    NoFiles {
        /// As it was given.
        dir: PathBuf,
    },
    /// It is inside, but cannot be entered: it is missing, a file, or a link that leads outside.
    #[error("its current_dir `{}` cannot be entered: {errno}", dir.display())]
    Enter {
        /// As it was given.
        dir: PathBuf,
        /// The overlay's error.
        errno: Errno,
    },
}

/// The absolute names of a directory: as it was given, and the canonical one if that differs.
///
/// # Errors
///
/// Fails if there is no such directory.
pub(crate) fn host_names(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let canonical = dir.canonicalize()?;
    let given = std::path::absolute(dir)?;
    // A guest resolves `..` in its own tree, so a name with it would lead elsewhere there.
    let literal = given.components().all(|c| c.as_os_str() != OsStr::new(".."));
    if literal && given != canonical { Ok(vec![given, canonical]) } else { Ok(vec![canonical]) }
}

fn join(dir: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut path = dir.to_vec();
    if !rest.is_empty() {
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(rest);
    }
    path
}
