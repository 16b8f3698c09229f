//! The integration tests of the overlay, in one program: each module is one subject.

mod answers;
mod apply;
mod commit;
mod commit_conflicts;
mod common;
mod confinement;
mod cost;
mod diff_any_changes;
mod diff_between;
mod diff_git;
mod diff_golden;
mod diff_json;
mod diff_rebuild;
mod diff_support;
mod errors;
mod escape;
mod handles;
mod materialize;
mod model;
mod observe;
mod overlay;
mod pipeline;
mod read_only;
mod std_fs;
