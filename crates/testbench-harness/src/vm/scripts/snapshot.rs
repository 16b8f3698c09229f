//! Named snapshots beside the scripts, on insta's own machinery.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Compares `text` with the snapshot `name` of `script`, or records it, as insta is told to.
///
/// # Errors
///
/// A text for people when it differs. insta has shown the difference by then.
pub(super) fn check(script: &Path, name: &str, text: &str) -> Result<(), SnapshotError> {
    let beside = script.parent().unwrap_or(Path::new(""));
    let beside = std::path::absolute(beside)
        .map_err(|source| SnapshotError::Place { name: name.to_owned(), source })?;
    let file = script.file_name().unwrap_or(script.as_os_str()).to_string_lossy();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(beside.join("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(format!("{file}: {name}"));
    let compared = catch_unwind(AssertUnwindSafe(|| {
        settings.bind(|| insta::assert_snapshot!(format!("{file}__{name}"), text));
    }));
    compared.map_err(|_| SnapshotError::Differs { name: name.to_owned() })
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error(
        "the snapshot `{name}` differs; the difference is above (review it with `cargo insta \
         review`, or write it with INSTA_UPDATE=always)"
    )]
    Differs { name: String },
    #[error("the snapshot `{name}` has no place: {source}")]
    Place { name: String, source: std::io::Error },
}
