//! git's encodings: blob ids, modes, binary blocks, and the names that git refuses.

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use crate::FileKind;

/// The id of "no blob".
pub(super) const NO_BLOB: &str = "0000000000000000000000000000000000000000";

/// The full-length id under which git stores this content.
pub(super) fn blob_id(content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hex(&hash.finalize())
}

/// SHA-256 in lower-case hexadecimal digits.
pub(super) fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// Returns the mode by which git stores kind and permission bits; `None` if git does not store the kind.
pub(super) fn git_mode(kind: FileKind, mode: u32) -> Option<&'static str> {
    match kind {
        FileKind::File if mode & 0o100 != 0 => Some("100755"),
        FileKind::File => Some("100644"),
        FileKind::Symlink => Some("120000"),
        FileKind::Dir | FileKind::Special => None,
    }
}

/// Whether git's mode says all there is about these permission bits.
pub(super) fn git_keeps_mode(kind: FileKind, mode: u32) -> bool {
    match kind {
        FileKind::File => matches!(mode, 0o644 | 0o755),
        FileKind::Symlink => true,
        FileKind::Dir | FileKind::Special => false,
    }
}

/// Whether git refuses to touch this path: `.git` as a component, in all the spellings that some
/// file system takes for it, and a symlink that could pass for `.gitmodules`.
///
/// A little more than git refuses on any one platform, so that a patch depends on none.
pub(super) fn git_refuses(path: &[u8], kind: FileKind) -> bool {
    let mut components = path.split(|byte| matches!(byte, b'/' | b'\\')).peekable();
    while let Some(component) = components.next() {
        let name = folded(component);
        if name == ".git" || name == "git~1" {
            return true;
        }
        if components.peek().is_none() && kind == FileKind::Symlink {
            let short_name = name.starts_with("gi") && name.contains('~');
            return name.starts_with(".gitmodules") || short_name;
        }
    }
    false
}

/// One `literal` of a `GIT binary patch`, the blank line at its end included.
///
/// The zlib stream holds stored blocks only, so its bytes do not depend on a compressor.
pub(super) fn binary_literal(content: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("literal {}\n", content.len()).as_bytes());
    for line in zlib_stored(content).chunks(52) {
        // `A`..`Z` for 1 to 26 bytes in the line, `a`..`z` for 27 to 52.
        let len = line.len() as u8;
        out.push(if len <= 26 { b'A' + len - 1 } else { b'a' + len - 27 });
        base85(line, out);
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// Returns the rest of a component when a case-insensitive file system that ignores some code points
/// (HFS+) or trailing dots, spaces and streams (NTFS) looks it up.
fn folded(component: &[u8]) -> String {
    let text = String::from_utf8_lossy(component);
    let name: String = text.chars().filter(|c| !ignored_by_hfs(*c)).collect();
    let name = name.split(':').next().unwrap_or_default();
    name.trim_end_matches([' ', '.']).to_ascii_lowercase()
}

fn ignored_by_hfs(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

fn zlib_stored(content: &[u8]) -> Vec<u8> {
    const BLOCK_MAX: usize = 0xffff;
    let mut out = vec![0x78, 0x01];
    let blocks = content.len().div_ceil(BLOCK_MAX).max(1);
    for n in 0..blocks {
        let block = &content[n * BLOCK_MAX..content.len().min((n + 1) * BLOCK_MAX)];
        let len = block.len() as u16;
        out.push(u8::from(n + 1 == blocks));
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&adler2::adler32_slice(content).to_be_bytes());
    out
}

fn base85(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 85] =
        b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
    for group in bytes.chunks(4) {
        let mut word = [0; 4];
        word[..group.len()].copy_from_slice(group);
        let mut rest = u32::from_be_bytes(word);
        let mut digits = [0; 5];
        for digit in digits.iter_mut().rev() {
            *digit = DIGITS[(rest % 85) as usize];
            rest /= 85;
        }
        out.extend_from_slice(&digits);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_git_and_sha256sum() {
        assert_eq!(blob_id(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(blob_id(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(
            sha256(b"hello\n"),
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
        );
    }

    #[test]
    fn a_literal_is_length_lines_and_a_blank_line() {
        let literal = |content: &[u8]| {
            let mut out = Vec::new();
            binary_literal(content, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(literal(b""), "literal 0\nKcmV+b0RR6000031\n\n");
        assert!(literal(&[0; 200_000]).lines().all(|line| line.len() <= 66));
    }

    #[test]
    fn paths_into_a_repository_are_refused_in_every_spelling() {
        for path in [
            ".git",
            "a/.git/config",
            ".GIT/x",
            "a/git~1",
            ".git. ./x",
            ".git::$INDEX/x",
            "a\\.git",
            ".g\u{200c}it/x",
        ] {
            assert!(git_refuses(path.as_bytes(), FileKind::File), "{path}");
        }
        for path in [".gitignore", ".github/x", "git", "a.git", ".gitmodules", "gi~1"] {
            assert!(!git_refuses(path.as_bytes(), FileKind::File), "{path}");
        }
        assert!(git_refuses(b"x/.gitmodules", FileKind::Symlink));
        assert!(!git_refuses(b".gitmodules/x", FileKind::Symlink));
    }
}
