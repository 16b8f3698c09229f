//! Named snapshots beside the scripts, on insta's own machinery.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::ScriptError;

/// Compares `text` with the snapshot `name` of `script`, or records it, as insta is told to.
///
/// # Errors
///
/// A text for people when it differs. insta has shown the difference by then.
pub(super) fn check(script: &Path, name: &str, text: &str) -> Result<(), ScriptError> {
    let beside = std::path::absolute(script.parent().unwrap_or(Path::new("")))?;
    let file = super::file_name(script);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(beside.join("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(format!("{file}: {name}"));
    let compared = catch_unwind(AssertUnwindSafe(|| {
        settings.bind(|| insta::assert_snapshot!(format!("{file}__{name}"), text));
    }));
    compared.map_err(|_| {
        format!(
            "the snapshot `{name}` differs; the difference is above (review it with `cargo insta \
             review`, or write it with INSTA_UPDATE=always)"
        )
        .into()
    })
}
