//! `library/std/src/sys/process/unix`

use crate::subject::Subject;

pub(crate) fn exitstatus_display_tests(subject: &Subject) {
    for (words, shown) in [
        (&["exit", "0"][..], "exit status: 0"),
        (&["exit", "3"], "exit status: 3"),
        (&["exit", "255"], "exit status: 255"),
        (&["abort"], "signal: 6 (SIGABRT)"),
    ] {
        let status = subject.act(words).status().unwrap();
        // What the system adds to it, if it does.
        let status = status.to_string();
        assert_eq!(status.strip_suffix(" (core dumped)").unwrap_or(&status), shown);
    }
    let mut child = subject.act(["sleep", "1h"]).spawn().unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().to_string(), "signal: 9 (SIGKILL)");
}
