//! Names: hard links, symlinks, and where a path leads.

use std::io;
use std::path::{Path, PathBuf};

use super::both;
use super::route::{Route, at, os_str, route};
use crate::Follow;

/// Gives a file a second name. A symlink gets one itself.
///
/// # Errors
///
/// As [`std::fs::hard_link`], and those of the [module](super).
pub fn hard_link(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (original.as_ref(), link.as_ref());
    match both(from, to)? {
        None => std::fs::hard_link(from, to),
        Some((a, b)) => {
            b.result(a.fs().link_at(a.top(), a.guest(), Follow::No, b.top(), b.guest()))
        }
    }
}

/// Creates a symlink at `link` that holds `original`. Mirrors [`std::os::unix::fs::symlink`].
///
/// # Errors
///
/// As [`std::os::unix::fs::symlink`], and those of the [module](super).
pub fn symlink(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    let target = original.as_ref();
    at(
        link.as_ref(),
        |link| std::os::unix::fs::symlink(target, link),
        |fs, dir, link| fs.symlink_at(target.as_os_str().as_encoded_bytes(), dir, link),
    )
}

/// Returns the target of a symlink.
///
/// # Errors
///
/// As [`std::fs::read_link`], and those of the [module](super).
pub fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    at(path.as_ref(), std::fs::read_link, |fs, dir, path| {
        fs.read_link_at(dir, path).map(|target| os_str(&target).into())
    })
}

/// Returns the absolute path to which a path leads, without symlinks, `.` and `..`.
///
/// ```
/// use testbench_overlay::fs;
/// # let dir = tempfile::tempdir()?;
/// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
/// # let at = |name: &str| dir.path().join(name);
/// fs::create_dir(at("d"))?;
/// fs::symlink("d", at("l"))?;
/// assert_eq!(fs::canonicalize(at("l/../d/."))?, dir.path().canonicalize()?.join("d"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As [`std::fs::canonicalize`], and those of the [module](super).
pub fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref();
    match route(path)? {
        Route::Real => std::fs::canonicalize(path),
        Route::Tree(p) if p.is_overlay() => {
            let inside = p.result(p.overlay().canonical(p.guest()))?;
            let mut whole = p.root();
            if !inside.is_empty() {
                whole.push(os_str(&inside));
            }
            Ok(whole)
        }
        Route::Tree(p) => {
            // Checks that it does not lead out of the directory.
            p.result(p.fs().stat_at(p.top(), p.guest(), Follow::Yes))?;
            std::fs::canonicalize(path)
        }
    }
}
