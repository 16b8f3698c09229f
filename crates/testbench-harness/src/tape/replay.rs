//! [`Entry`]: one spawn of the tape that is played instead of running.

use std::io;
use std::time::Duration;

use testbench_clock::WallTime;
use testbench_overlay::{Overlay, Put};

use super::files;
use super::format::{Input, Record, TapedStatus};
use super::scrub::{Marks, Scrubber};

/// An entry of the tape that was taken to be played.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) record: Record,
    /// The start of the session's clock.
    pub(super) start: WallTime,
    pub(super) marks: Marks,
    pub(super) scrubber: Scrubber,
}

impl Entry {
    /// The time that the child took.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_nanos(self.record.duration_ns)
    }

    /// The error of a child that did not start; `None` if there is a child to play.
    pub(crate) fn not_started(&self) -> Option<io::Error> {
        let TapedStatus::NotStarted { kind, message } = &self.record.status else { return None };
        // A start fails with an error number of the system, and each has a kind.
        let mut kinds = (1..=ERRNO_MAX).map(|errno| io::Error::from_raw_os_error(errno).kind());
        let kind = kinds.find(|known| format!("{known:?}") == *kind);
        Some(io::Error::new(kind.unwrap_or(io::ErrorKind::Other), message.to_string()))
    }

    /// The most bytes that the child reads. The rest of its input stays where it is.
    pub(crate) fn input_bytes_max(&self) -> u64 {
        let taped = &self.record.stdin;
        match &taped.content {
            _ if taped.unseen => 0,
            _ if !taped.cut => u64::MAX,
            Some(content) => self.marks.expand(content).len() as u64,
            None => taped.size_bytes,
        }
    }

    /// Checks that the child has read the same bytes as when it was recorded.
    pub(crate) fn check_input(&self, read: &[u8]) -> io::Result<()> {
        let Record { sequence, stdin, .. } = &self.record;
        let content = self.scrubber.tape(read);
        let actual = Input::digest(&content);
        let taped = stdin.blake3.clone().unwrap_or_else(|| Input::digest(&"".into()));
        if stdin.unseen || taped == actual {
            return Ok(());
        }
        let (taped_bytes, actual_bytes) = (stdin.size_bytes, content.bytes().len());
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "its standard input is not that of the tape (entry {sequence}): taped {taped_bytes} \
                 bytes of BLAKE3 {taped}, actual {actual_bytes} bytes of BLAKE3 {actual}. Give it \
                 the same input, or record the tape again with `TapeMode::Record`"
            ),
        ))
    }

    /// Makes the child's changes in the overlay.
    pub(crate) fn change_files(&self, overlay: &Overlay) -> io::Result<()> {
        let put = |file| files::put(file, self.start, |taped| self.marks.expand(taped));
        let puts: Vec<Put> = self.record.files.iter().map(put).collect();
        overlay.apply(&puts).map_err(|error| {
            let kind = io::Error::from(error.errno).kind();
            let sequence = self.record.sequence;
            io::Error::new(kind, format!("its file changes do not fit (entry {sequence}): {error}"))
        })
    }

    /// The child's standard output and standard error.
    pub(crate) fn outputs(&self) -> [Vec<u8>; 2] {
        [&self.record.stdout, &self.record.stderr].map(|taped| self.marks.expand(taped))
    }
}

/// Greater than every error number with a kind of its own on the systems that we run on.
const ERRNO_MAX: i32 = 200;
