//! The kind of a file, from its first bytes. Names say nothing: a toolchain directory may hold a text
//! file named `cat.wasm`.

use crate::error::LooksLike;

/// The kind that the bytes announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sniffed {
    /// A core module.
    Core,
    /// A component.
    Component,
    /// WebAssembly, but cut off within its first eight bytes or of an unknown version.
    Damaged {
        /// Where, in bytes.
        offset: u64,
        /// The fault there.
        reason: String,
    },
    /// Something else.
    Other(LooksLike),
}

/// `\0asm`.
const MAGIC: &[u8] = b"\0asm";
/// Version 1 of layer 0: a core module.
const CORE: &[u8] = &[0x01, 0x00, 0x00, 0x00];
/// Version 13 of layer 1: a component, in the encoding that all tools write.
const COMPONENT: &[u8] = &[0x0d, 0x00, 0x01, 0x00];

/// Looks at the first bytes only; the rest may still be wrong.
pub(crate) fn sniff(bytes: &[u8]) -> Sniffed {
    if bytes.is_empty() {
        return Sniffed::Other(LooksLike::Empty);
    }
    if let Some(rest) = bytes.strip_prefix(MAGIC) {
        return match rest.get(..4) {
            Some(CORE) => Sniffed::Core,
            Some(COMPONENT) => Sniffed::Component,
            Some(version) => Sniffed::Damaged {
                offset: 4,
                reason: format!("it has the unknown version {}", hex(version)),
            },
            None => Sniffed::Damaged { offset: bytes.len() as u64, reason: cut_off() },
        };
    }
    if MAGIC.starts_with(bytes) {
        return Sniffed::Damaged { offset: bytes.len() as u64, reason: cut_off() };
    }
    Sniffed::Other(looks_like(bytes))
}

fn cut_off() -> String {
    "it ends within its header".to_owned()
}

fn looks_like(bytes: &[u8]) -> LooksLike {
    const KNOWN: &[(&[u8], &str)] = &[
        (b"\x7fELF", "a program for this or another machine (ELF), not for WebAssembly"),
        (b"MZ", "a program for Windows, not for WebAssembly"),
        (b"\xcf\xfa\xed\xfe", "a program for macOS (Mach-O), not for WebAssembly"),
        (b"\xca\xfe\xba\xbe", "a program for macOS or a Java class, not for WebAssembly"),
        (b"!<arch>\n", "an archive of object files (.a); link it into a program"),
        (b"BC\xc0\xde", "LLVM bitcode; link it into a program"),
        (b"\x1f\x8b", "a gzip archive; unpack it first"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
        (b"\xfd7zXZ\0", "an xz archive; unpack it first"),
        (b"BZh", "a bzip2 archive; unpack it first"),
        (b"PK\x03\x04", "a zip archive; unpack it first"),
        (b"version https://git-lfs", "a Git LFS pointer; fetch the file with `git lfs pull`"),
    ];
    if let Some((_, kind)) = KNOWN.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        // The one that is most often met: what this library itself or wasmtime compiled.
        let compiled =
            bytes.starts_with(b"\x7fELF") && wasmtime::Engine::detect_precompiled(bytes).is_some();
        return LooksLike::Known(if compiled {
            "a module compiled by wasmtime for one machine (.cwasm); give the .wasm file"
        } else {
            kind
        });
    }
    match first_line(bytes) {
        Some(line) if line.starts_with("(module") || line.starts_with("(component") => {
            LooksLike::Wat
        }
        Some(line) if line.starts_with(";;") => LooksLike::Wat,
        Some(line) => LooksLike::Text(line),
        None => LooksLike::Bytes(bytes[..bytes.len().min(8)].to_vec()),
    }
}

/// The start of the first line that is not blank, if the bytes are text as far as it was looked.
fn first_line(bytes: &[u8]) -> Option<String> {
    /// Enough to tell text from other bytes.
    const LOOKED_AT_MAX: usize = 1024;
    /// Enough to recognise one's file.
    const CHARS_MAX: usize = 60;
    let start = &bytes[..bytes.len().min(LOOKED_AT_MAX)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // A character may be cut where the look ended.
        Err(e) if e.error_len().is_none() && bytes.len() > LOOKED_AT_MAX => {
            std::str::from_utf8(&start[..e.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_text = text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\x0c'));
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    is_text.then(|| line.chars().take(CHARS_MAX).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        match sniff(bytes) {
            Sniffed::Core => "core module".to_owned(),
            Sniffed::Component => "component".to_owned(),
            Sniffed::Damaged { offset, reason } => format!("damaged at {offset}: {reason}"),
            Sniffed::Other(other) => other.to_string(),
        }
    }

    #[test]
    fn names_what_it_sees() {
        let long = "é".repeat(600);
        let cases: &[&[u8]] = &[
            b"\0asm\x01\0\0\0",
            b"\0asm\x0d\0\x01\0",
            b"",
            b"\0",
            b"\0asm",
            b"\0asm\x01\0",
            b"\0asm\x02\0\0\0",
            b"#!/bin/sh\necho hi\n",
            b"\n\n  (module)",
            b";; comment\n(module)",
            b"\x1f\x8b\x08",
            b"\x7fELF\x02\x01\x01",
            b"MZ\x90",
            b"PK\x03\x04",
            b"version https://git-lfs.github.com/spec/v1\n",
            b"\xde\xad\xbe\xef\0\x01\x02\x03\x04",
            b"\n",
            long.as_bytes(),
        ];
        let all: String = cases.iter().map(|bytes| format!("{}\n", text(bytes))).collect();
        insta::assert_snapshot!(all, @r##"
        core module
        component
        it is empty
        damaged at 1: it ends within its header
        damaged at 4: it ends within its header
        damaged at 6: it ends within its header
        damaged at 4: it has the unknown version 02 00 00 00
        it is text that starts with "#!/bin/sh"
        it is WebAssembly in the text format; translate it (`wasm-tools parse` or `wat2wasm`)
        it is WebAssembly in the text format; translate it (`wasm-tools parse` or `wat2wasm`)
        it is a gzip archive; unpack it first
        it is a program for this or another machine (ELF), not for WebAssembly
        it is a program for Windows, not for WebAssembly
        it is a zip archive; unpack it first
        it is a Git LFS pointer; fetch the file with `git lfs pull`
        it starts with the bytes de ad be ef 00 01 02 03
        it is blank text
        it is text that starts with "éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé"
        "##);
    }
}
