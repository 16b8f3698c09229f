//! The module `fs`.

use std::io;

use ::rhai::{Array, Dynamic, Engine, EvalAltResult, INT, Module};
use testbench_overlay::fs;

use super::{bytes_of, script_error};
use crate::vm::Handle;

pub(super) fn register(engine: &mut Engine, handle: &Handle) {
    let mut module = Module::new();
    content(&mut module, handle);
    entries(&mut module, handle);
    engine.register_static_module("fs", module.into());
}

fn content(module: &mut Module, handle: &Handle) {
    let on = handle.clone();
    module.set_native_fn("read", move |path: &str| {
        on.within(|| fs::read_to_string(path)).map_err(|error| about(path, error))
    });
    let on = handle.clone();
    module.set_native_fn("read_blob", move |path: &str| {
        on.within(|| fs::read(path)).map(Dynamic::from_blob).map_err(|error| about(path, error))
    });
    let on = handle.clone();
    module.set_native_fn("write", move |path: &str, content: Dynamic| {
        let bytes = bytes_of(content)?;
        on.within(|| fs::write(path, bytes)).map_err(|error| about(path, error))
    });
    let on = handle.clone();
    module.set_native_fn("append", move |path: &str, content: Dynamic| {
        let bytes = bytes_of(content)?;
        on.within(|| append(path, &bytes)).map_err(|error| about(path, error))
    });
    let on = handle.clone();
    module.set_native_fn("copy", move |from: &str, to: &str| {
        on.within(|| fs::copy(from, to))
            .map(|bytes| INT::try_from(bytes).unwrap_or(INT::MAX))
            .map_err(|error| about(from, error))
    });
}

fn entries(module: &mut Module, handle: &Handle) {
    type OnPath<T> = fn(&str) -> io::Result<T>;
    let flags: [(&str, OnPath<bool>); 3] = [
        ("exists", |path| fs::exists(path)),
        ("is_file", |path| Ok(fs::metadata(path).is_ok_and(|found| found.is_file()))),
        ("is_dir", |path| Ok(fs::metadata(path).is_ok_and(|found| found.is_dir()))),
    ];
    for (name, ask) in flags {
        let on = handle.clone();
        module.set_native_fn(name, move |path: &str| {
            on.within(|| ask(path)).map_err(|error| about(path, error))
        });
    }
    let actions: [(&str, OnPath<()>); 5] = [
        ("create_dir", |path| fs::create_dir(path)),
        ("create_dir_all", |path| fs::create_dir_all(path)),
        ("remove_file", |path| fs::remove_file(path)),
        ("remove_dir", |path| fs::remove_dir(path)),
        ("remove_dir_all", |path| fs::remove_dir_all(path)),
    ];
    for (name, act) in actions {
        let on = handle.clone();
        module.set_native_fn(name, move |path: &str| {
            on.within(|| act(path)).map_err(|error| about(path, error))
        });
    }
    let on = handle.clone();
    module.set_native_fn("rename", move |from: &str, to: &str| {
        on.within(|| fs::rename(from, to)).map_err(|error| about(from, error))
    });
    let on = handle.clone();
    module.set_native_fn("len", move |path: &str| {
        on.within(|| fs::metadata(path))
            .map(|found| INT::try_from(found.len()).unwrap_or(INT::MAX))
            .map_err(|error| about(path, error))
    });
    let on = handle.clone();
    module.set_native_fn("read_dir", move |path: &str| {
        on.within(|| names(path)).map_err(|error| about(path, error))
    });
}

fn append(path: &str, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    fs::File::options().append(true).create(true).open(path)?.write_all(bytes)
}

/// The names in a directory, in order.
fn names(path: &str) -> io::Result<Array> {
    let entries = fs::read_dir(path)?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<String>>>()?;
    names.sort_unstable();
    Ok(names.into_iter().map(Dynamic::from).collect())
}

fn about(path: &str, error: io::Error) -> Box<EvalAltResult> {
    script_error(format_args!("`{path}`: {error}"))
}
