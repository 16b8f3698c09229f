//! The one description of an operation, and of its subject, that all stages read.

use std::fmt;

use crate::vfs::name::RelPath;

macro_rules! operations {
    ($($variant:ident $name:literal $text:literal;)*) => {
        /// An operation on a tree of files, through either front door.
        ///
        /// ```
        /// use testbench_overlay::pipeline::Operation;
        ///
        /// let first_three = [Operation::Open, Operation::Create, Operation::Stat];
        /// assert_eq!(Operation::ALL[..3], first_three);
        /// assert_eq!(first_three.map(Operation::name), ["open", "create", "stat"]);
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Operation {
            $(#[doc = $text] $variant,)*
        }

        impl Operation {
            /// All operations, in the order of their declaration.
            ///
            /// ```
            /// use testbench_overlay::pipeline::{Audit, Operation};
            /// use testbench_overlay::{Overlay, fs, install};
            ///
            /// let (dir, audit) = (tempfile::tempdir()?, Audit::new());
            /// let _installed = install(Overlay::builder(dir.path()).audit(&audit).build()?);
            /// fs::write(dir.path().join("a"), "text")?;
            ///
            /// // Which operations does this program not use?
            /// let events = audit.events();
            /// let used = |operation| events.iter().any(|event| event.operation == operation);
            /// let unused = Operation::ALL.iter().filter(|operation| !used(**operation)).count();
            /// assert_eq!(unused, Operation::ALL.len() - 2, "all but `create` and `write`");
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub const ALL: &[Operation] = &[$(Operation::$variant,)*];

            /// A word for it, as an [`Audit`](super::Audit) prints it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Operation::$variant => $name,)*
                }
            }
        }
    };
}

operations! {
    Open "open" "Opening what is there, or failing to.";
    Create "create" "Opening a file that is missing, so that it is made.";
    Stat "stat" "Asking for metadata, by path or of an open file, or for the canonical path.";
    ReadLink "read_link" "Reading the target of a symlink.";
    ReadDir "read_dir" "Listing a directory.";
    Read "read" "Reading bytes.";
    Write "write" "Writing bytes, at an offset or at the end.";
    SetLen "set_len" "Cutting a file off or extending it, also by truncating while opening it.";
    Sync "sync" "Bringing a file to stable storage.";
    CreateDir "create_dir" "Making a directory.";
    Symlink "symlink" "Making a symlink.";
    Link "link" "Giving a file a second name.";
    Rename "rename" "Moving something.";
    RemoveFile "remove_file" "Removing what is not a directory.";
    RemoveDir "remove_dir" "Removing a directory.";
    SetTimes "set_times" "Setting times.";
    SetMode "set_mode" "Setting permission bits.";
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One operation on its way through the stages.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) operation: Operation,
    /// From the top, without symlinks if the walk came to an end.
    pub(super) path: RelPath,
    /// The second path of a rename or link.
    pub(super) to: Option<RelPath>,
    /// How many bytes are to be read or written.
    pub(super) len: usize,
}

impl Request {
    pub(super) fn new(operation: Operation, path: RelPath) -> Request {
        Request { operation, path, to: None, len: 0 }
    }

    /// The paths by which a pattern may match.
    pub(super) fn paths(&self) -> impl Iterator<Item = &RelPath> {
        std::iter::once(&self.path).chain(&self.to)
    }
}
