//! All integration tests of the crate in one program: it is linked once. Tests that need a process
//! of their own start this one again.

mod common;
#[path = "common/subject.rs"]
#[cfg(unix)]
mod subject;

mod assets;
mod child;
mod closing;
mod command;
mod compat;
mod defaults;
mod determinism;
mod duct_xshell;
mod escape;
mod examples;
mod faults;
mod files;
mod guests_rebuild;
mod module_errors;
mod native;
mod native_files;
mod nested;
mod parallel;
mod pipelines;
mod plugin;
mod routing;
mod script_failures;
mod status;
mod std_process;
mod tape;
mod tape_format;
mod tokio;
