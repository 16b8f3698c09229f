//! `library/std/tests`

use std::io::{ErrorKind, Read};
use std::path::Path;

use testbench_harness::{Command, pipe};
use testbench_overlay::fs;

use crate::common::text;
use crate::subject::Subject;

/// The child's `PATH` decides where its program is found.
pub(crate) fn issue_15149(subject: &Subject) {
    let empty = subject.dir().join("empty");
    fs::create_dir(&empty).unwrap();
    let run = |dirs: &[&Path]| {
        let mut command = subject.program("act");
        command.args(["out", "found"]).env("PATH", std::env::join_paths(dirs).unwrap());
        command.output()
    };
    let bin = subject.bin();
    assert_eq!(text(&run(&[&empty, &bin]).unwrap().stdout), "found\n");
    assert_eq!(run(&[&empty]).unwrap_err().kind(), ErrorKind::NotFound);
}

pub(crate) fn pipe_subprocess(subject: &Subject) {
    let (mut reader, writer) = pipe().unwrap();
    let run = |mut command: Command| assert!(command.status().unwrap().success());
    let mut command = subject.act(["out", "Heloo,"]);
    command.stdout(writer);
    // The command has an end of the pipe, and takes it with it.
    run(command);
    let mut printed = String::new();
    reader.read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "Heloo,\n");
}
