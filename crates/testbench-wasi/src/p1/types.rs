//! The interface's types: how they are decoded, stored, and shown in a trace.

use std::fmt;

use bitflags::Flags;
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

impl LookupFlags {
    pub(super) fn follow(self) -> Follow {
        if self.contains(LookupFlags::SYMLINK_FOLLOW) { Follow::Yes } else { Follow::No }
    }
}

/// The rights that `path_open` requests. Unknown rights are ignored: C libraries request all that there
/// may ever be.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenRights {
    pub(super) base: Rights,
    inheriting: Rights,
}

/// An address, of something whose size the function knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ptr(pub(super) u32);

/// A range of memory to be filled. All of it must be inside the memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buf {
    pub(super) at: u32,
    pub(super) len: u32,
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

    fn copied(cx: &Call<'_>, at: u32, len: u32) -> Result<Path> {
        cx.mem.check(at, len, 1)?;
        let bytes_max = cx.process.limits.path_bytes_max;
        if len > bytes_max {
            cx.process.limit_hit(Limit::Path { bytes_max });
            return Err(Errno::Nametoolong.into());
        }
        cx.charge_bytes(len as usize)?;
        let path = cx.mem.lend(at, len)?.to_vec();
        // A name with a NUL in it exists nowhere, and the host's calls cannot even be given one.
        if path.contains(&0) { Err(Errno::Inval.into()) } else { Ok(Path(path)) }
    }
}

/// The buffers of a gathering or scattering call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Iovs {
    at: u32,
    pub(super) count: u32,
}

impl Iovs {
    /// How many buffers one call looks at (`IOV_MAX` of Linux); it leaves the rest for the next call.
    const COUNT_MAX: u32 = 1024;
    const BUF_BYTES: u32 = 8;

    #[inline]
    fn within(cx: &Call<'_>, at: u32, count: u32) -> Result<Iovs> {
        cx.mem.check(at, count, Iovs::BUF_BYTES)?;
        let count = count.min(Iovs::COUNT_MAX);
        cx.charge(count.into())?;
        Ok(Iovs { at, count })
    }

    /// The buffer with this index.
    #[inline]
    pub(super) fn get(self, cx: &Call<'_>, index: u32) -> Result<Buf, Fault> {
        // No overflow: the whole array was found inside of the memory.
        let both = u64::from_le_bytes(cx.mem.get(self.at + index * Iovs::BUF_BYTES)?);
        let buf = Buf { at: both as u32, len: (both >> 32) as u32 };
        cx.mem.check(buf.at, buf.len, 1)?;
        Ok(buf)
    }
}

/// `clockid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClockId {
    Realtime,
    Monotonic,
    ProcessCputime,
    ThreadCputime,
}

impl ClockId {
    const ALL: [ClockId; 4] = {
        use ClockId::{Monotonic, ProcessCputime, Realtime, ThreadCputime};
        [Realtime, Monotonic, ProcessCputime, ThreadCputime]
    };
}

