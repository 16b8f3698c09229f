//! Snapshots of the changes, on insta's own macros.
//!
//! Review, inline snapshots, filters and settings are insta's. Paths that differ from run to run are
//! replaced before anything is compared or hashed: the overlay's root becomes `[root]`, the
//! directory of temporary files `[temp]`, and the path of the running test `[exe]`. Use
//! [`Redactions`] for everything else that differs.
//!
//! A [`Diff`] can also go to insta's macros as it is: it displays as the text for people
//! (`assert_snapshot!`), and serialises as its JSON (`assert_json_snapshot!`).
//!
//! ```
//! use testbench_overlay::{Overlay, assert_overlay_snapshot, fs, install};
//!
//! let dir = tempfile::tempdir()?;
//! std::fs::write(dir.path().join("draft"), "text\n")?;
//! let overlay = Overlay::new(dir.path())?;
//! let _installed = install(overlay.clone());
//! fs::rename(dir.path().join("draft"), dir.path().join("final"))?;
//! fs::create_dir(dir.path().join("archive"))?;
//!
//! assert_overlay_snapshot!(overlay, @r"
//! A archive/
//! R draft -> final
//! ");
//! insta::assert_json_snapshot!(overlay.diff()?.document().records()[1].op, @r#""rename""#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use bstr::ByteSlice as _;

use crate::diff::Redactions;
use crate::{Diff, Overlay};

/// Asserts that the changes of an overlay are those of the snapshot.
///
/// Takes an [`Overlay`] or a [`Diff`] (or, with testbench-harness, a `Session` or a `Report`), and
/// the arguments of [`insta::assert_snapshot!`] around it: a name before it, or an inline snapshot
/// after it.
///
/// ```
/// use testbench_overlay::{Overlay, assert_overlay_snapshot, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let overlay = Overlay::new(dir.path())?;
/// let _installed = install(overlay.clone());
/// fs::write(dir.path().join("config"), format!("root = {}\n", dir.path().display()))?;
/// assert_overlay_snapshot!(overlay, @r"
/// A config
///
/// diff --git a/config b/config
/// new file mode 100644
/// --- /dev/null
/// +++ b/config
/// @@ -0,0 +1,1 @@
/// +root = [root]
/// ");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Other differences from run to run are removed with [`Redactions`](crate::diff::Redactions):
///
/// ```
/// use testbench_overlay::diff::Redactions;
/// use testbench_overlay::{assert_overlay_snapshot, capture};
///
/// let dir = tempfile::tempdir()?;
/// let diff = capture(dir.path(), |copy| {
///     std::fs::create_dir(copy.join("target"))?;
///     std::fs::write(copy.join("target/x.o"), "object")?;
///     std::fs::write(copy.join("run.log"), format!("pid {}\n", std::process::id()))
/// })?;
/// let redactions = Redactions::new()
///     .skip(|path| path.starts_with(b"target"))
///     .replace(std::process::id().to_string(), "[pid]");
/// assert_overlay_snapshot!(diff.redact(&redactions), @r"
/// A run.log
///
/// diff --git a/run.log b/run.log
/// new file mode 100644
/// --- /dev/null
/// +++ b/run.log
/// @@ -0,0 +1,1 @@
/// +pid [pid]
/// ");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Panics
///
/// If the snapshot differs, as insta does, and if the diff cannot be made.
///
/// [`insta::assert_snapshot!`]: https://docs.rs/insta/latest/insta/macro.assert_snapshot.html
/// [`Overlay`]: crate::Overlay
/// [`Diff`]: crate::Diff
#[macro_export]
macro_rules! assert_overlay_snapshot {
    ($changed:expr, @$snapshot:literal $(,)?) => {
        $crate::__insta::assert_snapshot!($crate::insta::overlay(&$changed), @$snapshot)
    };
    ($name:expr, $changed:expr $(,)?) => {
        $crate::__insta::assert_snapshot!($name, $crate::insta::overlay(&$changed))
    };
    ($changed:expr $(,)?) => {
        $crate::__insta::assert_snapshot!($crate::insta::overlay(&$changed))
    };
}

/// The snapshot of an empty diff.
const NO_CHANGES: &str =
    "(no changes; code that calls std::fs directly bypasses the overlay: see capture)";

/// The values that [`assert_overlay_snapshot!`](crate::assert_overlay_snapshot) takes.
///
/// ```
/// use std::path::PathBuf;
/// use testbench_overlay::insta::OverlayChanges;
/// use testbench_overlay::{Diff, assert_overlay_snapshot};
///
/// /// A test's own bench.
/// struct Scratch(Diff);
///
/// impl OverlayChanges for Scratch {
///     fn changes(&self) -> (Diff, Vec<PathBuf>) {
///         (self.0.clone(), Vec::new())
///     }
/// }
///
/// let text = testbench_overlay::insta::overlay(&Scratch(Diff::default()));
/// assert!(text.starts_with("(no changes; code that calls std::fs directly bypasses the overlay"));
/// ```
pub trait OverlayChanges {
    /// The diff, and the host's names for the root that it is relative to.
    ///
    /// ```
    /// use testbench_overlay::insta::OverlayChanges;
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// fs::create_dir(dir.path().join("d"))?;
    /// let (diff, roots) = overlay.changes();
    /// assert_eq!(diff.summary(), "A d/\n");
    /// assert!(roots.contains(&dir.path().to_path_buf()), "shown as [root]");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the diff cannot be made.
    fn changes(&self) -> (Diff, Vec<PathBuf>);
}

impl OverlayChanges for Diff {
    fn changes(&self) -> (Diff, Vec<PathBuf>) {
        (self.clone(), Vec::new())
    }
}

