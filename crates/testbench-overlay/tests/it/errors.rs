//! Errors as values: each goes into an [`io::Error`] by `?`, with the kind that fits and itself inside.

use std::error::Error;
use std::io::{self, ErrorKind};

use testbench_overlay::diff::{Document, JsonError, Side};
use testbench_overlay::pipeline::{Fault, FaultError, PatternError};
use testbench_overlay::{
    ApplyError, CommitError, Errno, MemoryDir, MemoryDirError, Overlay, OverlayError, Put,
    RecoverError,
};

/// What it is turned into is known by its kind, says the same, and holds the error itself.
#[track_caller]
fn check<E: Error + Into<io::Error> + Send + Sync + 'static>(error: E, kind: ErrorKind) {
    let text = error.to_string();
    let io: io::Error = error.into();
    assert_eq!((io.kind(), io.to_string()), (kind, text));
    assert!(io.get_ref().is_some_and(|inner| inner.is::<E>()), "{io} is not kept");
}

#[test]
fn every_error_goes_into_that_of_io() {
    let dir = tempfile::tempdir().unwrap();
    let build =
        |pattern: &str, fault| Overlay::builder(dir.path()).hide(pattern).faults(fault).build();
    let fault = |n| Fault::error(Errno::Io).nth(n);
    let pattern = match build("a{b", fault(1)).unwrap_err() {
        OverlayError::Pattern { source } => source,
        other => panic!("{other}"),
    };
    check::<PatternError>(pattern.clone(), ErrorKind::InvalidInput);
    check::<FaultError>(FaultError::Pattern(pattern), ErrorKind::InvalidInput);
    check::<OverlayError>(build("a", fault(0)).unwrap_err(), ErrorKind::InvalidInput);

    let overlay = Overlay::new(dir.path()).unwrap();
    let apply: ApplyError =
        overlay.apply(&[Put::new("no/new", Some(Side::dir(0o755)))]).unwrap_err();
    assert!(apply.source().is_some_and(|source| source.is::<Errno>()));
    check(apply, ErrorKind::NotFound);

    let memory = MemoryDir::builder().file("a", "").file("a/b", "").build();
    let memory: MemoryDirError = memory.unwrap_err();
    assert!(memory.source().is_some_and(|source| source.is::<Errno>()));
    check(memory, ErrorKind::NotADirectory);

    let json: JsonError = Document::from_json("{").unwrap_err();
    check(json, ErrorKind::InvalidData);

    std::fs::create_dir(dir.path().join(".testbench-commit")).unwrap();
    let overlay = Overlay::new(dir.path().join("missing")).unwrap_err();
    assert!(overlay.source().is_some_and(|source| source.is::<io::Error>()));
    check::<OverlayError>(overlay, ErrorKind::NotFound);
    check::<OverlayError>(Overlay::new(dir.path()).unwrap_err(), ErrorKind::ResourceBusy);
    let recover = Overlay::recover(dir.path().join("missing")).unwrap_err();
    check::<RecoverError>(recover, ErrorKind::NotFound);
    check::<CommitError>(CommitError::NoDirectory, ErrorKind::Unsupported);
}
