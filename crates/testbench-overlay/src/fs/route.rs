//! The target of a host path: the real disk, the installed overlay, or an error.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use testbench_clock::Lookup;

use crate::fs::install;
use crate::handle::Handle;
use crate::resolve::{PATH_BYTES_MAX, strip_root};
use crate::vfs::Result;
use crate::{Errno, File, Fs, GuestPath, LowerChange, Overlay};

/// Decided once, at the edge of each public call.
pub(super) enum Route<'p> {
    /// Nothing is installed here.
    Real,
    Tree(Place<'p>),
}

/// A path in a tree.
#[derive(Debug)]
pub(super) struct Place<'p> {
    path: Cow<'p, [u8]>,
    overlay: Arc<Overlay>,
    /// The number of the directory that is passed through, if it is in one, with its top.
    through: Option<(usize, Arc<dyn File>)>,
}

/// An error with more detail than its number. Its kind is the one of the number.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(
        "`{}` is outside of the overlay of `{}`, and nothing falls through to the disk; let \
         `OverlayBuilder::passthrough` (or the session's `passthrough(dir)`) reach that directory, \
         or make the overlay of a directory above both",
        path.display(),
        root.display()
    )]
    Outside { path: PathBuf, root: PathBuf },
    #[error("{change}; run again while nothing else writes there")]
    LowerChanged { change: LowerChange },
    #[error(
        "`{}` was opened and is no more: a rollback went back to before it was made, or before it \
         was seen; open it again",
        path.display()
    )]
    RolledBack { path: PathBuf },
}

pub(super) fn route(path: &Path) -> io::Result<Route<'_>> {
    let overlay = match install::look_up().map_err(io::Error::other)? {
        Lookup::Absent => return Ok(Route::Real),
        Lookup::Open(overlay) => overlay,
        Lookup::Closed(_, ended) => return Err(io::Error::other(ended)),
    };
    find(overlay, path).map(Route::Tree)
}

/// Runs an operation on a path: `real` on the disk, or `tree` in the tree to which the path leads.
pub(super) fn at<'p, T>(
    path: &'p Path,
    real: impl FnOnce(&'p Path) -> io::Result<T>,
    tree: impl FnOnce(&dyn Fs, &dyn File, GuestPath<'_>) -> Result<T>,
) -> io::Result<T> {
    match route(path)? {
        Route::Real => real(path),
        Route::Tree(place) => place.result(tree(place.fs(), place.top(), place.guest())),
    }
}

/// The error of an operation at a place.
pub(super) fn error(place: &Place<'_>, errno: Errno) -> io::Error {
    let refused = match errno {
        Errno::NotCapable => Refused::Outside {
            path: PathBuf::from(os_str(&place.path)),
            root: root_of(&place.overlay),
        },
        Errno::Stale => match change_at(place) {
            Some(change) => Refused::LowerChanged { change },
            None => return errno.into(),
        },
        _ => return errno.into(),
    };
    io::Error::new(io::Error::from(errno).kind(), refused)
}

/// The error of an operation on a file that was opened at a place.
pub(super) fn error_of_open(place: &Place<'_>, file: &dyn File, errno: Errno) -> io::Error {
    let is_undone = || Handle::is_undone(file, &place.overlay.core) || change_at(place).is_none();
    if errno == Errno::Stale && place.is_overlay() && is_undone() {
        let refused = Refused::RolledBack { path: PathBuf::from(os_str(&place.path)) };
        return io::Error::new(io::Error::from(errno).kind(), refused);
    }
    error(place, errno)
}

/// The change beneath because of which an operation at a place has failed: the one of that path, or,
/// where symlinks or directories on the way led elsewhere, the last one.
fn change_at(place: &Place<'_>) -> Option<LowerChange> {
    let mut changes = place.overlay.lower_changes();
    let at = changes.iter().position(|change| change.path() == &*place.path);
    at.map(|at| changes.swap_remove(at)).or_else(|| changes.pop())
}

fn find(overlay: Arc<Overlay>, path: &Path) -> io::Result<Place<'_>> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.is_empty() {
        return Err(Errno::Noent.into());
    }
    // As long as the kernel takes them, whatever part of that is the way to the root.
    if bytes.len() >= PATH_BYTES_MAX {
        return Err(Errno::Nametoolong.into());
    }
    let inside = if path.is_absolute() {
        let inside = inside(&overlay, bytes).map(Cow::Borrowed);
        inside.or_else(|| real_inside(&overlay, path).map(Cow::Owned))
    } else {
        Some(from_cwd(&overlay, bytes))
    };
    if let Some(path) = inside {
        return Ok(Place { path: or_dot(path), overlay, through: None });
    }
    for (index, (dir, top)) in overlay.core.config.passthrough.iter().enumerate() {
        if let Some(rest) = strip_root(bytes, dir.path().as_os_str().as_encoded_bytes()) {
            let through = Some((index, top.clone()?));
            return Ok(Place { path: or_dot(Cow::Borrowed(rest)), overlay, through });
        }
    }
    let refused = Refused::Outside { path: path.to_path_buf(), root: root_of(&overlay) };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, refused))
}

