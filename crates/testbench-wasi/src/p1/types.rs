//! The interface's types: how they are decoded, stored, and shown in a trace.

use std::fmt;

use testbench_clock::WallTime;
use testbench_overlay::{Errno, FileKind, Follow, GuestPath, Stat};

use super::call::{Abi, Call, Decode, Store};
use crate::kernel::{FdFlags, Result, Rights, Whence, names};
use crate::limits::Limit;
use crate::memory::Fault;

/// Declares a set of flags as WASI encodes it.
macro_rules! flag_sets {
    ($($(#[$doc:meta])* $set:ident: $repr:ty { $($flag:ident = $bit:literal),* })*) => {
        bitflags::bitflags! {$(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub(super) struct $set: $repr { $(const $flag = 1 << $bit;)* }
        )*}
    };
}

flag_sets! {
    /// `oflags`.
    OFlags: u16 { CREAT = 0, DIRECTORY = 1, EXCL = 2, TRUNC = 3 }
    /// `lookupflags`.
    LookupFlags: u32 { SYMLINK_FOLLOW = 0 }
    /// `fstflags`.
    FstFlags: u16 { ATIM = 0, ATIM_NOW = 1, MTIM = 2, MTIM_NOW = 3 }
    /// `riflags`.
    RiFlags: u16 { RECV_PEEK = 0, RECV_WAITALL = 1 }
    /// `sdflags`.
    SdFlags: u8 { RD = 0, WR = 1 }
}

/// Flags arrive in 32 bits, whatever their width; bits without a meaning are an error.
macro_rules! decode_flags {
    ($($set:ident: $repr:ty;)*) => {$(
        impl Decode for $set {
            type Number = u32;
            type Numbers = [u32; 1];
            fn decode(_: &Call<'_>, [raw]: [u32; 1]) -> Result<Self> {
                let bits = <$repr>::try_from(raw).ok();
                Ok(bits.and_then($set::from_bits).ok_or(Errno::Inval)?)
            }
        }

        impl fmt::Display for $set {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&names(self))
            }
        }
    )*};
}

decode_flags! {
    OFlags: u16;
    LookupFlags: u32;
    FstFlags: u16;
    FdFlags: u16;
    RiFlags: u16;
    SdFlags: u8;
}

/// The rights that `path_open` requests. Unknown rights are ignored: C libraries request all that there
/// may ever be.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenRights {
    pub(super) base: Rights,
    inheriting: Rights,
}

impl Decode for OpenRights {
    type Number = u64;
    type Numbers = [u64; 2];

    fn decode(_: &Call<'_>, numbers: [u64; 2]) -> Result<Self> {
        let [base, inheriting] = numbers.map(Rights::from_bits_truncate);
        Ok(OpenRights { base, inheriting })
    }
}

impl LookupFlags {
    pub(super) fn follow(self) -> Follow {
        if self.contains(LookupFlags::SYMLINK_FOLLOW) { Follow::Yes } else { Follow::No }
    }
}

/// Numbers that stand for themselves.
macro_rules! plain {
    ($($raw:ty),*) => {$(
        impl Decode for $raw {
            type Number = $raw;
            type Numbers = [$raw; 1];
            fn decode(_: &Call<'_>, [raw]: [$raw; 1]) -> Result<Self> {
                Ok(raw)
            }
        }
    )*};
}

plain!(u32, u64, i64);

/// Integers are stored in little-endian order.
macro_rules! store {
    ($($int:ty),*) => {$(
        impl Store for $int {
            #[inline]
            fn store_at(&self, cx: &mut Call<'_>, at: u32) -> Result<(), Fault> {
                cx.mem.put(at, &self.to_le_bytes())
            }
        }
    )*};
}

store!(u16, u32, u64);

/// An address, of something whose size the function knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ptr(pub(super) u32);

impl Decode for Ptr {
    type Number = u32;
    type Numbers = [u32; 1];

    fn decode(_: &Call<'_>, [raw]: [u32; 1]) -> Result<Self> {
        Ok(Ptr(raw))
    }
}

/// A range of memory to be filled. All of it must be inside the memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buf {
    pub(super) at: u32,
    pub(super) len: u32,
}

impl Decode for Buf {
    type Number = u32;
    type Numbers = [u32; 2];

