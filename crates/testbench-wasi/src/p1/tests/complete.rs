//! That every function of the specification can be imported, under both names of the interface.

use crate::p1::signatures;
use crate::{GuestSpec, Module, run};

/// The functions of `wasi_snapshot_preview1` as its witx says, with what wasm passes to each: `i` is an
/// `i32` and `l` an `i64`. All but `proc_exit` give an `i32`.
const SPECIFICATION: [(&str, &str); 46] = [
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "ili"),
    ("fd_advise", "illi"),
    ("fd_allocate", "ill"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "ill"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "il"),
    ("fd_filestat_set_times", "illi"),
    ("fd_pread", "iiili"),
    ("fd_prestat_get", "ii"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_pwrite", "iiili"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiili"),
    ("fd_renumber", "ii"),
    ("fd_seek", "ilii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiilli"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiillii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("proc_exit", "i"),
    ("proc_raise", "i"),
    ("sched_yield", ""),
    ("random_get", "ii"),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

#[test]
fn every_function_of_the_specification_is_there() {
    for interface in ["wasi_snapshot_preview1", "wasi_unstable"] {
        let imports = SPECIFICATION.map(|(name, params)| {
            let params: String =
                params.chars().map(|c| if c == 'l' { "i64 " } else { "i32 " }).collect();
            let result = if name == "proc_exit" { "" } else { "(result i32)" };
            format!(r#"(import "{interface}" "{name}" (func (param {params}) {result}))"#)
        });
        let wat = format!(r#"(module {} (func (export "_start")))"#, imports.concat());
        let module = Module::from_bytes("all", wat::parse_str(wat).unwrap()).unwrap();
        assert!(run(GuestSpec::new(module)).unwrap().exit.success(), "{interface}");
    }
    // And nothing else; `proc_exit` is not in the table.
    assert_eq!(signatures().len() + 1, SPECIFICATION.len());
}
