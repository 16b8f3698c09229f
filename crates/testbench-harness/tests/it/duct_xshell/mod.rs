//! What duct's and xshell's own tests show, for guests and native children.
//!
//! Both are layers over the standard library's `Command`, with expressions for what takes some
//! lines here. Each row is named after one of their tests (duct 1.1, `src/test.rs`, and xshell 0.3,
//! `tests/it`) and says the same with our `Command`, `Child` and `pipe()`. Every row runs three
//! times, see [`crate::subject`].
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "the real process is the control")]

mod duct;
mod xshell;

use crate::subject::Row;

crate::subject::table! {
    duct {
        test_cmd;
        test_sh => "a shell";
        test_start;
        test_error;
        test_unchecked;
        test_unchecked_in_pipe;
        test_pipe;
        test_pipe_with_kill;
        test_pipe_start;
        test_then_makes_progress;
        test_multiple_threads;
        test_nonblocking_waits;
        test_input;
        test_stderr;
        test_null;
        test_path;
        test_swapping;
        test_file;
        test_ergonomics;
        test_capture_both;
        test_dir;
        test_env;
        test_full_env;
        test_env_remove;
        test_env_remove_case_sensitivity;
        test_env_case_preserving => "for Windows, but for what the row before shows";
        test_broken_pipe;
        test_silly => "a value inside of duct";
        test_path_sanitization => "programs relative to the working directory; a name with a slash is never looked up in a toolchain";
        test_before_spawn_hook => "there are no hooks; a command can be changed between two starts";
        test_trailing_comma => "duct's macro";
        test_no_argument;
        test_kill_with_grandchild_stderr_capture => "guests start no children of their own";
        test_kill_with_grandchild_stdin_bytes => "guests start no children of their own";
        test_debug_format => "duct's expressions";
        test_reader_try_wait;
        test_pids;
        test_zombies_reaped;
        test_wait_timeout_and_deadline;
        test_pipe_inheritance;
    }
    xshell {
        smoke;
        exit_status;
        exit_status_signal;
        ignore_status;
        ignore_status_no_such_command;
        ignore_status_signal;
        read_stderr;
        unknown_command;
        args_with_spaces;
        escape;
        stdin_redirection;
        no_deadlock;
        test_push_dir => "directories of xshell's `Shell`";
        test_subshells_env => "variables of xshell's `Shell`";
        test_env;
        test_env_clear;
        recovers_from_panics;
        nonexistent_current_directory;
        test_run_timeout_success;
        test_run_timeout_failure;
        test_read_timeout_success;
        test_read_timeout_failure;
        test_read_stderr_timeout_success;
        test_read_stderr_timeout_failure;
        test_output_timeout_success;
        test_output_timeout_failure;
    }
}

/// What is left out is left out for a reason, and no more than that.
#[test]
fn most_rows_are_covered() {
    let (left_out, covered): (Vec<&Row>, Vec<&Row>) =
        ROWS.iter().partition(|row| row.left_out.is_some());
    for row in &left_out {
        assert!(row.left_out.is_some_and(|reason| reason.len() >= 7), "{}: why?", row.upstream);
    }
    assert_eq!((covered.len(), left_out.len()), (55, 11));
}