    fn decode(cx: &Call<'_>, [at, len]: [u32; 2]) -> Result<Self> {
        cx.mem.check(at, len, 1)?;
        Ok(Buf { at, len })
    }
}

/// A path, copied out.
#[derive(Clone, Debug)]
pub(super) struct Path(Vec<u8>);

impl Path {
    pub(super) fn as_guest(&self) -> GuestPath<'_> {
        GuestPath::new(&self.0)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Decode for Path {
    type Number = u32;
    type Numbers = [u32; 2];

    fn decode(cx: &Call<'_>, [at, len]: [u32; 2]) -> Result<Self> {
        cx.mem.check(at, len, 1)?;
        let bytes_max = cx.process.limits.path_bytes_max;
        if len > bytes_max {
            cx.process.limit_hit(Limit::Path { bytes_max });
            return Err(Errno::Nametoolong.into());
        }
        cx.charge_bytes(len as usize)?;
        let path = cx.mem.lend(at, len, <[u8]>::to_vec)?;
        // A name with a NUL in it exists nowhere, and the host's calls cannot even be given one.
        if path.contains(&0) { Err(Errno::Inval.into()) } else { Ok(Path(path)) }
    }
}

/// The buffers of a gathering or scattering call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Iovs {
    at: u32,
    count: u32,
}

/// How many buffers one call looks at (`IOV_MAX` of Linux); it leaves the rest for the next call.
const IOVS_MAX: u32 = 1024;
const IOV_BYTES: u32 = 8;

impl Decode for Iovs {
    type Number = u32;
    type Numbers = [u32; 2];

    #[inline]
    fn decode(cx: &Call<'_>, [at, count]: [u32; 2]) -> Result<Self> {
        cx.mem.check(at, count, IOV_BYTES)?;
        let count = count.min(IOVS_MAX);
        cx.charge(count.into())?;
        Ok(Iovs { at, count })
    }
}

impl Iovs {
    pub(super) fn count(self) -> u32 {
        self.count
    }

    /// The buffer with this index.
    #[inline]
    pub(super) fn get(self, cx: &Call<'_>, index: u32) -> Result<Buf, Fault> {
        // No overflow: `decode` found the whole array inside of the memory.
        let bytes: [u8; 8] = cx.mem.get(self.at + index * IOV_BYTES)?;
        let [a, b, c, d, e, f, g, h] = bytes;
        let buf =
            Buf { at: u32::from_le_bytes([a, b, c, d]), len: u32::from_le_bytes([e, f, g, h]) };
        cx.mem.check(buf.at, buf.len, 1)?;
        Ok(buf)
    }
}

/// Enumerations whose numbers are their places.
macro_rules! enumeration {
    ($(#[$meta:meta])* $name:ident { $($member:ident $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name { $($member,)* }

        impl Decode for $name {
            type Number = u32;
            type Numbers = [u32; 1];
            fn decode(_: &Call<'_>, [raw]: [u32; 1]) -> Result<Self> {
                const ALL: &[$name] = &[$($name::$member,)*];
                Ok(*ALL.get(raw as usize).ok_or(Errno::Inval)?)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($name::$member => $text,)* })
            }
        }
    };
}

enumeration! {
    /// `clockid`.
    ClockId {
        Realtime "REALTIME",
        Monotonic "MONOTONIC",
        ProcessCputime "PROCESS_CPUTIME_ID",
        ThreadCputime "THREAD_CPUTIME_ID",
    }
}

enumeration! {
    /// `advice`. There is no cache that it could help.
    Advice {
        Normal "NORMAL",
        Sequential "SEQUENTIAL",
        Random "RANDOM",
        Willneed "WILLNEED",
        Dontneed "DONTNEED",
        Noreuse "NOREUSE",
    }
}

/// `whence`, whose numbers differ between the versions.
impl Decode for Whence {
    type Number = u32;
    type Numbers = [u32; 1];

    fn decode(cx: &Call<'_>, [raw]: [u32; 1]) -> Result<Self> {
        use Whence::{Cur, End, Set};
        let all = match cx.abi {
            Abi::Unstable => [Cur, End, Set],
            Abi::Snapshot1 => [Set, Cur, End],
        };
        Ok(*all.get(raw as usize).ok_or(Errno::Inval)?)
    }
}

