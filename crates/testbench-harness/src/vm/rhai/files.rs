//! The module `fs`.

use std::io;

use ::rhai::{Array, Blob, Dynamic, Engine, INT, Module};
use testbench_overlay::fs;

use super::script_error;
use crate::vm::Handle;

pub(super) fn register(engine: &mut Engine, handle: &Handle) {
    let mut module = Module::new();
    /// Adds functions whose first argument is a path, which their errors name.
    macro_rules! add {
        ($($name:literal: |$path:ident $(, $more:ident: $of:ty)*| $act:expr;)*) => {$(
            let on = handle.clone();
            module.set_native_fn($name, move |$path: &str $(, $more: $of)*| {
                let done: io::Result<_> = on.within(|| $act);
                done.map(Dynamic::from).map_err(|e| script_error(format_args!("`{}`: {e}", $path)))
            });
        )*};
    }
    add! {
        "read": |path| fs::read_to_string(path);
        "read_blob": |path| fs::read(path);
        "read_dir": |path| names(path);
        "len": |path| fs::metadata(path).map(|found| count(found.len()));
        "exists": |path| fs::exists(path);
        "is_file": |path| Ok(fs::metadata(path).is_ok_and(|found| found.is_file()));
        "is_dir": |path| Ok(fs::metadata(path).is_ok_and(|found| found.is_dir()));
        "create_dir": |path| fs::create_dir(path);
        "create_dir_all": |path| fs::create_dir_all(path);
        "remove_file": |path| fs::remove_file(path);
        "remove_dir": |path| fs::remove_dir(path);
        "remove_dir_all": |path| fs::remove_dir_all(path);
        "copy": |from, to: &str| fs::copy(from, to).map(count);
        "rename": |from, to: &str| fs::rename(from, to);
        "write": |path, content: Dynamic| fs::write(path, bytes_of(content)?);
        "append": |path, content: Dynamic| append(path, &bytes_of(content)?);
    }
    engine.register_static_module("fs", module.into());
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

fn bytes_of(value: Dynamic) -> io::Result<Vec<u8>> {
    if value.is_string() {
        return Ok(value.to_string().into_bytes());
    }
    let kind = value.type_name();
    value.try_cast::<Blob>().ok_or_else(|| {
        let problem = format!("a string or a blob is wanted, not {kind}");
        io::Error::new(io::ErrorKind::InvalidInput, problem)
    })
}
