//! [`Copy`]: the session's files for a native child, which cannot see an overlay in memory.
//!
//! The overlay is written out into a temporary directory, the child runs there, and its changes are
//! absorbed into the overlay when it has ended. Host and child must still name a file alike: in the
//! child's command line and environment, the copy's path takes the place of the overlay's root,
//! wherever that stands as a whole path or before a `/`. So `--out=/proj/x` writes to the copy, as a
//! guest would write to the overlay. The child's output has the copy's paths.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use testbench_overlay::{Materialized, Overlay};

use crate::bench::Bench;
use crate::error::SpawnError;
use crate::files::CurrentDirError;
use crate::spec::SpawnSpec;
use crate::sys;
use crate::tape::Recording;
use crate::traced::Traced;

/// A written-out overlay; its directory goes when this drops.
pub(crate) struct Copy {
    overlay: Arc<Overlay>,
    written: Materialized,
    /// The root's names in command lines and environments, longest first.
    names: Vec<Vec<u8>>,
    /// The directory of the copy, which takes their place.
    dir: PathBuf,
    _temp: TempDir,
}

impl Copy {
    /// Writes out the session's overlay; `None` without one.
    pub(crate) fn of(bench: &Bench, spec: &SpawnSpec) -> Result<Option<Copy>, SpawnError> {
        let Some(overlay) = bench.files.overlay() else { return Ok(None) };
        let copy = Copy::write(bench, overlay);
        let failed = |source| {
            let what = "was not started: the session's files cannot be copied for it";
            SpawnError::failed(&spec.program, what, source)
        };
        copy.map(Some).map_err(failed)
    }

    fn write(bench: &Bench, overlay: &Arc<Overlay>) -> io::Result<Copy> {
        let temp = tempfile::Builder::new().prefix("testbench-native-").tempdir()?;
        // The real path, as `getcwd` returns it to the child.
        let base = temp.path().canonicalize()?;
        let name = bench.files.overlay_root().and_then(Path::file_name);
        let dir = base.join(name.unwrap_or(OsStr::new("root")));
        let written = overlay.materialize(&dir)?;
        let mut names = bench.files.root_names();
        // The root directory is the beginning of every path, and so of those outside, too.
        names.retain(|name| name.iter().any(|b| *b != b'/'));
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        Ok(Copy { overlay: overlay.clone(), written, names, dir, _temp: temp })
    }

    /// The child's working directory in the copy.
    pub(crate) fn current_dir(
        &self,
        bench: &Bench,
        spec: &SpawnSpec,
    ) -> Result<PathBuf, SpawnError> {
        let process_dir = std::env::current_dir().ok();
        let cwd = bench.files.cwd(spec.current_dir.as_deref(), process_dir.as_deref());
        let inside = cwd.and_then(|cwd| {
            let rest = bench.files.in_overlay(cwd.as_deref().unwrap_or(b"/"));
            rest.ok_or_else(|| CurrentDirError::Outside {
                dir: spec.current_dir.clone().unwrap_or_default(),
                root: bench.files.overlay_root().unwrap_or(Path::new("/")).to_owned(),
            })
        });
        match inside {
            Ok(rest) => Ok(self.dir.join(sys::os_string(rest))),
            Err(source) => Err(SpawnError::CurrentDir { program: spec.program.clone(), source }),
        }
    }

    /// `text` with the copy's path wherever the root's stands.
    pub(crate) fn translate(&self, text: &OsStr) -> OsString {
        let bytes = sys::guest_bytes(text);
        let mut translated = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            match self.names.iter().find(|name| is_path_at(&bytes, at, name)) {
                Some(name) => {
                    translated.extend_from_slice(&sys::guest_bytes(self.dir.as_os_str()));
                    at += name.len();
                }
                None => {
                    translated.push(bytes[at]);
                    at += 1;
                }
            }
        }
        sys::os_string(translated)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Absorbs the changes into the overlay.
    pub(crate) fn absorb(mut self, recording: Option<&Recording>) -> io::Result<()> {
        let Some(recording) = recording else { return self.written.absorb().map(drop) };
        let before = self.overlay.fork();
        let paths = self.written.absorb()?;
        recording.changed(Traced::changed(self.overlay.clone(), before, paths));
        Ok(())
    }
}

/// Whether `path` stands at `at` as the beginning of an absolute path, and not as a part of a
/// longer name.
fn is_path_at(bytes: &[u8], at: usize, path: &[u8]) -> bool {
    let begins = at == 0 || !is_in_path(bytes[at - 1]);
    let ends = bytes.get(at + path.len()).is_none_or(|b| *b == b'/' || !is_in_path(*b));
    bytes[at..].starts_with(path) && begins && ends
}

/// Whether a byte next to a path would make it another path. A `:` or `=` or a quote would not.
fn is_in_path(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"/._-+@%~".contains(&b) || b >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_where_they_are_whole() {
        let found = |text: &str| {
            let bytes = text.as_bytes();
            let all = (0..bytes.len()).filter(|at| is_path_at(bytes, *at, b"/p/q"));
            all.collect::<Vec<_>>()
        };
        assert_eq!(found("/p/q"), [0]);
        assert_eq!(found("/p/q/x"), [0]);
        assert_eq!(found("--out=/p/q/x:/p/q"), [6, 13]);
        assert_eq!(found("cat '/p/q/a b' > \"/p/q\""), [5, 18]);
        for other in ["/p/qq", "/p/q.old", "/p/q-1", "/x/p/q", "a/p/q", "../p/q", "/p/qä", "~/p/q"]
        {
            assert_eq!(found(other), [] as [usize; 0], "{other}");
        }
    }
}