/// `filetype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FileType {
    Unknown = 0,
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    SymbolicLink = 7,
}

impl From<FileKind> for FileType {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::File => FileType::RegularFile,
            FileKind::Dir => FileType::Directory,
            FileKind::Symlink => FileType::SymbolicLink,
            FileKind::Special => FileType::Unknown,
        }
    }
}

/// `fdstat`.
pub(super) struct Fdstat {
    pub(super) file_type: FileType,
    pub(super) flags: FdFlags,
    pub(super) base: Rights,
    pub(super) inheriting: Rights,
}

impl Store for Fdstat {
    fn store_at(&self, cx: &mut Call<'_>, at: u32) -> Result<(), Fault> {
        let mut bytes = [0; 24];
        bytes[0] = self.file_type as u8;
        bytes[2..4].copy_from_slice(&self.flags.bits().to_le_bytes());
        bytes[8..16].copy_from_slice(&self.base.bits().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.inheriting.bits().to_le_bytes());
        cx.mem.put(at, &bytes)
    }
}

/// `filestat`, smaller in preview 0.
pub(super) struct Filestat {
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) file_type: FileType,
    pub(super) nlink: u64,
    pub(super) size: u64,
    pub(super) times: [u64; 3],
}

impl From<Stat> for Filestat {
    fn from(stat: Stat) -> Self {
        Filestat {
            dev: stat.dev,
            ino: stat.ino,
            file_type: stat.kind.into(),
            nlink: stat.nlink,
            size: stat.size,
            times: [stat.atime, stat.mtime, stat.ctime].map(clamped_timestamp),
        }
    }
}

impl Store for Filestat {
    fn store_at(&self, cx: &mut Call<'_>, at: u32) -> Result<(), Fault> {
        let mut bytes = [0; 64];
        let mut word = |at: usize, value: u64| {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        };
        word(0, self.dev);
        word(8, self.ino);
        word(16, u64::from(self.file_type as u8));
        // Preview 0 has 32 bits for the number of links, right behind the type.
        let sizes = match cx.abi {
            Abi::Unstable => {
                let nlink = u64::from(u32::try_from(self.nlink).unwrap_or(u32::MAX));
                word(16, u64::from(self.file_type as u8) | nlink << 32);
                24
            }
            Abi::Snapshot1 => {
                word(24, self.nlink);
                32
            }
        };
        word(sizes, self.size);
        for (i, time) in self.times.iter().enumerate() {
            word(sizes + 8 + 8 * i, *time);
        }
        cx.mem.put(at, &bytes[..sizes + 32])
    }
}

/// `prestat` of a directory, the only kind: the length of its name.
pub(super) struct Prestat(pub(super) u32);

impl Store for Prestat {
    fn store_at(&self, cx: &mut Call<'_>, at: u32) -> Result<(), Fault> {
        let mut bytes = [0; 8];
        bytes[4..8].copy_from_slice(&self.0.to_le_bytes());
        cx.mem.put(at, &bytes)
    }
}

/// A file's time as WASI has it: what lies before 1970, or after 2554, is moved to the edge, since
/// a file is not to be unusable for its time.
fn clamped_timestamp(time: WallTime) -> u64 {
    u64::try_from(time.unix_nanos().max(0)).unwrap_or(u64::MAX)
}

/// How arguments and results look in a trace: a format, and the values in it.
macro_rules! shown {
    ($($ty:ident($this:ident): $format:literal, $($value:expr),+;)*) => {$(
        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $this = self;
                write!(f, $format, $($value),+)
            }
        }
    )*};
}

shown! {
    OpenRights(it): "{} inheriting {}", names(&it.base), names(&it.inheriting);
    Ptr(it): "{:#x}", it.0;
    Buf(it): "{:#x}[{}]", it.at, it.len;
    Path(it): "{:?}", it.as_guest();
    Iovs(it): "[{} buffers]", it.count;
    Whence(it): "{:?}", it;
    Fdstat(it): "{{{:?}, flags={}, rights={}}}", it.file_type, it.flags, names(&it.base);
    Filestat(it): "{{{:?}, ino={}, size={}, nlink={}}}", it.file_type, it.ino, it.size, it.nlink;
    Prestat(it): "{{dir, name of {} bytes}}", it.0;
}
