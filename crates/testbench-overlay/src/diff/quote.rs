//! git's quoting of names: C-like, in double quotes, and only where a name is not plain ASCII.

use std::fmt::Write as _;

/// The name as git prints it behind `prefix` (`a/`, `b/` or nothing).
pub(super) fn quoted(prefix: &str, name: &[u8]) -> String {
    if name.iter().any(|byte| needs_escape(*byte)) {
        in_quotes(prefix, name)
    } else {
        plain(prefix, name)
    }
}

/// The name as one word of a `# ` line: quoted also if it contains a space, so that a line splits
/// at spaces, and `.` for the root.
pub(super) fn word(name: &[u8]) -> String {
    if name.is_empty() {
        return ".".to_owned();
    }
    if name.iter().any(|byte| needs_escape(*byte) || *byte == b' ') {
        in_quotes("", name)
    } else {
        plain("", name)
    }
}

/// The name in a line for people: as git prints it, `.` for the root.
pub(super) fn shown(name: &[u8]) -> String {
    if name.is_empty() { ".".to_owned() } else { quoted("", name) }
}

fn needs_escape(byte: u8) -> bool {
    !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\')
}

fn plain(prefix: &str, name: &[u8]) -> String {
    prefix.chars().chain(name.iter().map(|byte| char::from(*byte))).collect()
}

fn in_quotes(prefix: &str, name: &[u8]) -> String {
    let mut out = format!("\"{prefix}");
    for byte in name {
        match byte {
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            0x0b => out.push_str("\\v"),
            0x0c => out.push_str("\\f"),
            b'\r' => out.push_str("\\r"),
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(*byte));
            }
            b' '..=b'~' => out.push(char::from(*byte)),
            // Writing to a `String` cannot fail.
            _ => drop(write!(out, "\\{byte:03o}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_plain_ascii_is_quoted() {
        assert_eq!(quoted("a/", b"src/a b.rs"), "a/src/a b.rs");
        assert_eq!(quoted("", b"#'$*~"), "#'$*~");
        assert_eq!(quoted("b/", b"q\"\\"), r#""b/q\"\\""#);
        assert_eq!(quoted("", b"\x07\x08\t\n\x0b\x0c\r"), r#""\a\b\t\n\v\f\r""#);
        assert_eq!(quoted("", b"\x01\x7f\x80\xff0"), r#""\001\177\200\3770""#);
        assert_eq!(quoted("", "ä".as_bytes()), r#""\303\244""#);
    }

    #[test]
    fn a_word_has_no_bare_space() {
        assert_eq!(word(b"a b"), r#""a b""#);
        assert_eq!(word(b"ab"), "ab");
        assert_eq!(word(b""), ".");
    }
}
