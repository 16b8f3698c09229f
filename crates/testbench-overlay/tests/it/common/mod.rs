//! What the tests of this crate share: one face for `std::fs` and `testbench_overlay::fs`, trees
//! that can be compared, and random numbers that repeat.
pub(crate) mod answers;

use std::collections::BTreeMap;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use testbench_overlay::{Diff, fs};

/// Paths below a root, each with a description of what is there.
pub(crate) type Tree = BTreeMap<String, String>;

/// xorshift64*, seeded through splitmix.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Random((z ^ (z >> 27)) | 1)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    pub(crate) fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len() as u64) as usize]
    }
}

/// `std::fs`, or what mirrors it.
pub(crate) trait Subject {
    fn write(path: &Path, bytes: &[u8]) -> io::Result<()>;
    fn append(path: &Path, bytes: &[u8]) -> io::Result<()>;
    fn write_at(path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn read(path: &Path) -> io::Result<Vec<u8>>;
    fn create_dir(path: &Path) -> io::Result<()>;
    fn remove_file(path: &Path) -> io::Result<()>;
    fn remove_dir(path: &Path) -> io::Result<()>;
    fn remove_dir_all(path: &Path) -> io::Result<()>;
    fn rename(from: &Path, to: &Path) -> io::Result<()>;
    fn hard_link(from: &Path, to: &Path) -> io::Result<()>;
    fn symlink(target: &Path, path: &Path) -> io::Result<()>;
    fn read_link(path: &Path) -> io::Result<PathBuf>;
    fn chmod(path: &Path, mode: u32) -> io::Result<()>;
    fn stat(path: &Path, follow: bool) -> io::Result<String>;
    fn list(path: &Path) -> io::Result<Vec<String>>;
}

macro_rules! subject {
    ($name:ident, $($fs:ident)::+, $symlink:path, $mode:path) => {
        pub(crate) struct $name;

        impl Subject for $name {
            fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
                $($fs)::+::write(path, bytes)
            }
            fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
                let mut file = $($fs)::+::OpenOptions::new().append(true).open(path)?;
                file.write_all(bytes)
            }
            fn write_at(path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
                let mut file = $($fs)::+::OpenOptions::new().write(true).open(path)?;
                file.seek(SeekFrom::Start(offset))?;
                file.write_all(bytes)
            }
            fn read(path: &Path) -> io::Result<Vec<u8>> {
                $($fs)::+::read(path)
            }
            fn create_dir(path: &Path) -> io::Result<()> {
                $($fs)::+::create_dir(path)
            }
            fn remove_file(path: &Path) -> io::Result<()> {
                $($fs)::+::remove_file(path)
            }
            fn remove_dir(path: &Path) -> io::Result<()> {
                $($fs)::+::remove_dir(path)
            }
            fn remove_dir_all(path: &Path) -> io::Result<()> {
                $($fs)::+::remove_dir_all(path)
            }
            fn rename(from: &Path, to: &Path) -> io::Result<()> {
                $($fs)::+::rename(from, to)
            }
            fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
                $($fs)::+::hard_link(from, to)
            }
            fn symlink(target: &Path, path: &Path) -> io::Result<()> {
                $symlink(target, path)
            }
            fn read_link(path: &Path) -> io::Result<PathBuf> {
                $($fs)::+::read_link(path)
            }
            fn chmod(path: &Path, mode: u32) -> io::Result<()> {
                $($fs)::+::set_permissions(path, $mode(mode))
            }
            fn stat(path: &Path, follow: bool) -> io::Result<String> {
                use std::os::unix::fs::PermissionsExt as _;
                let m = match follow {
                    true => $($fs)::+::metadata(path)?,
                    false => $($fs)::+::symlink_metadata(path)?,
                };
                let mode = std::fs::Permissions::from(m.permissions()).mode() & 0o7777;
                Ok(match (m.is_dir(), m.is_symlink()) {
                    (true, _) => format!("dir {mode:o}"),
                    (_, true) => format!("link {}", m.len()),
                    _ => format!("file {mode:o} {}", m.len()),
                })
            }
            fn list(path: &Path) -> io::Result<Vec<String>> {
                let mut names = Vec::new();
                for entry in $($fs)::+::read_dir(path)? {
                    let entry = entry?;
                    let kind = entry.file_type()?;
                    let kind = match (kind.is_dir(), kind.is_symlink()) {
                        (true, _) => "/",
                        (_, true) => "@",
                        _ => "",
                    };
                    names.push(format!("{}{kind}", entry.file_name().display()));
                }
                names.sort();
                Ok(names)
            }
        }
    };
}

subject!(Host, std::fs, std::os::unix::fs::symlink, std::os::unix::fs::PermissionsExt::from_mode);
subject!(Under, fs, fs::symlink, fs::Permissions::from_mode);

/// All that is below `root`. Hard links show as equal numbers of names.
pub(crate) fn tree<S: Subject>(root: &Path) -> Tree {
    let mut tree = Tree::new();
    add::<S>(root, "", &mut tree);
    tree
}

