//! git's quoting of names: C-like, in double quotes, and only where a name is not plain ASCII.

/// Returns the name as git prints it behind `prefix` (`a/`, `b/` or nothing).
pub(super) fn quoted(prefix: &str, name: &[u8]) -> String {
    let text: String = name.iter().map(|byte| escaped(*byte)).collect();
    // An escape is longer than its byte.
    if text.len() == name.len() { format!("{prefix}{text}") } else { format!("\"{prefix}{text}\"") }
}

/// Returns the name as one word of a `# ` line: quoted also if it contains a space, so that a line
/// splits at spaces, and `.` for the root.
pub(super) fn word(name: &[u8]) -> String {
    let word = shown(name);
    if word.contains(' ') && !word.starts_with('"') { format!("\"{word}\"") } else { word }
}

/// Returns the name in a line for people: as git prints it, `.` for the root.
pub(super) fn shown(name: &[u8]) -> String {
    if name.is_empty() { ".".to_owned() } else { quoted("", name) }
}

fn escaped(byte: u8) -> String {
    match byte {
        0x07..=0x0d => format!("\\{}", char::from(b"abtnvfr"[usize::from(byte - 0x07)])),
        b'"' | b'\\' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    }
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
