//! Preview 1 of WASI: `wasi_snapshot_preview1` and its predecessor `wasi_unstable`.
//!
//! The table below declares every function once, with the numbers that wasm passes for each
//! argument and the results that go to memory. A macro and [`call`] turn each line into host
//! functions for both versions. The functions themselves are thin over the [kernel](crate::kernel):
//! they decode and encode nothing. Each noun of the interface has a file.
//!
//! Where the specification leaves a choice, this crate does as wasmtime does, with these exceptions.
//! The test `oracle` compares the two; its `known.txt` has each difference of the file functions.
//!
//! | call | here | wasmtime | because |
//! | --- | --- | --- | --- |
//! | `fd_allocate` | works | `ENOTSUP` | programs use it |
//! | `fd_fdstat_set_rights` | narrows | `ENOTSUP` | the specification has it |
//! | `fd_sync`, `fd_datasync` of a directory | work | `EBADF` | sqlite uses them; POSIX allows it |
//! | `path_open` with `SYNC`, `DSYNC`, `RSYNC` | works | `ENOTSUP` | the specification has it |
//! | `path_link` that follows symlinks | works | `EINVAL` | the specification has it |
//! | paths and links that leave the directory | `ENOTCAPABLE` | `EPERM` | the specification's own number |
//! | `path_*` below a regular file | `ENOTDIR` | `EBADF`, except in `path_open` | POSIX |
//! | names, arguments and values that are not UTF-8 | accepted | `EILSEQ` | they are bytes |
//! | CPU time clocks | time since the start | `EBADF` | the specification has them |
//! | `poll_oneoff` of a file that cannot be polled | its event fails | the call fails | the specification |
//! | `proc_exit` with 126 and above | kept | a trap | the specification allows any |
//! | `proc_raise` | the signal's default action | `ENOTSUP` | the specification has it |
//! | reading and writing with several buffers | all of them | the first | fewer calls |
//! | addresses that are not aligned | accepted | a trap | harmless |
//! | flags and enumerations without a meaning | `EINVAL` | a trap | the specification |
//! | reading a directory | `EISDIR` | `EBADF` | POSIX |
//! | an operation that the file was not opened for | `EBADF` | works | the specification's rights |
//! | a position beyond 2^63-1 | `EINVAL` | accepted | Linux |
//! | `path_readlink` of an absolute symlink | works | `EPERM` | the target is text |
//! | a symlink with a slash behind it | is followed, but not removed or replaced | is not followed | POSIX, Linux |
//! | times before 1970 | 1970 | `EOVERFLOW` | such files stay usable |

mod args;
mod call;
mod clock;
mod errno;
mod fd;
mod file;
mod misc;
mod path;
mod poll;
mod types;

use wasmtime::{Caller, Linker};

use self::call::{Abi, Decode, Results};
use self::types::{
    Advice, Buf, ClockId, FstFlags, Iovs, LookupFlags, OFlags, OpenRights, Path, Ptr, RiFlags,
    SdFlags,
};
use crate::kernel::{FdFlags, Thread, Whence};

/// Turns the table into one function that defines everything in it.
///
/// A line is `name = function { argument: Type, … } -> (addresses of the results);`. wasm passes one
/// number for an argument, of the type [`Decode::Number`]. If it passes two, the name of the second
/// stands behind the type (`path: Path + path_len`).
macro_rules! host_functions {
    ($(
        $name:ident = $function:path {
            $($arg:ident: $ty:ident $(+ $second:ident)?),*
        } -> ( $($at:ident),* );
    )*) => {
        #[allow(unused_parens, reason = "one result is no tuple")]
        fn define(linker: &mut Linker<Thread>, module: &str, abi: Abi) -> wasmtime::Result<()> {
            $(linker.func_wrap(module, stringify!($name), move |
                mut caller: Caller<'_, Thread>,
                $($arg: <$ty as Decode>::Number, $($second: <$ty as Decode>::Number,)?)*
                $($at: u32,)*
            | -> wasmtime::Result<u32> {
                call::run(&mut caller, abi, stringify!($name), |cx| {
                    if call::is_traced() {
                        let mut shown = Vec::new();
                        let mut decode_and_call = || {
                            $(let $arg = $ty::decode(cx, [$arg, $($second)?])?;)*
                            shown = vec![$((stringify!($arg), $arg.to_string())),*];
                            $function(cx, $($arg),*)
                        };
                        let result = decode_and_call();
                        if shown.is_empty() {
                            // The arguments could not be decoded, so the trace shows the numbers.
                            shown = vec![$(
                                (stringify!($arg), $arg.to_string()),
                                $((stringify!($second), $second.to_string()),)?
                            )*];
                        }
                        call::trace(cx.process, stringify!($name), &shown, &result);
                        return Ok(result?.store(cx, ($($at),*))?);
                    }
                    $(let $arg = $ty::decode(cx, [$arg, $($second)?])?;)*
                    Ok($function(cx, $($arg),*)?.store(cx, ($($at),*))?)
                })
            })?;)*
            Ok(())
        }

        /// The functions of the table, with the types of the numbers that wasm passes to each.
        #[cfg(test)]
        fn signatures() -> Vec<(&'static str, Vec<&'static str>)> {
            vec![$((stringify!($name), vec![
                $(
                    std::any::type_name::<<$ty as Decode>::Number>(),
                    $({ let _ = stringify!($second); std::any::type_name::<<$ty as Decode>::Number>() },)?
                )*
                $({ let _ = stringify!($at); "u32" },)*
            ]),)*]
        }
    };
}

