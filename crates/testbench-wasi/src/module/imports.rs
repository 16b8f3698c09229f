//! Why a module cannot be linked. wasmtime has refused it already; this finds the reason to report,
//! and costs more than the attempt that failed.

use wasmtime::ExternType;

use crate::cache::Compiled;
use crate::error::{ImportHint, ModuleError, NameList, UnknownImports};
use crate::kernel::{Process, ProcessSpec, Thread};

/// Why linking failed.
pub(crate) fn explain_imports(
    name: &str,
    compiled: &Compiled,
    error: &wasmtime::Error,
) -> ModuleError {
    let unsupported =
        || ModuleError::Unsupported { module: name.to_owned(), reason: format!("{error:#}") };
    let host = compiled.engines().on_demand();
    let Ok(process) = Process::new(ProcessSpec::hermetic("imports")) else { return unsupported() };
    // The linker names its types only for a store; nothing runs in this one.
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
    match names.into_iter().min_by_key(|known| strsim::levenshtein(name, known)) {
        Some(nearest) => ImportHint::Nearest(nearest.to_owned()),
        None => {
            modules.sort_unstable();
            modules.dedup();
            ImportHint::KnownModules(NameList(modules))
        }
    }
}