/// `advice`, by name. There is no cache that it could help.
#[derive(Clone, Copy, Debug)]
pub(super) struct Advice(&'static str);

impl Advice {
    const ALL: [&str; 6] = ["NORMAL", "SEQUENTIAL", "RANDOM", "WILLNEED", "DONTNEED", "NOREUSE"];
}

/// Implements [`Decode`]: the numbers that wasm passes for an argument, and the value that they make.
macro_rules! decode {
    ($($ty:ty: [$number:ty; $count:literal] = |$cx:pat_param, $numbers:pat_param| $value:expr;)*) => {$(
        impl Decode for $ty {
            type Number = $number;
            type Numbers = [$number; $count];

            #[inline]
            fn decode($cx: &Call<'_>, $numbers: [$number; $count]) -> Result<Self> {
                $value
            }
        }
    )*};
}

decode! {
    u32: [u32; 1] = |_, [raw]| Ok(raw);
    u64: [u64; 1] = |_, [raw]| Ok(raw);
    i64: [i64; 1] = |_, [raw]| Ok(raw);
    Ptr: [u32; 1] = |_, [raw]| Ok(Ptr(raw));
    Buf: [u32; 2] = |cx, [at, len]| Ok(cx.mem.check(at, len, 1).map(|()| Buf { at, len })?);
    Path: [u32; 2] = |cx, [at, len]| Path::copied(cx, at, len);
    Iovs: [u32; 2] = |cx, [at, count]| Iovs::within(cx, at, count);
    OFlags: [u32; 1] = |_, [raw]| flags(raw);
    LookupFlags: [u32; 1] = |_, [raw]| flags(raw);
    FstFlags: [u32; 1] = |_, [raw]| flags(raw);
    FdFlags: [u32; 1] = |_, [raw]| flags(raw);
    RiFlags: [u32; 1] = |_, [raw]| flags(raw);
    SdFlags: [u32; 1] = |_, [raw]| flags(raw);
    OpenRights: [u64; 2] = |_, rights| {
        let [base, inheriting] = rights.map(Rights::from_bits_truncate);
        Ok(OpenRights { base, inheriting })
    };
    ClockId: [u32; 1] = |_, [raw]| member(ClockId::ALL, raw);
    Advice: [u32; 1] = |_, [raw]| member(Advice::ALL, raw).map(Advice);
    Whence: [u32; 1] = |cx, [raw]| match cx.abi {
        Abi::Unstable => member([Whence::Cur, Whence::End, Whence::Set], raw),
        Abi::Snapshot1 => member([Whence::Set, Whence::Cur, Whence::End], raw),
    };
}

/// Flags arrive in 32 bits, whatever their width; bits without a meaning are an error.
fn flags<F: Flags<Bits: TryFrom<u32>>>(raw: u32) -> Result<F> {
    Ok(F::Bits::try_from(raw).ok().and_then(F::from_bits).ok_or(Errno::Inval)?)
}

/// The member of an enumeration, whose numbers are their places.
fn member<T: Copy, const N: usize>(all: [T; N], raw: u32) -> Result<T> {
    Ok(*all.get(raw as usize).ok_or(Errno::Inval)?)
}

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

/// Records are arrays of 64-bit words; smaller fields are parts of one.
pub(super) fn store_words<const N: usize>(
    cx: &mut Call<'_>,
    at: u32,
    words: [u64; N],
) -> Result<(), Fault> {
    cx.mem.put(at, words.map(u64::to_le_bytes).as_flattened())
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
        let type_and_flags = self.file_type as u64 | u64::from(self.flags.bits()) << 16;
        store_words(cx, at, [type_and_flags, self.base.bits(), self.inheriting.bits()])
    }
}

/// `filestat`, smaller in preview 0. Of a stream only its type is known.
pub(super) struct Filestat {
    pub(super) file_type: FileType,
    pub(super) stat: Option<Stat>,
}

impl From<Stat> for Filestat {
    fn from(stat: Stat) -> Self {
        Filestat { file_type: stat.kind.into(), stat: Some(stat) }
    }
}

impl Store for Filestat {
    fn store_at(&self, cx: &mut Call<'_>, at: u32) -> Result<(), Fault> {
        let [dev, ino, nlink, size, atime, mtime, ctime] =
            self.stat.as_ref().map_or([0; 7], |stat| {
                let Stat { dev, ino, nlink, size, .. } = *stat;
                let [atime, mtime, ctime] =
                    [stat.atime, stat.mtime, stat.ctime].map(clamped_timestamp);
                [dev, ino, nlink, size, atime, mtime, ctime]
            });
        let file_type = self.file_type as u64;
        match cx.abi {
            Abi::Unstable => {
                // 32 bits for the number of links, right behind the type.
                let nlink = u64::from(u32::try_from(nlink).unwrap_or(u32::MAX));
                let words = [dev, ino, file_type | nlink << 32, size, atime, mtime, ctime];
                store_words(cx, at, words)
            }
            Abi::Snapshot1 => {
                store_words(cx, at, [dev, ino, file_type, nlink, size, atime, mtime, ctime])
            }
        }
    }
}

/// `prestat` of a directory, the only kind: the length of its name.
pub(super) struct Prestat(pub(super) u32);

impl Store for Prestat {
    fn store_at(&self, cx: &mut Call<'_>, at: u32) -> Result<(), Fault> {
        store_words(cx, at, [u64::from(self.0) << 32])
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
    OFlags(it): "{}", names(it);
    LookupFlags(it): "{}", names(it);
    FstFlags(it): "{}", names(it);
    FdFlags(it): "{}", names(it);
    RiFlags(it): "{}", names(it);
    SdFlags(it): "{}", names(it);
    OpenRights(it): "{} inheriting {}", names(&it.base), names(&it.inheriting);
    Ptr(it): "{:#x}", it.0;
    Buf(it): "{:#x}[{}]", it.at, it.len;
    Path(it): "{:?}", it.as_guest();
    Iovs(it): "[{} buffers]", it.count;
    ClockId(it): "{:?}", it;
    Advice(it): "{}", it.0;
    Whence(it): "{:?}", it;
    Fdstat(it): "{{{:?}, flags={}, rights={}}}", it.file_type, it.flags, names(&it.base);
    Filestat(it): "{{{:?}, {:?}}}", it.file_type, it.stat;
    Prestat(it): "{{dir, name of {} bytes}}", it.0;
}
