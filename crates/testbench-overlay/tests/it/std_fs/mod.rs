//! The behaviours of the standard library's and cap-std's own filesystem tests.
//!
//! Both ship in the source of wasmtime-wasi 48 (`src/filesystem/primitives/tests`), adapted to its
//! internals: 117 tests outside of the two files for Windows. [`ROWS`] names each one, and the
//! test of our own that covers the same behaviour. Ours are written anew, and ask for more: the
//! exact error number, and everything else that the same situation shows.
//!
//! The files in `cases/` are compiled twice: in `real` against `std::fs` on the real disk, which is
//! the control, and in `overlay` against `testbench_overlay::fs` with an overlay installed. So they
//! show as well that code changes nothing but its `use` of `std::fs`.
#![allow(clippy::disallowed_methods, reason = "the real disk is the control")]
#![allow(clippy::duplicate_mod, reason = "the cases are compiled against both")]

mod overlay;
mod real;
mod subject;

use std::collections::BTreeMap;
use std::io;
use std::process::Command;

use subject::Row;

subject::table! {
    cap_basics {
        cap_smoke_test => handles::paths_start_at_the_handle_and_stay_beneath_it;
        symlinks => handles::links_on_the_way_are_followed_beneath_the_handle;
        symlink_loop => links::a_link_to_itself_cannot_be_opened;
        symlink_loop_from_rename => links::renaming_makes_and_breaks_a_loop;
        proc_self_fd => handles::the_kernels_own_links_are_not_followed;
    }
    file_type_ext {
        test_file_type_ext => metadata::files_and_directories_are_no_devices;
    }
    fs {
        open_directory_with_truncate_is_error => files::a_directory_cannot_be_truncated;
        dir_entry_methods => listing::entries_know_what_they_are;
        open_flavors => files::which_open_options_go_together;
        file_test_io_smoke_test => files::what_was_written_is_read;
        invalid_path_raises => files::opening_what_is_missing;
        file_test_iounlinking_invalid_path_should_raise_condition => files::removing_what_is_missing;
        file_test_io_non_positional_read => files::reads_go_on_where_the_last_one_ended;
        file_test_io_seek_and_tell_smoke_test => files::the_position_can_be_set_and_asked;
        file_test_io_seek_and_write => files::a_write_after_a_seek_overwrites;
        file_test_io_seek_shakedown => files::seeks_from_every_origin;
        file_test_io_eof => files::reading_an_empty_file_gives_nothing_every_time;
        file_test_io_read_write_at => files::reads_and_writes_at_an_offset_leave_the_position;
        // Of this one, the vendored copy has the attributes only.
        set_get_unix_permissions => metadata::permission_bits_are_set_and_read;
        file_test_io_seek_read_write => "for Windows: `seek_read` and `seek_write` exist only there";
        file_test_stat_is_correct_on_is_file => metadata::a_file_is_a_file_by_handle_and_by_path;
        file_test_stat_is_correct_on_is_dir => metadata::a_directory_is_a_directory;
        file_test_fileinfo_false_when_checking_is_file_on_a_directory => metadata::a_directory_is_no_file;
        file_test_fileinfo_check_exists_before_and_after_file_creation => paths::a_file_exists_until_it_is_removed;
        file_test_directoryinfo_check_exists_before_and_after_mkdir => paths::a_directory_exists_from_creation_to_removal;
        file_test_directoryinfo_readdir => listing::every_file_of_a_directory_is_listed_once;
        file_create_new_already_exists_error => files::create_new_wants_the_name_free;
        mkdir_path_already_exists_error => paths::a_directory_is_created_once;
        recursive_mkdir => paths::missing_parents_are_created;
        concurrent_recursive_mkdir => paths::many_threads_create_the_same_deep_path;
        recursive_mkdir_slash => handles::the_root_of_the_machine_is_not_in_a_handle;
        recursive_mkdir_dot => paths::creating_the_directory_itself_is_fine;
        recursive_mkdir_empty => paths::creating_no_path_at_all_is_fine;
        unicode_path_is_dir => paths::names_in_any_script_are_directories;
        unicode_path_exists => paths::names_in_any_script_exist;
        symlinks_work => links::a_link_shows_what_it_leads_to;
        symlink_noexist => links::a_link_may_lead_nowhere;
        read_link => links::a_link_says_where_it_leads;
        readlink_not_symlink => links::a_directory_is_no_link;
        read_link_contents => links::the_target_is_stored_as_it_was_given;
        read_link_contents_absolute => links::an_absolute_target_is_stored_as_it_was_given;
        links_work => links::a_hard_link_is_the_same_file;
        sync_doesnt_kill_anything => files::syncing_changes_nothing;
        truncate_works => files::cutting_and_extending_keep_the_position;
        _assert_send_sync => files::open_options_go_between_threads;
        binary_file => files::bytes_of_every_value_survive;
        write_then_read => files::whole_files_are_written_and_read;
        file_try_clone => files::a_clone_shares_the_position;
        mkdir_trailing_slash => paths::a_directory_may_be_created_with_a_slash;
        dir_entry_debug => listing::an_entry_prints_its_path;
        read_dir_not_found => listing::listing_what_is_missing;
        create_dir_all_with_junctions => links::directories_are_created_through_links;
        metadata_access_times => times::times_are_read_the_same_every_time;
        symlink_hard_link => links::a_hard_link_to_a_link_is_a_link;
        create_dir_long_paths => "for Windows: its limit of 260 characters and how to pass it";
    }
    fs_additional {
        dir_writable => files::a_directory_cannot_be_created_or_written_as_a_file;
        readdir_write => files::a_directory_cannot_be_opened_for_writing;
        maybe_dir => files::a_directory_can_be_opened_for_reading;
        optionally_recursive_mkdir => paths::a_builder_creates_missing_parents_if_told;
        optionally_nonrecursive_mkdir => paths::a_builder_creates_one_directory_otherwise;
        dotdot_at_end_of_symlink => links::to_the_parent;
        dotdot_at_end_of_symlink_all_inside_dir => links::to_the_parent_one_level_down;
        dotdot_slashdot_at_end_of_symlink => links::to_the_parent_itself;
        dotdot_slashdot_at_end_of_symlink_all_inside_dir => links::to_the_parent_itself_one_level_down;
        recursive_mkdir => handles::a_handle_sees_what_was_created_by_path;
        open_various => files::no_name_and_the_directory_itself_are_no_files;
        trailing_slash => paths::a_file_is_no_step_on_the_way;
        trailing_slash_in_dir => paths::a_file_deeper_down_is_no_step_on_the_way;
        rename_slashdots => handles::a_directory_is_renamed_to_itself;
        rename_slashdots_ambient => rename::a_directory_is_renamed_to_itself;
        try_exists => paths::exists_follows_what_is_created;
        file_test_directoryinfo_readdir => handles::files_are_found_by_the_names_listed;
        follow_dotdot_symlink => handles::links_upwards_end_at_the_handle;
        follow_dotdot_symlink_ambient => links::links_upwards_lead_upwards;
        follow_file_symlink => links::a_slash_behind_the_target_wants_a_directory;
        check_dot_access_ambient => paths::looking_into_a_directory_needs_search_permission as nobody;
        file_with_trailing_slashdot => "for Windows: a file's name may end in a slash and a dot there";
        file_with_trailing_slashdot_ambient => "for Windows: as the one before, by path";
        dir_searchable_unreadable_ambient => paths::search_permission_alone_leads_through as nobody;
        dir_unsearchable_unreadable_ambient => paths::without_any_permission_nothing_opens as nobody;
        symlink_hard_link_ambient => links::a_hard_link_to_a_link_outlives_what_it_led_to;
        symlink_hard_link => handles::a_hard_link_to_a_link_is_a_link;
        readdir_with_trailing_slashdot => listing::a_slash_and_a_dot_change_nothing;
        metadata_vs_std_fs => metadata::path_handle_and_listing_agree;
        dotdot_in_middle_of_symlink => links::one_up;
        dotdot_slashdot_in_middle_of_symlink => links::one_up_and_a_dot;
        dotdot_more_in_middle_of_symlink => links::down_and_two_up;
        dotdot_slashdot_more_in_middle_of_symlink => links::down_and_two_up_and_a_dot;
        dotdot_other_in_middle_of_symlink => links::two_up;
        dotdot_slashdot_other_in_middle_of_symlink => links::two_up_and_a_dot;
        dotdot_even_more_in_middle_of_symlink => links::down_two_up_and_down;
        dotdot_slashdot_even_more_in_middle_of_symlink => links::down_two_up_and_down_and_a_dot;
        dotdot_even_other_in_middle_of_symlink => links::two_up_and_down;
        dotdot_slashdot_even_other_in_middle_of_symlink => links::two_up_and_down_and_a_dot;
        statat_slash => handles::an_absolute_path_is_not_in_a_handle;
        trailing_slash_symlink => handles::a_link_out_is_refused_with_and_without_slash;
        trailing_slash_symlink_more => handles::a_link_to_an_existing_directory_outside_is_refused;
    }
    metadata_ext {
        test_metadata_ext => metadata::device_number_and_link_count;
    }
    paths_containing_nul {
        paths_containing_nul => paths::a_nul_byte_is_refused_everywhere;
    }
    readdir {
        test_dir_entries => listing::new_files_show_up;
        test_reread_entries => handles::a_handle_can_be_listed_again;
    }
    rename {
        rename_basics => handles::renames_stay_beneath_the_handle;
    }
    rename_directory {
        rename_directory => rename::a_directory_moves_with_what_it_holds;
    }
    reopendir {
        reopendir_a => handles::reopened_as_a_dot;
        reopendir_b => handles::reopened_as_a_dot_and_a_slash;
        reopendir_c => handles::reopened_as_two_dots_and_a_slash_between;
        reopendir_d => handles::reopened_by_its_path;
        reopendir_e => handles::reopened_by_its_path_and_a_dot;
        reopendir_f => handles::reopened_by_its_path_and_a_slash;
    }
    set_times {
        basic_times => times::files_and_directories_take_a_time;
        symlink_times => times::a_time_goes_through_a_link;
        symlink_itself_times => times::a_link_has_a_time_of_its_own;
    }
    symlinks {
        basic_symlinks => links::a_link_is_what_it_leads_to_unless_asked;
        symlink_absolute => links::an_absolute_link_may_be_created;
        readlink_absolute => links::an_absolute_link_may_be_read_and_leads_out;
        open_dir_nofollow => handles::opening_without_following;
        open_dir_nofollow_ambient => links::directories_open_through_links_however_spelled;
    }
}

