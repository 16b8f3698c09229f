//! Why a module cannot be compiled. wasmtime has refused it already; this finds the reason to report,
//! and costs more than the attempt that failed.

use wasmparser::{BinaryReaderError, Parser, Payload, TypeRef, Validator, WasmFeatures};

use crate::error::ModuleError;

/// Translates a compiler's error: the module is damaged, outdated, or too new.
pub(crate) fn diagnose(name: &str, bytes: &[u8], error: &wasmtime::Error) -> ModuleError {
    let module = name.to_owned();
    let Err(invalid) = validate(bytes, WasmFeatures::all() - WasmFeatures::LEGACY_EXCEPTIONS)
    else {
        // Valid with everything on, so it is a proposal that is off here, or a compiler's limit.
        return ModuleError::Unsupported { module, reason: format!("{error:#}") };
    };
    if validate(bytes, WasmFeatures::all()).is_ok() {
        return ModuleError::LegacyExceptions { module };
    }
    let (offset, reason) = (invalid.offset() as u64, invalid.message().to_owned());
    ModuleError::Corrupt { module, offset, reason }
}

/// Whether a valid module defines or imports a memory that threads can share.
pub(crate) fn has_shared_memory(bytes: &[u8]) -> bool {
    for payload in Parser::new(0).parse_all(bytes) {
        let shared = match payload {
            Ok(Payload::MemorySection(memories)) => {
                memories.into_iter().any(|memory| memory.is_ok_and(|memory| memory.shared))
            }
            Ok(Payload::ImportSection(imports)) => imports.into_imports().any(|import| {
                import.is_ok_and(|import| matches!(import.ty, TypeRef::Memory(ty) if ty.shared))
            }),
            // Both come before the code, which is most of the module.
            Ok(Payload::CodeSectionStart { .. }) | Err(_) => return false,
            Ok(_) => false,
        };
        if shared {
            return true;
        }
    }
    false
}

fn validate(bytes: &[u8], features: WasmFeatures) -> Result<(), BinaryReaderError> {
    Validator::new_with_features(features).validate_all(bytes).map(|_| ())
}