fn add<S: Subject>(dir: &Path, prefix: &str, tree: &mut Tree) {
    let listing = match S::list(dir) {
        Ok(listing) => listing,
        Err(error) => {
            tree.insert(format!("{prefix}?"), explain(&error));
            return;
        }
    };
    for name in listing {
        let name = name.trim_end_matches(['/', '@']);
        let path = dir.join(name);
        let stat = S::stat(&path, false).unwrap_or_else(|e| explain(&e));
        let content = match stat.split(' ').next() {
            Some("file") => S::read(&path).map(|b| digest(&b)).unwrap_or_else(|e| explain(&e)),
            Some("link") => {
                S::read_link(&path).map_or_else(|e| explain(&e), |t| t.display().to_string())
            }
            _ => String::new(),
        };
        tree.insert(format!("{prefix}{name}"), format!("{stat} {content}"));
        if stat.starts_with("dir") {
            add::<S>(&path, &format!("{prefix}{name}/"), tree);
        }
    }
}

/// Short, and different for different bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{}:{hash:016x}", bytes.len())
}

/// Kind and number of an error.
pub(crate) fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?} {number}", error.kind()),
        None => format!("{:?}", error.kind()),
    }
}

/// What the overlay answers where a path leads out of it; std's own refusal has a number.
pub(crate) fn leads_out() -> Result<String, String> {
    Err("PermissionDenied".to_owned())
}

pub(crate) fn difference(a: &Tree, b: &Tree) -> String {
    let mut text = String::new();
    for path in a.keys().chain(b.keys()).collect::<std::collections::BTreeSet<_>>() {
        if a.get(path) != b.get(path) {
            text += &format!("{path}: std::fs {:?}, overlay {:?}\n", a.get(path), b.get(path));
        }
    }
    text
}

/// Permission bits do not bind root, and the model must know.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes every directory readable; git's view of the tree stays the same.
pub(crate) fn open_up(root: &Path) {
    run(Command::new("chmod").args(["-R", "u+rwX"]).arg(root)).unwrap();
}

/// Runs one test of the calling program again, as the user `nobody`, and returns its output.
pub(crate) fn rerun_as_nobody(test: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;

    const NOBODY: u32 = 65_534;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    // The program may lie where no other user can reach it.
    let program = dir.path().join("test");
    // Copied by another process: a program that is open for writing cannot be run, and a
    // child that another thread starts has for a moment all that this process has open.
    run(Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program)).unwrap();
    let output = Command::new(&program)
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env("TMPDIR", dir.path())
        .current_dir(dir.path())
        .gid(NOBODY)
        .uid(NOBODY)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
    errors.into_owned()
}

/// The plain copy is made under the umask that the mirror of `std::fs` assumes.
pub(crate) fn fix_umask() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
}

/// `git apply` of the diff to a copy of `lower` must give `after`, in git's view, and that of the
/// reverse the tree before. `false` if git could not do it, for a reason of its own.
pub(crate) fn check_patch(lower: &Path, diff: &Diff, after: &Tree) -> Result<bool, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let copy = dir.path().join("copy");
    run(Command::new("cp").arg("-a").arg(lower).arg(&copy))?;
    // Git does not see empty directories, and stumbles over one where a file is to be.
    run(Command::new("find").arg(&copy).args([
        "-mindepth",
        "1",
        "-type",
        "d",
        "-empty",
        "-delete",
    ]))?;
    let before = in_git_view(&tree::<Host>(&copy));
    let patch = diff.patch();
    std::fs::write(dir.path().join("patch"), &patch).map_err(|e| e.to_string())?;
    for (reverse, wanted) in [(false, in_git_view(after)), (true, before)] {
        let mut git = git(&copy);
        git.args(["apply", "--allow-empty", "--whitespace=nowarn"]);
        if reverse {
            git.arg("-R");
        }
        let text = headers(&patch);
        match run(git.arg(dir.path().join("patch"))) {
            Ok(()) => {}
            Err(e) if is_of_gits_own(&e) => return Ok(false),
            Err(e) => return Err(format!("reverse {reverse}: {e}\n{text}")),
        }
        let got = in_git_view(&tree::<Host>(&copy));
        if got != wanted {
            let what = difference(&wanted, &got);
            return Err(format!("git apply, reverse {reverse}: {what}\n{text}"));
        }
    }
    Ok(true)
}

/// Git looks at `d/x/y` before it has removed the symlink `d`, and gives up if `d` leads to itself, or
/// to a directory in which `x` is another symlink.
fn is_of_gits_own(error: &str) -> bool {
    ["Too many levels of symbolic links", "is beyond a symbolic link"]
        .iter()
        .any(|reason| error.contains(reason))
}

/// The lines of a patch that say what is done to which file.
fn headers(patch: &[u8]) -> String {
    const STARTS: [&str; 7] = ["diff ", "old ", "new ", "deleted ", "rename ", "similarity ", "# "];
    let text = String::from_utf8_lossy(patch);
    let lines = text.lines().filter(|line| STARTS.iter().any(|start| line.starts_with(start)));
    lines.collect::<Vec<_>>().join("\n")
}

fn git(dir: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(dir)
        .env("GIT_CEILING_DIRECTORIES", dir.parent().unwrap())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null");
    git
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| e.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// What git knows of a tree: files and links, the executable bit, no directories.
fn in_git_view(tree: &Tree) -> Tree {
    let view = |(path, what): (&String, &String)| {
        let mut words = what.split(' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("file"), Some(mode), _, Some(digest)) => {
                let executable = u32::from_str_radix(mode, 8).is_ok_and(|mode| mode & 0o100 != 0);
                Some((path.clone(), format!("file {executable} {digest}")))
            }
            (Some("link"), ..) => Some((path.clone(), what.clone())),
            _ => None,
        }
    };
    tree.iter().filter_map(view).collect()
}
