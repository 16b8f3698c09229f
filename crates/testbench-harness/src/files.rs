//! [`Files`]: the files that a session shows, and their names.
//!
//! The rule: host and guest name a file alike. The overlay is mounted at its root's own absolute
//! path, so `/home/me/proj/in.txt` is the same file to a test, a script and a guest. Where the
//! root is reached through a symlink (as `/tmp` is on macOS), it is mounted under its canonical
//! name as well, since that is what the process's own working directory is called.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use testbench_overlay::{Errno, FileKind, Follow, Fs, GuestPath, HostDir, Overlay};
use testbench_wasi::Mount;

use crate::sys;

/// The mounts of a session.
#[derive(Debug, Default)]
pub(crate) struct Files {
    overlay: Option<OverlayMount>,
    passthrough: Vec<Passthrough>,
}

#[derive(Debug)]
pub(crate) struct OverlayMount {
    overlay: Arc<Overlay>,
    /// The root's absolute names on the host: as it was given, and the canonical one if that
    /// differs.
    host_names: Vec<PathBuf>,
    /// Where guests see it, the first name being the preferred one.
    guest_names: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Passthrough {
    dir: Arc<HostDir>,
    host_names: Vec<PathBuf>,
}

impl Files {
    /// Shows `overlay` at `guest_path`, or under its own absolute names.
    pub(crate) fn set_overlay(
        &mut self,
        overlay: Arc<Overlay>,
        host_names: Vec<PathBuf>,
        guest_path: Option<Vec<u8>>,
    ) {
        let guest_names = match guest_path {
            Some(path) => vec![path],
            None => host_names.iter().map(|name| sys::guest_path(name)).collect(),
        };
        self.overlay = Some(OverlayMount { overlay, host_names, guest_names });
    }

    /// Shows a real directory read-only, under its own absolute names.
    pub(crate) fn add_passthrough(&mut self, dir: HostDir, host_names: Vec<PathBuf>) {
        self.passthrough.push(Passthrough { dir: Arc::new(dir), host_names });
    }

    pub(crate) fn overlay(&self) -> Option<&Arc<Overlay>> {
        self.overlay.as_ref().map(|mount| &mount.overlay)
    }

    /// The overlay's root on the host, as it was given; `None` without an overlay, or over nothing
    /// of the host's.
    pub(crate) fn overlay_root(&self) -> Option<&Path> {
        self.overlay.as_ref()?.host_names.first().map(PathBuf::as_path)
    }

    /// The names of the overlay's root: the host's, and the guests' where they differ.
    pub(crate) fn root_names(&self) -> Vec<Vec<u8>> {
        let Some(mount) = &self.overlay else { return Vec::new() };
        let host = mount.host_names.iter().map(|name| sys::guest_path(name));
        let mut names: Vec<_> = host.chain(mount.guest_names.iter().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The place in the overlay of a guest's path; `None` if it is elsewhere.
    pub(crate) fn in_overlay(&self, path: &[u8]) -> Option<Vec<u8>> {
        let mount = self.overlay.as_ref()?;
        mount.guest_names.iter().find_map(|name| sys::beneath(path, name)).map(<[u8]>::to_vec)
    }

    /// Every host name of a mounted directory, for redaction.
    pub(crate) fn host_names(&self) -> impl Iterator<Item = &Path> {
        let overlay = self.overlay.iter().flat_map(|mount| &mount.host_names);
        overlay.map(PathBuf::as_path)
    }

    /// The preopens of a guest, the overlay first; `tree` is what it gets in the overlay's place.
    pub(crate) fn mounts(&self, tree: impl Fn(&Arc<Overlay>) -> Arc<dyn Fs>) -> Vec<Mount> {
        let overlay = self.overlay.iter().map(|m| (tree(&m.overlay), m.guest_names.clone()));
        let others = self.trees().skip(self.overlay.iter().len());
        overlay
            .chain(others)
            .flat_map(|(fs, names)| {
                names.into_iter().map(move |guest_path| Mount {
                    fs: fs.clone(),
                    dir: None,
                    guest_path,
                })
            })
            .collect()
    }

    /// The working directory of a guest: `current_dir`, else `process_dir` if it lies inside the
    /// overlay, else the overlay's root. An absolute path, as the guest names it; `None` without
    /// files, where there is nothing to be in.
    ///
    /// A relative `current_dir` starts at what would be used without one. An absolute one is a
    /// guest's path, or with [`overlay_at`](crate::TestbenchBuilder::overlay_at) a host path
    /// inside the overlay's root.
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
            self.overlay
                .as_ref()
                .and_then(|m| m.translate(dir))
                .unwrap_or_else(|| sys::guest_path(dir))
        } else {
            join(&base, &sys::guest_path(dir))
        };
        self.check_dir(dir, &path)?;
        Ok(Some(path))
    }

