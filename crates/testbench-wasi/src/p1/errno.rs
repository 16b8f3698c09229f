//! The numbers of errors in WASI.

use testbench_overlay::Errno;

/// The errors in both versions of the interface, from number 0, by their POSIX names without the `E`
/// (`OPNOTSUPP` is `notsup` there).
const NAMES: &str = "\
    SUCCESS 2BIG ACCES ADDRINUSE ADDRNOTAVAIL AFNOSUPPORT AGAIN ALREADY BADF BADMSG BUSY \
    CANCELED CHILD CONNABORTED CONNREFUSED CONNRESET DEADLK DESTADDRREQ DOM DQUOT EXIST FAULT \
    FBIG HOSTUNREACH IDRM ILSEQ INPROGRESS INTR INVAL IO ISCONN ISDIR LOOP MFILE MLINK MSGSIZE \
    MULTIHOP NAMETOOLONG NETDOWN NETRESET NETUNREACH NFILE NOBUFS NODEV NOENT NOEXEC NOLCK \
    NOLINK NOMEM NOMSG NOPROTOOPT NOSPC NOSYS NOTCONN NOTDIR NOTEMPTY NOTRECOVERABLE NOTSOCK \
    OPNOTSUPP NOTTY NXIO OVERFLOW OWNERDEAD PERM PIPE PROTO PROTONOSUPPORT PROTOTYPE RANGE ROFS \
    SPIPE SRCH STALE TIMEDOUT TXTBSY XDEV NOTCAPABLE";

/// The number of `errno`. Errors that are added to the overlay later reach the guest as `EIO`.
pub(super) fn number(errno: Errno) -> u16 {
    const IO: u16 = 29;
    let place = NAMES.split(' ').position(|name| errno.name()[1..] == *name);
    place.map_or(IO, |place| place as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_has_a_number_of_its_own() {
        let mut numbers: Vec<u16> = Errno::ALL.iter().map(|&e| number(e)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), Errno::ALL.len());
        assert!(numbers.iter().all(|n| (1..=76).contains(n)));
        let some = [Errno::Acces, Errno::Io, Errno::Noent, Errno::Perm, Errno::NotCapable];
        assert_eq!(some.map(number), [2, 29, 44, 63, 76]);
    }
}
