//! `testbench compile`: fills the cache of compiled modules before the tests run.
#![allow(clippy::disallowed_methods, reason = "toolchains are directories of the real disk")]

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde::Serialize;
use serde_json::json;
use testbench_clock::{Clock as _, SystemClock};
use testbench_wasi::{CompilationCache, Module, Programs};

use crate::args::CompileArgs;
use crate::failure::{Failure, REFUSED};
use crate::toolchain::size;

/// Compiles every module. The exit status is 126 if one cannot be compiled.
pub(crate) fn compile(args: &CompileArgs) -> Result<ExitCode, Failure> {
    let attempt = format!("compile {}", args.dir.display());
    let toolchain = Programs::open(&args.dir).map_err(|e| Failure::own(&attempt, e))?;
    let names = toolchain.names().map_err(|e| Failure::own(&attempt, e))?;
    let real = SystemClock::new("testbench compile");
    let began = real.mono();
    let mut modules = compile_all(&args.dir, names, args.jobs.get());
    // In the order of names, not in that of completion.
    modules.sort_by(|a, b| a.name.cmp(&b.name));
    let took = real.mono().duration_since(began);
    let failed = modules.iter().filter(|module| module.error.is_some()).count();
    let cache = CompilationCache::shared();
    let dir = cache.dir().map(|dir| dir.to_string_lossy().into_owned());
    let new = cache.compilations();
    let compiled = json!({ "cache": dir, "compiled": new, "modules": modules });
    args.format.print("compile", "testbench-compile/1", &compiled, || {
        let failed =
            modules.iter().filter_map(|module| Some((&module.name, module.error.as_ref()?)));
        let text: String = failed.map(|(name, error)| format!("{name}: {error}\n")).collect();
        let (all, dir) = (modules.len(), dir.as_deref().unwrap_or("memory"));
        format!("{text}{all} modules, {new} compiled in {took:.1?}, kept in {dir}\n")
    })?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

#[derive(Serialize)]
struct Done {
    name: String,
    bytes: Option<u64>,
    error: Option<String>,
}

/// Compiles the modules of a list on several threads.
fn compile_all(dir: &Path, names: Vec<OsString>, jobs: usize) -> Vec<Done> {
    let (all, progress) = (names.len(), io::stderr().is_terminal());
    let (todo, done) = (Mutex::new(names.into_iter()), Mutex::new(Vec::with_capacity(all)));
    thread::scope(|scope| {
        for _ in 0..jobs.min(all) {
            scope.spawn(|| {
                while let Some(name) = locked(&todo).next() {
                    let module = compile_one(dir, &name);
                    let mut done = locked(&done);
                    if progress {
                        let size = module.bytes.map_or(String::new(), size);
                        let n = done.len() + 1;
                        // Replaces the line before. Failing to print it is no failure.
                        let _ = write!(io::stderr(), "\r\x1b[K[{n}/{all}] {} {size}", module.name);
                    }
                    done.push(module);
                }
            });
        }
    });
    if progress && all > 0 {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn compile_one(dir: &Path, name: &OsString) -> Done {
    let mut file = name.clone();
    file.push(".wasm");
    let path = dir.join(file);
    let bytes = fs::metadata(&path).ok().map(|found| found.len());
    let error = Module::from_file(&path).err().map(|error| error.to_string());
    Done { name: name.to_string_lossy().into_owned(), bytes, error }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A list and a cursor: whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