/// Fails with this number, on the disk and in an overlay.
fn fails_with<T>(result: io::Result<T>, errno: rustix::io::Errno) {
    let Err(error) = result else { panic!("it succeeded, and should fail with {errno}") };
    assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()), "{error}, should be {errno}");
    let kind = io::Error::from_raw_os_error(errno.raw_os_error()).kind();
    assert_eq!(error.kind(), kind, "{error}");
}

/// Each row of the table is a test that was run, not only written down, on both subjects; and no
/// test of ours stands for two of theirs.
#[test]
fn all_rows_are_covered_on_both_subjects() {
    let mut seen = BTreeMap::new();
    let mut left_out = Vec::new();
    for Row { upstream, ours } in ROWS {
        match ours {
            Ok(ours) => assert_eq!(seen.insert(*ours, *upstream), None, "{ours} stands for two"),
            Err(reason) => left_out.push(format!("{upstream}: {reason}")),
        }
    }
    assert_eq!(ROWS.len(), 117);
    assert!(left_out.len() <= 10, "left out: {left_out:#?}");

    let filters = ["std_fs::on_the_real_disk::", "std_fs::on_the_overlay::"];
    let output = Command::new(std::env::current_exe().unwrap()).args(filters).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let passed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... ok"))
        .collect();
    for upstream in seen.values() {
        for subject in filters {
            let test = format!("{subject}{upstream}");
            assert!(passed.contains(&&*test), "{test} did not run or did not pass:\n{text}");
        }
    }
    assert_eq!(passed.len(), 2 * seen.len());
}