host_functions! {
    args_get = args::args_get { argv: Ptr, buf: Ptr } -> ();
    args_sizes_get = args::args_sizes_get {} -> (count_at, bytes_at);
    environ_get = args::environ_get { environ: Ptr, buf: Ptr } -> ();
    environ_sizes_get = args::environ_sizes_get {} -> (count_at, bytes_at);

    clock_res_get = clock::res_get { id: ClockId } -> (resolution_at);
    clock_time_get = clock::time_get { id: ClockId, precision: u64 } -> (time_at);

    fd_advise = file::advise { fd: u32, offset: u64, len: u64, advice: Advice } -> ();
    fd_allocate = file::allocate { fd: u32, offset: u64, len: u64 } -> ();
    fd_close = fd::close { fd: u32 } -> ();
    fd_datasync = file::datasync { fd: u32 } -> ();
    fd_fdstat_get = fd::fdstat_get { fd: u32 } -> (fdstat_at);
    fd_fdstat_set_flags = fd::fdstat_set_flags { fd: u32, flags: FdFlags } -> ();
    fd_fdstat_set_rights = fd::fdstat_set_rights { fd: u32, base: u64, inheriting: u64 } -> ();
    fd_filestat_get = file::filestat_get { fd: u32 } -> (filestat_at);
    fd_filestat_set_size = file::filestat_set_size { fd: u32, size: u64 } -> ();
    fd_filestat_set_times = file::filestat_set_times {
        fd: u32, atim: u64, mtim: u64, fstflags: FstFlags
    } -> ();
    fd_pread = fd::pread { fd: u32, iovs: Iovs + iovs_len, offset: u64 } -> (nread_at);
    fd_prestat_get = fd::prestat_get { fd: u32 } -> (prestat_at);
    fd_prestat_dir_name = fd::prestat_dir_name { fd: u32, path: Buf + path_len } -> ();
    fd_pwrite = fd::pwrite { fd: u32, iovs: Iovs + iovs_len, offset: u64 } -> (nwritten_at);
    fd_read = fd::read { fd: u32, iovs: Iovs + iovs_len } -> (nread_at);
    fd_readdir = file::readdir { fd: u32, buf: Buf + buf_len, cookie: u64 } -> (used_at);
    fd_renumber = fd::renumber { fd: u32, to: u32 } -> ();
    fd_seek = fd::seek { fd: u32, offset: i64, whence: Whence } -> (position_at);
    fd_sync = file::sync { fd: u32 } -> ();
    fd_tell = fd::tell { fd: u32 } -> (position_at);
    fd_write = fd::write { fd: u32, iovs: Iovs + iovs_len } -> (nwritten_at);

    path_create_directory = path::create_directory { fd: u32, path: Path + path_len } -> ();
    path_filestat_get = path::filestat_get {
        fd: u32, flags: LookupFlags, path: Path + path_len
    } -> (filestat_at);
    path_filestat_set_times = path::filestat_set_times {
        fd: u32, flags: LookupFlags, path: Path + path_len, atim: u64,
        mtim: u64, fstflags: FstFlags
    } -> ();
    path_link = path::link {
        old_fd: u32, old_flags: LookupFlags, old_path: Path + old_path_len,
        new_fd: u32, new_path: Path + new_path_len
    } -> ();
    path_open = path::open {
        fd: u32, dirflags: LookupFlags, path: Path + path_len, oflags: OFlags,
        rights: OpenRights + rights_inheriting, fdflags: FdFlags
    } -> (opened_at);
    path_readlink = path::readlink {
        fd: u32, path: Path + path_len, buf: Buf + buf_len
    } -> (used_at);
    path_remove_directory = path::remove_directory { fd: u32, path: Path + path_len } -> ();
    path_rename = path::rename {
        fd: u32, old_path: Path + old_path_len, new_fd: u32, new_path: Path + new_path_len
    } -> ();
    path_symlink = path::symlink {
        old_path: Path + old_path_len, fd: u32, new_path: Path + new_path_len
    } -> ();
    path_unlink_file = path::unlink_file { fd: u32, path: Path + path_len } -> ();

    poll_oneoff = poll::poll_oneoff {
        subscriptions: Ptr, events: Ptr, count: u32
    } -> (happened_at);

    proc_raise = misc::proc_raise { signal: u32 } -> ();
    sched_yield = misc::sched_yield {} -> ();
    random_get = misc::random_get { buf: Buf + buf_len } -> ();

    sock_recv = misc::sock_recv {
        fd: u32, data: Iovs + data_len, flags: RiFlags
    } -> (received_at, flags_at);
    sock_send = misc::sock_send { fd: u32, data: Iovs + data_len, flags: u32 } -> (sent_at);
    sock_shutdown = misc::sock_shutdown { fd: u32, how: SdFlags } -> ();
    sock_accept = misc::sock_accept { fd: u32, flags: FdFlags } -> (accepted_at);
}

/// Defines both versions of the interface in `linker`.
///
/// # Errors
///
/// If one of these names is defined already.
pub(crate) fn add_to_linker(linker: &mut Linker<Thread>) -> wasmtime::Result<()> {
    for (module, abi) in
        [("wasi_snapshot_preview1", Abi::Snapshot1), ("wasi_unstable", Abi::Unstable)]
    {
        define(linker, module, abi)?;
        // `proc_exit` is the one function without a result, since it does not return.
        linker.func_wrap(module, "proc_exit", |caller: Caller<'_, Thread>, code: u32| {
            let process = &caller.data().process;
            let exit = misc::proc_exit(code);
            if call::is_traced() {
                call::trace(process, "proc_exit", &[("code", code.to_string())], &exit);
            }
            exit.map_err(|end| call::end_of(process, "proc_exit", end))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
