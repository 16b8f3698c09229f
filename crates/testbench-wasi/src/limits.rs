//! Every bound on a guest, its default, and the effect of reaching it.
//!
//! There are two sorts. Most programs can handle an errno or -1, and the guest goes on
//! ([`Limit::is_fatal`] is false). The other limits end the guest ([`Exit::Limit`]). Either way
//! [`Finished::limits_hit`] names each limit that was reached, in the order in which that happened.
//!
//! [`Exit::Limit`]: crate::Exit::Limit
//! [`Finished::limits_hit`]: crate::Finished::limits_hit

use std::time::Duration;

/// The bounds within which a guest runs. Each field says its default and what happens beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The size, in bytes, to which one linear memory may grow: `memory.grow` beyond it returns
    /// -1. A module that asks for more from the start does not run, and one whose garbage-collected
    /// heap would need more ends ([`Limit::Memory`]).
    ///
    /// By default [`Limits::MEMORY_BYTES_MAX`].
    pub memory_bytes_max: u64,
    /// The number of elements to which one table may grow: `table.grow` beyond it returns -1. A
    /// module that asks for more from the start does not run ([`Limit::Table`]).
    ///
    /// By default [`Limits::TABLE_ELEMENTS_MAX`].
    pub table_elements_max: u64,
    /// How many linear memories a guest may have; a module that asks for more does not run.
    ///
    /// By default [`Limits::MEMORIES_MAX`].
    pub memories_max: u32,
    /// How many tables a guest may have; a module that asks for more does not run.
    ///
    /// By default [`Limits::TABLES_MAX`].
    pub tables_max: u32,
    /// How many module instances a guest may have; more end it.
    ///
    /// By default [`Limits::INSTANCES_MAX`].
    pub instances_max: u32,
    /// How many files a guest may have open, standard streams and mounts included; one more is
    /// `EMFILE`.
    ///
    /// By default [`Limits::OPEN_FILES_MAX`].
    pub open_files_max: u32,
    /// The length, in bytes, of a path or of a symlink's target; a longer one is `ENAMETOOLONG`.
    ///
    /// By default [`Limits::PATH_BYTES_MAX`].
    pub path_bytes_max: u32,
    /// How many bytes are captured from each of stdout and stderr; one more ends the guest, and
    /// the captured part is kept.
    ///
    /// By default [`Limits::OUTPUT_BYTES_MAX`].
    pub output_bytes_max: u64,
    /// How many bytes one call of `random_get` may ask for; more is `EINVAL`.
    ///
    /// By default [`Limits::RANDOM_BYTES_MAX`].
    pub random_bytes_max: u32,
    /// How many bytes one call reads or writes; the rest is left for the next call, as POSIX
    /// allows. So this is never reported.
    ///
    /// By default [`Limits::IO_BYTES_MAX`].
    pub io_bytes_max: u32,
    /// How many units of work the guest may do; more end it. An instruction costs about one unit. A call
    /// to the host costs one more for each entry that it lists, polls or gathers, and for each 16 bytes
    /// that it moves or draws. The same program stops at the same instruction in every run.
    ///
    /// By default `None`: nothing is counted, since counting costs time.
    pub fuel: Option<u64>,
    /// How long the guest may take in **real** time; more ends it. It ends a guest that hangs, and says
    /// nothing about the guest's own clock.
    ///
    /// By default [`Limits::WATCHDOG`].
    pub watchdog: Option<Duration>,
    /// How far the guest's monotonic clock may move while it runs; the first wait that would go
    /// beyond ends it, at that instant.
    ///
    /// By default `None`: virtual time is free.
    pub virtual_deadline: Option<Duration>,
}

impl Limits {
    /// The size of a page of memory, in bytes: 64 KiB. Limits in pages are written as
    /// `16 * Limits::PAGE_BYTES`.
    pub const PAGE_BYTES: u64 = 65_536;
    /// 1 GiB: four times the most that language runtimes were seen to use, and no more than a small
    /// machine can give to one program.
    pub const MEMORY_BYTES_MAX: u64 = 1 << 30;
    /// Ten times the table of a large interpreter. It is also the size of a table in the pool, so
    /// that growth is refused at the same point wherever the guest runs.
    pub const TABLE_ELEMENTS_MAX: u64 = 100_000;
    /// Programs have one memory; the few that have more have few.
    pub const MEMORIES_MAX: u32 = 8;
    /// Programs have one or two tables.
    pub const TABLES_MAX: u32 = 16;
    /// A command is one instance.
    pub const INSTANCES_MAX: u32 = 16;
    /// The default of Linux for a process (`ulimit -n`).
    pub const OPEN_FILES_MAX: u32 = 1024;
    /// `PATH_MAX` of Linux.
    pub const PATH_BYTES_MAX: u32 = 4096;
    /// 64 MiB in each stream: captured output is kept in memory. For more, give a file or a closure.
    pub const OUTPUT_BYTES_MAX: u64 = 64 << 20;
    /// 16 MiB; larger than any buffer that a program fills with randomness in one call.
    pub const RANDOM_BYTES_MAX: u32 = 16 << 20;
    /// 16 MiB; bounds the memory that one call makes the host use.
    pub const IO_BYTES_MAX: u32 = 16 << 20;
    /// A minute: much longer than a test takes, shorter than its author's patience.
    pub const WATCHDOG: Duration = Duration::from_secs(60);
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes_max: Limits::MEMORY_BYTES_MAX,
            table_elements_max: Limits::TABLE_ELEMENTS_MAX,
            memories_max: Limits::MEMORIES_MAX,
            tables_max: Limits::TABLES_MAX,
            instances_max: Limits::INSTANCES_MAX,
            open_files_max: Limits::OPEN_FILES_MAX,
            path_bytes_max: Limits::PATH_BYTES_MAX,
            output_bytes_max: Limits::OUTPUT_BYTES_MAX,
            random_bytes_max: Limits::RANDOM_BYTES_MAX,
            io_bytes_max: Limits::IO_BYTES_MAX,
            fuel: None,
            watchdog: Some(Limits::WATCHDOG),
            virtual_deadline: None,
        }
    }
}

