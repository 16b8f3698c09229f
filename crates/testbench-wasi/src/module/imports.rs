//! Why a module cannot be linked. wasmtime has refused it already; this finds the reason to report,
//! and costs more than the attempt that failed.

use super::types::show;
use crate::cache::Compiled;
use crate::error::{ModuleError, NameList};
use crate::kernel::{Process, ProcessSpec, Thread};

/// Why linking failed.
pub(crate) fn explain_imports(
    name: &str,
    compiled: &Compiled,
    error: &wasmtime::Error,
) -> ModuleError {
    let unsupported =
        || ModuleError::Unsupported { module: name.to_owned(), reason: format!("{error:#}") };
    let host = &compiled.engines.on_demand;
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
    let unknown = unknown.iter().map(|(module, name)| format!("{module}::{name}")).collect();
    ModuleError::UnknownImport { module: name.to_owned(), unknown: NameList(unknown), hint }
}

/// The nearest name in the same module, or the modules that there are.
fn hint<'a>(module: &str, name: &str, known: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let (mut modules, mut names) = (Vec::new(), Vec::new());
    for (known_module, known_name) in known {
        modules.push(known_module.to_owned());
        if known_module == module {
            names.push(known_name);
        }
    }
    names.sort_unstable();
    match names.into_iter().min_by_key(|known| strsim::levenshtein(name, known)) {
        Some(nearest) => format!("the nearest name is `{nearest}`"),
        None => {
            modules.sort_unstable();
            modules.dedup();
            let known = NameList(modules);
            format!("a guest may import from {known}, so this one was built for another host")
        }
    }
}