    /// The working directory of a guest for which none is asked.
    pub(crate) fn base_dir(&self, process_dir: Option<&Path>) -> Option<Vec<u8>> {
        match &self.overlay {
            Some(mount) => {
                let inside = process_dir.and_then(|dir| mount.translate(dir));
                Some(inside.unwrap_or_else(|| mount.guest_names[0].clone()))
            }
            None => self.trees().next().map(|(_, mut names)| names.swap_remove(0)),
        }
    }

    /// Whether the guest's path `path`, which was given as `dir`, is a directory that a mount shows.
    fn check_dir(&self, dir: &Path, path: &[u8]) -> Result<(), CurrentDirError> {
        let dir = dir.to_owned();
        let mut best: Option<(Arc<dyn Fs>, &[u8], usize)> = None;
        for (fs, names) in self.trees() {
            for name in names {
                if let Some(rest) = sys::beneath(path, &name)
                    && best.as_ref().is_none_or(|(_, _, len)| name.len() > *len)
                {
                    best = Some((fs.clone(), rest, name.len()));
                }
            }
        }
        let Some((fs, rest, _)) = best else {
            return Err(match self.overlay_root() {
                Some(root) => CurrentDirError::Outside { dir, root: root.to_owned() },
                None => CurrentDirError::NoFiles { dir },
            });
        };
        let rest: &[u8] = if rest.is_empty() { b"." } else { rest };
        let stat = fs.root().and_then(|root| fs.stat_at(&*root, GuestPath::new(rest), Follow::Yes));
        match stat {
            Ok(stat) if stat.kind == FileKind::Dir => Ok(()),
            Ok(_) => Err(CurrentDirError::Enter { dir, errno: Errno::Notdir }),
            Err(errno) => Err(CurrentDirError::Enter { dir, errno }),
        }
    }

    /// Every tree with the guest's names for it.
    fn trees(&self) -> impl Iterator<Item = (Arc<dyn Fs>, Vec<Vec<u8>>)> {
        let overlay = self
            .overlay
            .iter()
            .map(|mount| (mount.overlay.clone() as Arc<dyn Fs>, mount.guest_names.clone()));
        let passthrough = self.passthrough.iter().map(|shown| {
            let names = shown.host_names.iter().map(|name| sys::guest_path(name)).collect();
            (shown.dir.clone() as Arc<dyn Fs>, names)
        });
        overlay.chain(passthrough)
    }
}

impl OverlayMount {
    /// The guest's name for a host path inside the root.
    fn translate(&self, host: &Path) -> Option<Vec<u8>> {
        let rest = self.host_names.iter().find_map(|name| host.strip_prefix(name).ok())?;
        Some(join(&self.guest_names[0], &sys::guest_path(rest)))
    }
}

/// Why a working directory cannot be entered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CurrentDirError {
    /// It lies outside of everything the session shows.
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
    /// It is inside, but cannot be entered: missing, a file, or a link that leads outside.
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
/// When there is no such directory.
pub(crate) fn host_names(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let canonical = dir.canonicalize()?;
    let given = std::path::absolute(dir)?;
    // A `..` has its meaning only on the disk, so such a name would name nothing to a guest.
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
