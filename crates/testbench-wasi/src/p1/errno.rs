//! The numbers of errors in WASI.

use testbench_overlay::Errno;

/// The number of `errno` in both versions of the interface; 0 is success.
pub(super) fn number(errno: Errno) -> u16 {
    match errno {
        Errno::Acces => 2,
        Errno::Again => 6,
        Errno::Badf => 8,
        Errno::Busy => 10,
        Errno::Canceled => 11,
        Errno::Connrefused => 14,
        Errno::Deadlk => 16,
        Errno::Dom => 18,
        Errno::Dquot => 19,
        Errno::Exist => 20,
        Errno::Fault => 21,
        Errno::Fbig => 22,
        Errno::Ilseq => 25,
        Errno::Intr => 27,
        Errno::Inval => 28,
        Errno::Io => 29,
        Errno::Isdir => 31,
        Errno::Loop => 32,
        Errno::Mfile => 33,
        Errno::Mlink => 34,
        Errno::Nametoolong => 37,
        Errno::Nfile => 41,
        Errno::Noent => 44,
        Errno::Nomem => 48,
        Errno::Nospc => 51,
        Errno::Nosys => 52,
        Errno::Notdir => 54,
        Errno::Notempty => 55,
        Errno::Notsock => 57,
        Errno::Notsup => 58,
        Errno::Notty => 59,
        Errno::Nxio => 60,
        Errno::Overflow => 61,
        Errno::Perm => 63,
        Errno::Pipe => 64,
        Errno::Range => 68,
        Errno::Rofs => 69,
        Errno::Spipe => 70,
        Errno::Srch => 71,
        Errno::Stale => 72,
        Errno::Txtbsy => 74,
        Errno::Xdev => 75,
        Errno::NotCapable => 76,
        // Errors that are added to the overlay later reach the guest as the general one.
        _ => 29,
    }
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
    }
}
