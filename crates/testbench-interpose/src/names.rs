//! From return addresses to a place in the source.
//!
//! The innermost frames are always plumbing: the hook, std's own layers. The first frame that is
//! none of it is the user of the clock.

use std::path::{Path, PathBuf};

/// `path::of::function (file:line)`, or `None` for uses that testbench-clock accounts for itself.
pub(crate) fn site(return_addresses: &[usize]) -> Option<String> {
    let calls: Vec<_> = return_addresses.iter().map(|address| functions_at(*address)).collect();
    let is_hook = |call: &Vec<Function>| {
        call.last().is_some_and(|function| HOOKS.contains(&function.name.as_str()))
    };
    // The frames before the hook are the walk of the stack.
    let after_hook = calls.iter().position(is_hook).map_or(0, |hook| hook + 1);
    for function in calls[after_hook..].iter().flatten() {
        match judge(function) {
            Found::Nothing => {}
            Found::Own => return None,
            Found::Site(site) => return Some(site),
        }
    }
    let address = return_addresses.last().copied().unwrap_or_default();
    Some(format!("an unknown place, around {address:#x}"))
}

struct Function {
    name: String,
    place: Option<(PathBuf, u32)>,
}

/// The functions that a return address lies in, inlined ones first. Only the last is sure to have
/// its whole path as a name.
fn functions_at(return_address: usize) -> Vec<Function> {
    // A return address is that of the next instruction, which may be on another line, or even in
    // another function.
    let call = std::ptr::without_provenance_mut(return_address.saturating_sub(1));
    let mut functions = Vec::new();
    backtrace::resolve(call, |symbol| {
        let name = symbol.name().map(|name| format!("{name:#}")).unwrap_or_default();
        let place = symbol.filename().map(PathBuf::from).zip(symbol.lineno());
        functions.push(Function { name, place });
    });
    functions
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Plumbing: look further out.
    Nothing,
    /// testbench-clock's own use of real time.
    Own,
    Site(String),
}

/// Paths whose real time is testbench-clock's business, or is accounted for there.
const OWN: &[&str] =
    &["testbench_clock::audit::real::", "testbench_clock::system::", "testbench_clock::watchdog::"];

/// Frames between a clock function and the code that asked for the time; looked at before [`OWN`].
const PLUMBING: &[&str] = &[
    "std::",
    "core::",
    "alloc::",
    "backtrace::",
    "testbench_interpose::",
    // On a thread without a clock, `testbench_clock::now` is real time for its caller.
    "testbench_clock::ambient::",
    "testbench_clock::system::instant",
    "testbench_clock::system::mono_now",
    "testbench_clock::system::wall_now",
];

const HOOKS: &[&str] =
    &["clock_gettime", "gettimeofday", "time", "nanosleep", "clock_nanosleep", "usleep", "sleep"];

fn judge(function: &Function) -> Found {
    let path = match &function.place {
        Some((file, _)) if !has_path(&function.name) => {
            format!("{}::{}", module_of(file), function.name)
        }
        _ => function.name.clone(),
    };
    let starts_with = |prefix: &&str| innermost_path(&path).starts_with(prefix);
    if path.is_empty() || PLUMBING.iter().any(starts_with) {
        return Found::Nothing;
    }
    if OWN.iter().any(starts_with) {
        return Found::Own;
    }
    Found::Site(match &function.place {
        Some((file, line)) => format!("{path} ({}:{line})", file.display()),
        None => path,
    })
}

/// Whether a function's name has its path. Where the debug information has line tables only, it is
/// the bare name.
fn has_path(name: &str) -> bool {
    let path = innermost_path(name);
    path[..path.find(['<', '(', '{']).unwrap_or(path.len())].contains("::")
}

