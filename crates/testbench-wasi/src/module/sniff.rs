//! The kind of a file, from its first bytes. Names say nothing: a toolchain directory may hold a text
//! file named `cat.wasm`.

use crate::error::ModuleError;

/// `\0asm`.
const MAGIC: &[u8] = b"\0asm";
/// Version 1 of layer 0: a core module.
const CORE: &[u8] = &[0x01, 0x00, 0x00, 0x00];
/// Version 13 of layer 1: a component, in the encoding that all tools write.
const COMPONENT: &[u8] = &[0x0d, 0x00, 0x01, 0x00];

/// Fails unless the bytes announce a core module. Looks at the first bytes only; the rest may still be
/// wrong.
pub(crate) fn sniff(module: &str, bytes: &[u8]) -> Result<(), ModuleError> {
    let module = module.to_owned();
    let cut_off = |offset| {
        let reason = "it ends within its header".to_owned();
        Err(ModuleError::Corrupt { module: module.clone(), offset, reason })
    };
    match bytes.strip_prefix(MAGIC).map(|rest| rest.get(..4)) {
        Some(Some(CORE)) => Ok(()),
        Some(Some(COMPONENT)) => Err(ModuleError::Component { module }),
        Some(Some(version)) => {
            let reason = format!("it has the unknown version {}", hex(version));
            Err(ModuleError::Corrupt { module, offset: 4, reason })
        }
        Some(None) => cut_off(bytes.len() as u64),
        None if MAGIC.starts_with(bytes) && !bytes.is_empty() => cut_off(bytes.len() as u64),
        None => Err(ModuleError::NotWasm { module, found: describe(bytes) }),
    }
}

/// The kind of content that is not WebAssembly, as a clause.
fn describe(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "it is empty".to_owned();
    }
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
        if bytes.starts_with(b"\x7fELF") && wasmtime::Engine::detect_precompiled(bytes).is_some() {
            return "it is a module compiled by wasmtime for one machine (.cwasm); give the .wasm file"
                .to_owned();
        }
        return format!("it is {kind}");
    }
    let Some(line) = first_line(bytes) else {
        return format!("it starts with the bytes {}", hex(&bytes[..bytes.len().min(8)]));
    };
    if ["(module", "(component", ";;"].iter().any(|start| line.starts_with(start)) {
        let how = "translate it (`wasm-tools parse` or `wat2wasm`)";
        return format!("it is WebAssembly in the text format; {how}");
    }
    match line.is_empty() {
        true => "it is blank text".to_owned(),
        false => format!("it is text that starts with {line:?}"),
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
        match sniff("m", bytes) {
            Ok(()) => "core module".to_owned(),
            Err(ModuleError::Component { .. }) => "component".to_owned(),
            Err(ModuleError::Corrupt { offset, reason, .. }) => {
                format!("damaged at {offset}: {reason}")
            }
            Err(ModuleError::NotWasm { found, .. }) => found,
            Err(other) => panic!("{other}"),
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
