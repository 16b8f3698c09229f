//! The module `fs`.

use std::io;

use ::rhai::{Array, Dynamic, Engine, EvalAltResult, INT, Module};
use testbench_overlay::fs;

use super::{bytes_of, script_error};
use crate::vm::Handle;

pub(super) fn register(engine: &mut Engine, handle: &Handle) {
    let mut module = Module::new();
    let mut files = Files { module: &mut module, handle };
    files.on_path("read", |path| fs::read_to_string(path));
    files.on_path("read_blob", |path| fs::read(path).map(Dynamic::from_blob));
    files.on_path("read_dir", names);
    files.on_path("len", |path| Ok(count(fs::metadata(path)?.len())));
    files.on_path("exists", |path| fs::exists(path));
    files.on_path("is_file", |path| Ok(fs::metadata(path).is_ok_and(|found| found.is_file())));
    files.on_path("is_dir", |path| Ok(fs::metadata(path).is_ok_and(|found| found.is_dir())));
    files.on_path("create_dir", |path| fs::create_dir(path));
    files.on_path("create_dir_all", |path| fs::create_dir_all(path));
    files.on_path("remove_file", |path| fs::remove_file(path));
    files.on_path("remove_dir", |path| fs::remove_dir(path));
    files.on_path("remove_dir_all", |path| fs::remove_dir_all(path));
    files.on_two_paths("copy", |from, to| fs::copy(from, to).map(count));
    files.on_two_paths("rename", |from, to| fs::rename(from, to));
    files.on_content("write", |path, content| fs::write(path, content));
    files.on_content("append", append);
    engine.register_static_module("fs", module.into());
}

/// The module in the making.
struct Files<'m> {
    module: &'m mut Module,
    handle: &'m Handle,
}

impl Files<'_> {
    fn on_path<T: Into<Dynamic> + 'static>(&mut self, name: &str, act: fn(&str) -> io::Result<T>) {
        let on = self.handle.clone();
        self.module.set_native_fn(name, move |path: &str| {
            on.within(|| act(path)).map(Into::into).map_err(|error| about(path, error))
        });
    }

    fn on_two_paths<T: Into<Dynamic> + 'static>(
        &mut self,
        name: &str,
        act: fn(&str, &str) -> io::Result<T>,
    ) {
        let on = self.handle.clone();
        self.module.set_native_fn(name, move |from: &str, to: &str| {
            on.within(|| act(from, to)).map(Into::into).map_err(|error| about(from, error))
        });
    }

    fn on_content(&mut self, name: &str, act: fn(&str, &[u8]) -> io::Result<()>) {
        let on = self.handle.clone();
        self.module.set_native_fn(name, move |path: &str, content: Dynamic| {
            let bytes = bytes_of(content)?;
            on.within(|| act(path, &bytes)).map_err(|error| about(path, error))
        });
    }
}

fn count(bytes: u64) -> INT {
    INT::try_from(bytes).unwrap_or(INT::MAX)
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
