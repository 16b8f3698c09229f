//! Where a guest was when it ended.

use std::fmt;
use std::sync::Arc;

use wasmtime::WasmBacktrace;

/// How many calls of a backtrace are kept: enough to see where a recursion comes from.
pub const BACKTRACE_FRAMES_MAX: usize = 64;

/// One call of a backtrace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Frame {
    /// The function's name, demangled; `function 7` where the module does not name it.
    pub function: String,
    /// The source file, if the module carries debug information.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u32>,
    /// The column in the line, from 1.
    pub column: Option<u32>,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.function)?;
        let Some(file) = &self.file else { return Ok(()) };
        write!(f, " ({file}")?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        f.write_str(")")
    }
}

/// The frames of the guest that `error` carries; inlined calls are calls of their own.
pub(crate) fn frames(error: &wasmtime::Error) -> Arc<[Frame]> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Arc::default() };
    let mut frames = Vec::new();
    for frame in backtrace.frames() {
        let own_name = || match frame.func_name() {
            Some(name) => demangle(name),
            None => format!("function {}", frame.func_index()),
        };
        if frame.symbols().is_empty() {
            frames.push(Frame { function: own_name(), file: None, line: None, column: None });
        }
        frames.extend(frame.symbols().iter().map(|symbol| Frame {
            function: symbol.name().map_or_else(own_name, demangle),
            file: symbol.file().map(str::to_owned),
            line: symbol.line(),
            column: symbol.column(),
        }));
    }
    frames.truncate(BACKTRACE_FRAMES_MAX);
    frames.into()
}

fn demangle(name: &str) -> String {
    /// Longer names are shown as they are, cut off: demangling may multiply their length.
    const BYTES_MAX: usize = 1024;
    if name.len() > BYTES_MAX {
        return name.chars().take(BYTES_MAX).chain(['…']).collect();
    }
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return format!("{rust:#}");
    }
    match cpp_demangle::Symbol::new(name) {
        // Without the prefix it takes a function called `s` for the type `short`.
        Ok(cpp) if name.starts_with("_Z") => cpp.demangle().unwrap_or_else(|_| name.to_owned()),
        _ => name.to_owned(),
    }
}