/// The path of a module by its file: `time::format` for `…/time-0.3.41/src/format/mod.rs`.
fn module_of(file: &Path) -> String {
    let parts: Vec<_> = file.iter().map(|part| part.to_string_lossy()).collect();
    let src = parts.iter().rposition(|part| part == "src").filter(|src| *src > 0);
    // Tests, examples and the like are crates of one file.
    let Some(src) = src else {
        return file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    };
    let is_version = |text: &str| {
        let major = text.split_once('.').map(|(major, _)| major);
        major.is_some_and(|major| !major.is_empty() && major.bytes().all(|b| b.is_ascii_digit()))
    };
    let folder = &*parts[src - 1];
    let package = folder
        .match_indices('-')
        .find(|(at, _)| is_version(&folder[at + 1..]))
        .map_or(folder, |(at, _)| &folder[..at]);
    let mut module = package.replace('-', "_");
    for part in &parts[src + 1..] {
        let part = part.strip_suffix(".rs").unwrap_or(part);
        if !matches!(part, "lib" | "main" | "mod") {
            module.push_str("::");
            module.push_str(part);
        }
    }
    module
}

/// The path of the type or function, without what surrounds it in `<&mut T as Trait>::method`.
fn innermost_path(name: &str) -> &str {
    let mut path = name;
    loop {
        let rest = ["<", "&", "*const ", "*mut ", "mut ", "dyn ", "("]
            .into_iter()
            .find_map(|prefix| path.strip_prefix(prefix));
        match rest {
            Some(rest) => path = rest,
            None => return path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &str, file: Option<&str>) -> Found {
        let place = file.map(|file| (PathBuf::from(file), 7));
        judge(&Function { name: name.to_owned(), place })
    }

    fn at(site: &str) -> Found {
        Found::Site(site.to_owned())
    }

    #[test]
    fn plumbing_is_looked_through() {
        for name in [
            "std::time::Instant::now",
            "<std::time::Instant as core::ops::Sub>::sub",
            "<alloc::boxed::Box<F> as core::ops::FnOnce<A>>::call_once",
            "<&mut core::iter::Map<I, F> as Iterator>::next",
            "testbench_clock::ambient::now",
            "testbench_interpose::hooks::note",
            "",
        ] {
            assert_eq!(judged(name, None), Found::Nothing, "{name}");
        }
        for (name, file) in [
            ("now", "/rustc/1a2b/library/std/src/time.rs"),
            ("wait_while<bool, app::f::{closure#0}>", "/rustc/1/library/std/src/sync/condvar.rs"),
            ("now", "/registry/testbench-clock-0.1.0/src/ambient.rs"),
            ("mono_now", "/code/testbench-clock/src/system.rs"),
        ] {
            assert_eq!(judged(name, Some(file)), Found::Nothing, "{name}");
        }
    }

    #[test]
    fn own_uses_are_known() {
        assert_eq!(judged("testbench_clock::audit::real::read_wall", None), Found::Own);
        let own = "<testbench_clock::system::SystemClock as testbench_clock::clock::Clock>::wait";
        assert_eq!(judged(own, None), Found::Own);
        let file = "/registry/testbench-clock-0.1.0/src/watchdog.rs";
        assert_eq!(judged("arm<app::f::{closure#0}>", Some(file)), Found::Own);
    }

    #[test]
    fn others_are_named() {
        assert_eq!(judged("stdx::T::now", None), at("stdx::T::now"));
        assert_eq!(judged("app::run", Some("src/a.rs")), at("app::run (src/a.rs:7)"));
        let file = "/registry/time-machine-0.3.41-rc.1/src/travel/mod.rs";
        let expected = format!("time_machine::travel::go ({file}:7)");
        assert_eq!(judged("go", Some(file)), at(&expected));
        let file = "/code/time-2d/src/travel.rs";
        let expected = format!("time_2d::travel::go ({file}:7)");
        assert_eq!(judged("go", Some(file)), at(&expected));
        let test = "/code/crates/x/tests/audit.rs";
        assert_eq!(
            judged("{closure#0}", Some(test)),
            at(&format!("audit::{{closure#0}} ({test}:7)"))
        );
    }

    #[test]
    fn addresses_without_a_name_are_a_place_too() {
        assert_eq!(site(&[1]).as_deref(), Some("an unknown place, around 0x1"));
    }
}