/// A limit that a guest reached, with the bound that was in force.
///
/// Its text names the limit, its bound, and the field of [`Limits`] that sets it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's field is the bound in force")]
pub enum Limit {
    /// [`Limits::memory_bytes_max`].
    #[error("a memory larger than {bytes_max} bytes (limit `memory_bytes_max`)")]
    Memory { bytes_max: u64 },
    /// [`Limits::table_elements_max`].
    #[error("a table of more than {elements_max} elements (limit `table_elements_max`)")]
    Table { elements_max: u64 },
    /// [`Limits::memories_max`].
    #[error("more than {max} memories (limit `memories_max`)")]
    Memories { max: u32 },
    /// [`Limits::tables_max`].
    #[error("more than {max} tables (limit `tables_max`)")]
    Tables { max: u32 },
    /// [`Limits::instances_max`].
    #[error("more than {max} instances (limit `instances_max`)")]
    Instances { max: u32 },
    /// [`Limits::open_files_max`].
    #[error("more than {max} open files (limit `open_files_max`)")]
    OpenFiles { max: u32 },
    /// [`Limits::path_bytes_max`].
    #[error("a path longer than {bytes_max} bytes (limit `path_bytes_max`)")]
    Path { bytes_max: u32 },
    /// A bound of the tree of files that was written to: `ENOSPC`, `EFBIG` or `EDQUOT`. It is set on the
    /// tree ([`Quota`](testbench_overlay::pipeline::Quota) of an overlay), not here; a real disk that
    /// is full fails alike.
    #[error("more files or bytes than its filesystem has room for")]
    Quota,
    /// [`Limits::output_bytes_max`].
    #[error("more than {bytes_max} bytes of captured output (limit `output_bytes_max`)")]
    Output { bytes_max: u64 },
    /// [`Limits::random_bytes_max`].
    #[error("more than {bytes_max} random bytes at once (limit `random_bytes_max`)")]
    Random { bytes_max: u32 },
    /// [`Limits::fuel`].
    #[error("more than {units} units of work (limit `fuel`)")]
    Fuel { units: u64 },
    /// The call stack: 512 KiB for the guest's own frames, which no setting changes. The guest
    /// ends with [`TrapKind::StackOverflow`](crate::TrapKind::StackOverflow).
    #[error("a call stack larger than 512 KiB")]
    Stack,
    /// [`Limits::watchdog`], in real time.
    #[error("more than {after:?} of real time (limit `watchdog`)")]
    Watchdog { after: Duration },
    /// [`Limits::virtual_deadline`], in the time of the guest's clock.
    #[error("more than {after:?} of virtual time (limit `virtual_deadline`)")]
    VirtualDeadline { after: Duration },
}

impl Limit {
    /// Whether reaching it ends the guest. If not, the guest was told by an errno or by -1.
    ///
    /// A memory or table that grows beyond its limit is refused and the guest goes on: for these this
    /// returns false. A module that cannot even be instantiated within the limit ends.
    pub fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Limit::Memory { .. }
                | Limit::Table { .. }
                | Limit::OpenFiles { .. }
                | Limit::Path { .. }
                | Limit::Quota
                | Limit::Random { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_names_its_bound_and_its_setting() {
        let all = [
            Limit::Memory { bytes_max: 65536 },
            Limit::Table { elements_max: 10 },
            Limit::Memories { max: 1 },
            Limit::Tables { max: 2 },
            Limit::Instances { max: 3 },
            Limit::OpenFiles { max: 4 },
            Limit::Path { bytes_max: 5 },
            Limit::Quota,
            Limit::Output { bytes_max: 6 },
            Limit::Random { bytes_max: 7 },
            Limit::Fuel { units: 8 },
            Limit::Stack,
            Limit::Watchdog { after: Duration::from_millis(1500) },
            Limit::VirtualDeadline { after: Duration::from_secs(9) },
        ];
        let text: String = all
            .iter()
            .map(|l| format!("{}: {l}\n", if l.is_fatal() { "ends " } else { "errno" }))
            .collect();
        insta::assert_snapshot!(text, @r"
        errno: a memory larger than 65536 bytes (limit `memory_bytes_max`)
        errno: a table of more than 10 elements (limit `table_elements_max`)
        ends : more than 1 memories (limit `memories_max`)
        ends : more than 2 tables (limit `tables_max`)
        ends : more than 3 instances (limit `instances_max`)
        errno: more than 4 open files (limit `open_files_max`)
        errno: a path longer than 5 bytes (limit `path_bytes_max`)
        errno: more files or bytes than its filesystem has room for
        ends : more than 6 bytes of captured output (limit `output_bytes_max`)
        errno: more than 7 random bytes at once (limit `random_bytes_max`)
        ends : more than 8 units of work (limit `fuel`)
        ends : a call stack larger than 512 KiB
        ends : more than 1.5s of real time (limit `watchdog`)
        ends : more than 9s of virtual time (limit `virtual_deadline`)
        ");
    }
}
