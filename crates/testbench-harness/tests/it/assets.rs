//! The `clippy.toml` that users copy, and our own: they can be read, and all that they name is in
//! std.
#![allow(clippy::disallowed_methods, reason = "they are named, not called")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use testbench_harness::CLIPPY_TOML;

/// Names things of std in a way that only compiles if they are there, and gives their paths.
macro_rules! in_std {
    ($($($part:ident)::+ $(=> $as:ty)?;)*) => {{
        $(let _ = $($part)::+ $(as $as)?;)*
        [$(in_std!(@path $($part)::+)),*]
    }};
    (@path $first:ident $(:: $part:ident)*) => {
        concat!(stringify!($first) $(, "::", stringify!($part))*)
    };
}

/// The paths that the file names, with std's own compiler as the witness that they exist.
fn paths_of_std() -> BTreeSet<&'static str> {
    type P = &'static Path;
    type S = &'static str;
    use std::io::Result as R;
    use std::time::Duration;
    let all = in_std! {
        std::process::Command::new => fn(S) -> std::process::Command;
        std::fs::canonicalize => fn(P) -> R<std::path::PathBuf>;
        std::fs::copy => fn(P, P) -> R<u64>;
        std::fs::create_dir => fn(P) -> R<()>;
        std::fs::create_dir_all => fn(P) -> R<()>;
        std::fs::exists => fn(P) -> R<bool>;
        std::fs::hard_link => fn(P, P) -> R<()>;
        std::fs::metadata => fn(P) -> R<fs::Metadata>;
        std::fs::read => fn(P) -> R<Vec<u8>>;
        std::fs::read_dir => fn(P) -> R<fs::ReadDir>;
        std::fs::read_link => fn(P) -> R<std::path::PathBuf>;
        std::fs::read_to_string => fn(P) -> R<String>;
        std::fs::remove_dir => fn(P) -> R<()>;
        std::fs::remove_dir_all => fn(P) -> R<()>;
        std::fs::remove_file => fn(P) -> R<()>;
        std::fs::rename => fn(P, P) -> R<()>;
        std::fs::set_permissions => fn(P, fs::Permissions) -> R<()>;
        std::fs::symlink_metadata => fn(P) -> R<fs::Metadata>;
        std::fs::write => fn(P, S) -> R<()>;
        std::fs::DirBuilder::create => fn(&'static fs::DirBuilder, P) -> R<()>;
        std::fs::File::create => fn(P) -> R<fs::File>;
        std::fs::File::create_new => fn(P) -> R<fs::File>;
        std::fs::File::open => fn(P) -> R<fs::File>;
        std::fs::OpenOptions::open => fn(&'static fs::OpenOptions, P) -> R<fs::File>;
        std::path::Path::canonicalize;
        std::path::Path::exists;
        std::path::Path::is_dir;
        std::path::Path::is_file;
        std::path::Path::is_symlink;
        std::path::Path::metadata;
        std::path::Path::read_dir;
        std::path::Path::read_link;
        std::path::Path::symlink_metadata;
        std::path::Path::try_exists;
        std::env::current_dir;
        std::env::set_current_dir => fn(P) -> R<()>;
        std::env::set_var => unsafe fn(S, S);
        std::env::remove_var => unsafe fn(S);
        std::env::temp_dir;
        std::env::var => fn(S) -> Result<String, std::env::VarError>;
        std::env::var_os => fn(S) -> Option<std::ffi::OsString>;
        std::env::vars;
        std::env::vars_os;
        std::net::TcpListener::bind => fn(S) -> R<std::net::TcpListener>;
        std::net::TcpStream::connect => fn(S) -> R<std::net::TcpStream>;
        std::net::UdpSocket::bind => fn(S) -> R<std::net::UdpSocket>;
        std::time::Instant::now;
        std::time::Instant::elapsed;
        std::time::SystemTime::now;
        std::time::SystemTime::elapsed;
        std::thread::sleep;
        std::thread::park_timeout;
        std::sync::mpsc::Receiver::recv_timeout
            => fn(&'static std::sync::mpsc::Receiver<()>, Duration) -> Result<(), std::sync::mpsc::RecvTimeoutError>;
    };
    // Their types are too long to be written out.
    fn of_condvar<'a>(
        condvar: &std::sync::Condvar,
        guard: std::sync::MutexGuard<'a, ()>,
    ) -> std::sync::MutexGuard<'a, ()> {
        let guard = condvar.wait_timeout(guard, Duration::ZERO).unwrap().0;
        condvar.wait_timeout_while(guard, Duration::ZERO, |()| true).unwrap().0
    }
    let mutex = std::sync::Mutex::new(());
    drop(of_condvar(&std::sync::Condvar::new(), mutex.lock().unwrap()));
    let condvar = ["std::sync::Condvar::wait_timeout", "std::sync::Condvar::wait_timeout_while"];
    all.into_iter().chain(condvar).collect()
}

/// The paths and reasons of a `clippy.toml`.
fn disallowed(text: &str) -> Vec<(String, String)> {
    let file: toml::Table = text.parse().unwrap();
    assert_eq!(file.keys().collect::<Vec<_>>(), ["disallowed-methods"]);
    let entries = file["disallowed-methods"].as_array().unwrap();
    let field = |entry: &toml::Value, key| entry[key].as_str().unwrap().to_owned();
    entries.iter().map(|entry| (field(entry, "path"), field(entry, "reason"))).collect()
}

#[test]
fn the_clippy_toml_to_copy_names_what_is_in_std() {
    let entries = disallowed(CLIPPY_TOML);
    let paths: BTreeSet<&str> = entries.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths.len(), entries.len(), "a path stands twice");
    assert_eq!(paths, paths_of_std());
    assert!(entries.iter().all(|(_, reason)| !reason.is_empty()));
}

#[test]
fn what_it_advises_is_there() {
    // A reason that names something of ours must name something that is there.
    let mut open = ["../testbench-overlay/src/fs", "../testbench-clock/src", "src"]
        .map(|dir| Path::new(env!("CARGO_MANIFEST_DIR")).join(dir))
        .to_vec();
    let mut code = String::new();
    while let Some(file) = open.pop() {
        if file.is_dir() {
            open.extend(fs::read_dir(&file).unwrap().map(|entry| entry.unwrap().path()));
        } else if file.extension().is_some_and(|extension| extension == "rs") {
            code += &fs::read_to_string(file).unwrap();
        }
    }
    for (path, reason) in disallowed(CLIPPY_TOML) {
        for named in reason.split('`').skip(1).step_by(2).filter(|n| n.starts_with("testbench_")) {
            let name = named.split('(').next().unwrap().rsplit("::").next().unwrap();
            let is_there = ["pub fn ", "pub struct "]
                .iter()
                .any(|before| code.contains(&format!("{before}{name}")));
            assert!(is_there, "{path}: {named}");
        }
    }
}

#[test]
fn the_clippy_toml_of_this_workspace_names_what_is_in_std() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clippy.toml");
    let std = paths_of_std();
    for (path, _) in disallowed(&fs::read_to_string(own).unwrap()) {
        assert!(std.contains(path.as_str()), "{path}");
    }
}

#[test]
fn it_has_all_of_the_clocks() {
    let ours = disallowed(CLIPPY_TOML);
    for entry in disallowed(testbench_clock::audit::CLIPPY_TOML) {
        assert!(ours.contains(&entry), "{entry:?}");
    }
}