fn or_dot(path: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if path.is_empty() { Cow::Borrowed(b".") } else { path }
}

/// Returns the rest of a path behind the overlay's own absolute path.
fn inside<'p>(overlay: &Overlay, path: &'p [u8]) -> Option<&'p [u8]> {
    match &overlay.core.config.host_root {
        Some((given, canonical)) => [given, canonical]
            .into_iter()
            .find_map(|root| strip_root(path, root.as_os_str().as_encoded_bytes())),
        None => strip_root(path, overlay.guest_root()),
    }
}

/// The same for a path that leads to the root by another way, such as a symlink outside of it.
fn real_inside(overlay: &Overlay, path: &Path) -> Option<Vec<u8>> {
    let root = overlay.host_root()?;
    let mut prefixes: Vec<&Path> = path.ancestors().collect();
    prefixes.reverse();
    let prefix = prefixes.into_iter().find(|p| p.canonicalize().is_ok_and(|real| real == root))?;
    let (path, prefix) = (path.as_os_str().as_encoded_bytes(), prefix.as_os_str().len());
    let rest = &path[prefix..];
    Some(rest.strip_prefix(b"/").unwrap_or(rest).to_vec())
}

/// A relative path starts from the current directory if that is inside, else from the top: the
/// same rule as for guests.
fn from_cwd<'p>(overlay: &Overlay, path: &'p [u8]) -> Cow<'p, [u8]> {
    let cwd = std::env::current_dir().ok();
    let cwd = cwd.as_ref().and_then(|cwd| inside(overlay, cwd.as_os_str().as_encoded_bytes()));
    match cwd {
        Some(cwd) if !cwd.is_empty() => Cow::Owned([cwd, b"/", path].concat()),
        _ => Cow::Borrowed(path),
    }
}

fn root_of(overlay: &Overlay) -> PathBuf {
    overlay.host_root().map_or_else(|| os_str(overlay.guest_root()).into(), Path::to_path_buf)
}

/// Raw bytes as a host path.
pub(super) fn os_str(bytes: &[u8]) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

impl Place<'_> {
    pub(super) fn fs(&self) -> &dyn Fs {
        match &self.through {
            Some((index, _)) => &self.overlay.core.config.passthrough[*index].0,
            None => &*self.overlay,
        }
    }

    /// The top directory of [`Place::fs`].
    pub(super) fn top(&self) -> &dyn File {
        match &self.through {
            Some((_, top)) => &**top,
            None => self.overlay.top(),
        }
    }

    pub(super) fn into_owned(self) -> Place<'static> {
        let Place { path, overlay, through } = self;
        Place { path: Cow::Owned(path.into_owned()), overlay, through }
    }

    pub(super) fn guest(&self) -> GuestPath<'_> {
        GuestPath::new(&self.path)
    }

    /// The result of an operation here, with an error that says what it can.
    pub(super) fn result<T>(&self, result: Result<T>) -> io::Result<T> {
        result.map_err(|errno| error(self, errno))
    }

    pub(super) fn overlay(&self) -> &Arc<Overlay> {
        &self.overlay
    }

    /// Whether the place is in the overlay, not in a directory that is passed through.
    pub(super) fn is_overlay(&self) -> bool {
        self.through.is_none()
    }

    pub(super) fn same_tree(&self, other: &Place<'_>) -> bool {
        let through = |place: &Place<'_>| place.through.as_ref().map(|(index, _)| *index);
        Arc::ptr_eq(&self.overlay, &other.overlay) && through(self) == through(other)
    }

    /// The host's path of the overlay.
    pub(super) fn root(&self) -> PathBuf {
        root_of(&self.overlay)
    }
}
