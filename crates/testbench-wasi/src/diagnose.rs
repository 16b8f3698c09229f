//! Why a module cannot be compiled or linked. wasmtime has said no already; this finds out what
//! to tell a person, and costs more than what failed.

use wasmparser::{BinaryReaderError, Parser, Payload, TypeRef, Validator, WasmFeatures};
use wasmtime::ExternType;

use crate::compiled::Compiled;
use crate::error::{ImportHint, ModuleError, NameList, UnknownImports};
use crate::kernel::{Process, Thread};
use crate::spec::ProcessSpec;

/// What a compiler's error means for the module: damaged, outdated, or too new.
pub(crate) fn diagnose(name: &str, bytes: &[u8], error: &wasmtime::Error) -> ModuleError {
    let module = name.to_owned();
    let Err(invalid) = validate(bytes, WasmFeatures::all() - WasmFeatures::LEGACY_EXCEPTIONS)
    else {
        // Valid with everything on, so it is a proposal that is off here, or a compiler's limit.
        return ModuleError::Unsupported { module, reason: chain(error) };
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

/// Why linking failed.
pub(crate) fn explain_imports(
    name: &str,
    compiled: &Compiled,
    error: &wasmtime::Error,
) -> ModuleError {
    let unsupported = || ModuleError::Unsupported { module: name.to_owned(), reason: chain(error) };
    let host = compiled.engines().on_demand();
    let Ok(process) = Process::new(ProcessSpec::hermetic("nobody")) else { return unsupported() };
    // The linker tells names and types to who has a store; nothing runs in this one.
    let mut store = wasmtime::Store::new(&host.engine, Thread::new(process));
    let (mut unknown, mut mistyped) = (Vec::new(), None);
    for import in compiled.any().imports() {
        let (import_module, import_name) = (import.module(), import.name());
        let Ok(provided) = host.linker.get(&mut store, import_module, import_name) else {
            unknown.push((import_module.to_owned(), import_name.to_owned()));
            continue;
        };
        let (wanted, provided) = (show(&import.ty()), show(&provided.ty(&store)));
        if wanted != provided && mistyped.is_none() {
            mistyped = Some(ModuleError::ImportType {
                module: name.to_owned(),
                import_module: import_module.to_owned(),
                import_name: import_name.to_owned(),
                wanted,
                provided,
            });
        }
    }
    let Some((first_module, first_name)) = unknown.first() else {
        return mistyped.unwrap_or_else(unsupported);
    };
    let known = host.linker.iter(&mut store).map(|(module, name, _)| (module, name));
    let hint = hint(first_module, first_name, known);
    let imports = unknown.iter().map(|(module, name)| format!("{module}::{name}")).collect();
    let module = name.to_owned();
    ModuleError::UnknownImport { module, unknown: UnknownImports { imports, hint } }
}

/// A type as the specification writes it, near enough: `a function (i32, i32) -> i32`.
pub(crate) fn show(ty: &ExternType) -> String {
    match ty {
        ExternType::Func(ty) => {
            let list = |types: Vec<String>| types.join(", ");
            let params = list(ty.params().map(|ty| ty.to_string()).collect());
            let results = list(ty.results().map(|ty| ty.to_string()).collect());
            let results = if results.is_empty() { "()" } else { &results };
            format!("a function ({params}) -> {results}")
        }
        ExternType::Global(ty) => format!("a global of type {}", ty.content()),
        ExternType::Table(_) => "a table".to_owned(),
        ExternType::Memory(ty) if ty.is_shared() => "a shared memory".to_owned(),
        ExternType::Memory(_) => "a memory".to_owned(),
        ExternType::Tag(_) => "an exception tag".to_owned(),
    }
}

/// The nearest name in the same module, or the modules that there are.
fn hint<'a>(
    module: &str,
    name: &str,
    known: impl Iterator<Item = (&'a str, &'a str)>,
) -> ImportHint {
    let (mut modules, mut names) = (Vec::new(), Vec::new());
    for (known_module, known_name) in known {
        modules.push(format!("`{known_module}`"));
        if known_module == module {
            names.push(known_name);
        }
    }
    names.sort_unstable();
    match names.into_iter().min_by_key(|known| edit_distance(name, known)) {
        Some(nearest) => ImportHint::Nearest(nearest.to_owned()),
        None => {
            modules.sort_unstable();
            modules.dedup();
            ImportHint::KnownModules(NameList(modules))
        }
    }
}

/// How many bytes must be inserted, removed or replaced to make `b` of `a` (Levenshtein).
pub(crate) fn edit_distance(a: &str, b: &str) -> usize {
    /// Longer names are hostile or mangled, and nothing is near to them.
    const BYTES_MAX: usize = 128;
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() > BYTES_MAX || b.len() > BYTES_MAX {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn validate(bytes: &[u8], features: WasmFeatures) -> Result<(), BinaryReaderError> {
    Validator::new_with_features(features).validate_all(bytes).map(|_| ())
}

/// The error and its causes in one line.
fn chain(error: &wasmtime::Error) -> String {
    format!("{error:#}")
}