impl OverlayChanges for Overlay {
    #[track_caller]
    fn changes(&self) -> (Diff, Vec<PathBuf>) {
        let diff = self.diff().unwrap_or_else(|error| panic!("the overlay has no diff: {error}"));
        let roots = &self.core.config.host_root;
        let roots = roots.iter().flat_map(|(given, canonical)| [given, canonical]);
        (diff, roots.filter(|root| root.is_absolute()).cloned().collect())
    }
}

impl<T: OverlayChanges + ?Sized> OverlayChanges for Arc<T> {
    #[track_caller]
    fn changes(&self) -> (Diff, Vec<PathBuf>) {
        (**self).changes()
    }
}

/// The text of [`assert_overlay_snapshot!`](crate::assert_overlay_snapshot).
///
/// ```
/// use testbench_overlay::{Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let overlay = Overlay::new(dir.path())?;
/// let _installed = install(overlay.clone());
/// fs::create_dir(dir.path().join("d"))?;
/// assert_eq!(testbench_overlay::insta::overlay(&overlay), "A d/\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn overlay(changed: &impl OverlayChanges) -> String {
    let (diff, roots) = changed.changes();
    let hidden = HiddenPaths::new(roots);
    let redactions = Redactions::new().content(move |_, content| Some(hidden.hide_bytes(content)));
    let diff = diff.redact(&redactions);
    if diff.is_empty() { NO_CHANGES.to_owned() } else { diff.to_string() }
}

/// The paths that differ from run to run, each with what stands for it: `[root]`, `[temp]` and
/// `[exe]`. Longer paths are looked for first, and only whole names are found.
///
/// ```
/// use testbench_overlay::insta::HiddenPaths;
///
/// let hidden = HiddenPaths::new(vec!["/home/me/project".into()]);
/// assert_eq!(hidden.hide("in /home/me/project/src"), "in [root]/src");
/// assert_eq!(hidden.hide("in /home/me/project-2"), "in /home/me/project-2");
/// ```
#[derive(Clone, Debug)]
pub struct HiddenPaths {
    paths: Vec<(Vec<u8>, &'static str)>,
}

impl HiddenPaths {
    /// The directory of temporary files and the executable of this process, and the names of the
    /// overlay's root.
    ///
    /// ```
    /// use testbench_overlay::insta::HiddenPaths;
    ///
    /// let hidden = HiddenPaths::new(Vec::new());
    /// let scratch = std::env::temp_dir().join("scratch");
    /// assert_eq!(hidden.hide(&scratch.display().to_string()), "[temp]/scratch");
    /// ```
    pub fn new(roots: Vec<PathBuf>) -> HiddenPaths {
        let named = |name: &'static str| {
            move |path: PathBuf| {
                let path = path.as_os_str().as_encoded_bytes();
                (path.trim_end_with(|c| c == '/').to_vec(), name)
            }
        };
        let temp = std::env::temp_dir();
        let mut paths: Vec<_> = roots.into_iter().map(named("[root]")).collect();
        paths.extend(std::env::current_exe().map(named("[exe]")));
        paths.extend([temp.canonicalize(), Ok(temp)].into_iter().flatten().map(named("[temp]")));
        // The root directory is in every path, so it tells nothing.
        paths.retain(|(path, _)| !path.is_empty());
        // A path inside of another is looked for first.
        paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        paths.dedup_by(|a, b| a.0 == b.0);
        HiddenPaths { paths }
    }

    /// The text with the paths replaced by what stands for them.
    ///
    /// ```
    /// use testbench_overlay::insta::HiddenPaths;
    ///
    /// let hidden = HiddenPaths::new(vec!["/srv/site".into()]);
    /// assert_eq!(hidden.hide("root=/srv/site; log=/srv/site/log"), "root=[root]; log=[root]/log");
    /// ```
    pub fn hide(&self, text: &str) -> String {
        // Whole names are replaced by whole names: UTF-8 stays UTF-8.
        String::from_utf8_lossy(&self.hide_bytes(text.as_bytes())).into_owned()
    }

    /// As [`HiddenPaths::hide`], for bytes that need not be UTF-8.
    ///
    /// ```
    /// use testbench_overlay::insta::HiddenPaths;
    ///
    /// let hidden = HiddenPaths::new(vec!["/srv/site".into()]);
    /// assert_eq!(hidden.hide_bytes(b"\xff/srv/site\0"), b"\xff[root]\0");
    /// ```
    pub fn hide_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut hidden = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let found = self.paths.iter().find(|(path, _)| is_path_at(bytes, at, path));
            match found {
                Some((path, name)) => {
                    hidden.extend_from_slice(name.as_bytes());
                    at += path.len();
                }
                None => {
                    hidden.push(bytes[at]);
                    at += 1;
                }
            }
        }
        hidden
    }
}

/// Whether `path` stands at `at`, and not as a part of a longer name.
fn is_path_at(bytes: &[u8], at: usize, path: &[u8]) -> bool {
    let in_name =
        |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || b"_-".contains(b));
    bytes[at..].starts_with(path)
        && !in_name(bytes.get(at + path.len()))
        && !(at > 0 && in_name(bytes.get(at - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_hidden_where_they_are_whole_names() {
        let hidden =
            HiddenPaths { paths: vec![(b"/t/x".to_vec(), "[root]"), (b"/t".to_vec(), "[temp]")] };
        assert_eq!(
            hidden.hide("/t/x/a /t/x: /t/xy /t a/t /t/x"),
            "[root]/a [root]: [temp]/xy [temp] a/t [root]"
        );
    }
}
