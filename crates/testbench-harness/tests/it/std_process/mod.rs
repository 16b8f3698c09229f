//! The behaviours of the standard library's own tests of processes, for guests and native children.
//!
//! Each row is named after a test of Rust 1.95 and written anew, without a shell: in place of one,
//! the children run `act`. Every row runs three times, see [`crate::subject`].
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "the real process is the control")]

mod command_ui;
mod process_ui;
#[allow(clippy::module_inception, reason = "the tests of std's module of this name")]
mod std_process;
mod std_tests;
mod unix_process;

use crate::subject::Row;

crate::subject::table! {
    // library/std/src/process/tests.rs
    std_process {
        smoke;
        smoke_failure;
        exit_reported_right;
        signal_reported_right;
        stdout_works;
        set_current_dir_works;
        stdin_works;
        child_stdout_read_buf;
        test_process_status;
        test_process_output_fail_to_start;
        test_process_output_output;
        test_process_output_error;
        test_finish_once;
        test_finish_twice;
        test_wait_with_output_once;
        test_override_env;
        test_add_to_env;
        test_capture_env_at_spawn => "changes this process's environment; a session takes variables out of it once, see `pass_env`";
        test_interior_nul_in_progname_is_error;
        test_interior_nul_in_arg_is_error;
        test_interior_nul_in_args_is_error;
        test_interior_nul_in_current_dir_is_error;
        test_interior_nul_in_env_key_is_error;
        test_interior_nul_in_env_value_is_error;
        test_creation_flags => "for Windows";
        test_proc_thread_attributes => "for Windows";
        test_command_implements_send_sync;
        env_empty;
        debug_print;
        run_bat_script => "for Windows";
        run_canonical_bat_script => "for Windows";
        terminate_exited_process;
    }
    // library/std/src/sys/process/unix/*/tests.rs
    unix_process {
        exitstatus_display_tests;
        test_command_fork_no_unwind => "panics between fork and exec; guests do not fork";
        test_process_mask => "signal masks; guests have no signals";
        test_process_group_posix_spawn => "process groups; guests have none";
        test_process_group_no_posix_spawn => "process groups; guests have none";
        test_program_kind => "a helper inside the standard library";
    }
    // library/std/tests
    std_tests {
        issue_15149;
        pipe_subprocess;
        switch_stdout => "replaces this process's own standard output";
    }
    // tests/ui/process
    process_ui {
        test_destroy_once;
        test_destroy_twice;
        test_destroy_actually_kills;
        env_args_reverse_iterator;
        env_funky_keys => "gives exec an environment of its own making; guests do not exec";
        env_vars => "reads this process's own environment";
        exec_env => "exec; guests do not exec";
        fds_are_cloexec;
        inherit_env;
        issue_13304;
        issue_14456;
        issue_14940;
        issue_16272;
        issue_20091;
        issue_30490 => "closes this process's own standard streams";
        multi_panic => "threads, not processes";
        no_stdio;
        nofile_limit => "sets the limits of a process between fork and exec";
        println_with_broken_pipe => "what Rust's `println!` does, in the child";
        process_envs;
        process_exit;
        process_panic_after_fork => "code between fork and exec; guests do not fork";
        process_remove_from_env;
        process_sigpipe;
        process_spawn_failure => "lets the system run out of processes";
        process_spawn_nonexistent;
        process_spawn_with_unicode_params;
        process_status_inherits_stdin => "in a session standard input is empty unless set, so that no run depends on a terminal";
        signal_exit_status;
        sigpipe_should_be_ignored;
        tls_exit_status => "what Rust does at a panic, in the child";
        try_wait;
    }
    // tests/ui/command
    command_ui {
        command_argv0;
        command_current_dir => "programs relative to the working directory; a name with a slash is never looked up in a toolchain";
        command_create_pidfd => "descriptors of processes; a guest is none";
        command_exec => "replaces this process";
        command_pre_exec => "code between fork and exec; guests do not fork";
        command_setgroups => "groups; guests have no owners";
        command_uid_gid => "users and groups; guests have no owners";
    }
}

/// What is left out is left out for a reason, and no more than that.
#[test]
fn most_rows_are_covered() {
    let (left_out, covered): (Vec<&Row>, Vec<&Row>) =
        ROWS.iter().partition(|row| row.left_out.is_some());
    for row in &left_out {
        assert!(row.left_out.is_some_and(|reason| reason.len() > 10), "{}: why?", row.upstream);
    }
    assert_eq!((covered.len(), left_out.len()), (52, 28));
}
