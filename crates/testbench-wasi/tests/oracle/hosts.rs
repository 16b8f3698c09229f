//! The hosts that are compared, and what a script leaves on each.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use testbench_overlay::{File, FileKind, Follow, Fs, GuestPath, HostDir, OpenHow, Overlay};
use testbench_wasi::{Exit, GuestSpec, Limits, Module, Mount, run};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};

use crate::script::Script;
use crate::wrong::{Mistake, Wrong};

const FSOPS: &[u8] = include_bytes!("../../../testbench-harness/guests/fsops.wasm");

/// More than any script writes.
const OUTPUT_BYTES_MAX: usize = 16 << 20;

/// What a script left.
pub(crate) struct Ran {
    pub(crate) answers: Vec<Answer>,
    pub(crate) exit: String,
    pub(crate) stderr: String,
    /// One line for each file.
    pub(crate) tree: String,
}

/// The answer to one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) operation: String,
    data: Vec<String>,
    pub(crate) errno: u16,
}

/// Carries out scripts.
pub(crate) trait Host {
    fn run(&self, script: &Script) -> Ran;
}

/// wasmtime-wasi on a real directory.
pub(crate) struct Oracle {
    linked: wasmtime::InstancePre<WasiP1Ctx>,
}

impl Oracle {
    pub(crate) fn new() -> Oracle {
        let engine = wasmtime::Engine::default();
        let mut linker = wasmtime::Linker::new(&engine);
        p1::add_to_linker_sync(&mut linker, |cx| cx).expect("its own functions");
        let module = wasmtime::Module::new(&engine, FSOPS).expect("a committed module");
        Oracle { linked: linker.instantiate_pre(&module).expect("preview 1 only") }
    }
}

impl Host for Oracle {
    fn run(&self, script: &Script) -> Ran {
        let files = Files::new();
        let pipe = || MemoryOutputPipe::new(OUTPUT_BYTES_MAX);
        let (stdout, stderr) = (pipe(), pipe());
        let cx = WasiCtxBuilder::new()
            .arg("fsops")
            .stdin(MemoryInputPipe::new(script.to_string()))
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .allow_blocking_current_thread(true)
            .preopened_dir(files.root(), "/", FsPerms::ReadWrite)
            .expect("a directory")
            .build_p1();
        let mut store = wasmtime::Store::new(self.linked.module().engine(), cx);
        let ended = self.linked.instantiate(&mut store).and_then(|instance| {
            instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())
        });
        let exit = match ended {
            Ok(()) => "exit status 0".to_owned(),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(exit) => format!("exit status {}", exit.0),
                None => format!("{error:?}"),
            },
        };
        drop(store);
        let real = HostDir::open(files.root()).expect("a directory");
        Ran::new(&stdout.contents(), &stderr.contents(), exit, &real)
    }
}

/// Our host.
pub(crate) struct Ours {
    module: Module,
    files: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Overlay,
    HostDir,
    Wrong(Mistake),
}

impl Ours {
    pub(crate) fn on_overlay() -> Ours {
        Ours::on(Kind::Overlay)
    }

    pub(crate) fn on_host_dir() -> Ours {
        Ours::on(Kind::HostDir)
    }

    pub(crate) fn with_mistake(mistake: Mistake) -> Ours {
        Ours::on(Kind::Wrong(mistake))
    }

    fn on(files: Kind) -> Ours {
        Ours { module: Module::from_bytes("fsops", FSOPS).expect("a committed module"), files }
    }

    pub(crate) fn name(&self) -> String {
        match self.files {
            Kind::Overlay => "overlay".to_owned(),
            Kind::HostDir => "host directory".to_owned(),
            Kind::Wrong(mistake) => format!("overlay with {mistake:?}"),
        }
    }
}

impl Host for Ours {
    fn run(&self, script: &Script) -> Ran {
        let files = Files::new();
        let overlay = || {
            let overlay = Overlay::new(files.root()).expect("an overlay");
            look_at_both_names(&*overlay);
            overlay
        };
        let fs: Arc<dyn Fs> = match self.files {
            Kind::Overlay => overlay(),
            Kind::HostDir => Arc::new(HostDir::open(files.root()).expect("a directory")),
            Kind::Wrong(mistake) => Arc::new(Wrong::new(overlay(), mistake)),
        };
        let before = tree(&HostDir::open(files.root()).expect("a directory"));
        let limits = Limits { watchdog: Some(Duration::from_secs(60)), ..Limits::default() };
        let spec = GuestSpec::new(self.module.clone())
            .stdin(script.to_string().into_bytes())
            .mount(Mount::new(fs.clone(), "/"))
            .limits(limits);
        let finished = run(spec).expect("the guest starts");
        let exit = match &finished.exit {
            Exit::Code(code) => format!("exit status {code}"),
            other => other.to_string(),
        };
        if !matches!(self.files, Kind::HostDir) {
            let after = tree(&HostDir::open(files.root()).expect("a directory"));
            assert_eq!(before, after, "the lower directory was changed");
        }
        Ran::new(&finished.stdout, &finished.stderr, exit, &*fs)
    }
}

/// An overlay counts the names of a lower file that it has seen (decision 0017), the disk all: where all
/// have been seen they must agree.
fn look_at_both_names(overlay: &dyn Fs) {
    let root = overlay.root().expect("a root");
    let nlink = |name| {
        let stat = overlay.stat_at(&*root, GuestPath::new(name), Follow::No);
        stat.expect("a file").nlink
    };
    assert_eq!([nlink("a"), nlink("k"), nlink("a")], [1, 2, 2]);
}

impl Ran {
    fn new(stdout: &[u8], stderr: &[u8], exit: String, files: &dyn Fs) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            answers: text(stdout).lines().map(Answer::parse).collect(),
            exit,
            stderr: text(stderr),
            tree: tree(files),
        }
    }
}

impl Answer {
    fn parse(line: &str) -> Answer {
        let (found, errno) = line.rsplit_once(" = ").unwrap_or((line, "65535"));
        let mut words = found.split(' ').map(str::to_owned);
        let operation = words.next().unwrap_or_default();
        let mut data: Vec<String> = words.map(|word| without_now(&word)).collect();
        if operation == "readdir" {
            // The order is each host's own, and so is how far a listing gets.
            if found.ends_with("(no room)") {
                data = vec!["no room".to_owned()];
            }
            data.sort();
        }
        Answer { operation, data, errno: errno.parse().unwrap_or(u16::MAX) }
    }

    pub(crate) fn errno_name(&self) -> String {
        ERRNOS.get(usize::from(self.errno)).map_or("no errno", |name| name).to_owned()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} = {}", self.operation, self.data.join(" "), self.errno_name())
    }
}

/// Replaces a time that a script did not set by `now`.
fn without_now(word: &str) -> String {
    match word.split_once("tim=") {
        Some((which, at)) => format!("{which}tim={}", instant(at.parse().unwrap_or(0))),
        None => word.to_owned(),
    }
}

/// Scripts set times before 1971 only.
fn instant(unix_ns: i128) -> String {
    if unix_ns < 365 * 86_400 * 1_000_000_000 { unix_ns.to_string() } else { "now".to_owned() }
}

/// A directory with files, beside one that no path may reach.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Files {
        let files = Files { dir: tempfile::tempdir().expect("a temporary directory") };
        files.fill().expect("files");
        files
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    #[allow(clippy::disallowed_methods, reason = "hosts are compared on real files")]
    fn fill(&self) -> std::io::Result<()> {
        use std::fs::{create_dir, create_dir_all, hard_link, write};
        use std::os::unix::fs::symlink;
        let root = self.root();
        create_dir_all(root.join("b/d"))?;
        write(self.dir.path().join("out"), "outside")?;
        create_dir(self.dir.path().join("up"))?;
        write(root.join("a"), "the content of a\n")?;
        write(root.join("b/c"), [b'c'; 9000])?;
        hard_link(root.join("a"), root.join("k"))?;
        let links = [
            ("a", "e"),
            ("b", "f"),
            ("missing", "g"),
            ("h", "h"),
            ("../out", "i"),
            ("/tmp", "l"),
            ("../a", "b/j"),
            ("../up", "b/l"),
        ];
        links.iter().try_for_each(|(target, link)| symlink(target, root.join(link)))
    }
}

/// `PATH KIND ...` of everything in a tree: content, targets, times that were set, and which names are
/// of one file.
pub(crate) fn tree(fs: &dyn Fs) -> String {
    let mut walk = Walk { fs, files: BTreeMap::new(), text: String::new() };
    let root = fs.root().expect("a root");
    walk.dir(&*root, "");
    walk.text
}

struct Walk<'a> {
    fs: &'a dyn Fs,
    /// The first name of each file.
    files: BTreeMap<u64, String>,
    text: String,
}

impl Walk<'_> {
    fn dir(&mut self, dir: &dyn File, above: &str) {
        for entry in dir.read_dir().expect("a directory that can be listed") {
            let name = GuestPath::new(&entry.name);
            let path = format!("{above}{}", String::from_utf8_lossy(&entry.name));
            let stat = self.fs.stat_at(dir, name, Follow::No).expect("an entry");
            let mtime = instant(stat.mtime.unix_nanos());
            let first = self.files.entry(stat.ino).or_insert_with(|| path.clone()).clone();
            let (nlink, size) = (stat.nlink, stat.size);
            match stat.kind {
                FileKind::Dir => {
                    self.text += &format!("{path} directory mtime={mtime}\n");
                    let below = self.open(dir, name);
                    self.dir(&*below, &format!("{path}/"));
                }
                FileKind::Symlink => {
                    let target = self.fs.read_link_at(dir, name).expect("a symlink");
                    let target = String::from_utf8_lossy(&target);
                    self.text += &format!("{path} -> {target} size={size} mtime={mtime}\n");
                }
                _ => {
                    let hash = testbench_wasi::ContentHash::of(&content(&*self.open(dir, name)));
                    self.text += &format!(
                        "{path} file is={first} nlink={nlink} size={size} mtime={mtime} {hash}\n"
                    );
                }
            }
        }
    }

    fn open(&self, dir: &dyn File, name: GuestPath<'_>) -> Arc<dyn File> {
        self.fs.open_at(dir, name, &OpenHow::READ).expect("a file that can be opened")
    }
}

fn content(file: &dyn File) -> Vec<u8> {
    // No script writes more; a file may be longer where nothing is in it.
    let mut all = vec![0; file.stat().expect("a file").size.min(1 << 20) as usize];
    let mut done = 0;
    while done < all.len() {
        match file.read_at(&mut all[done..], done as u64).expect("a readable file") {
            0 => break,
            n => done += n,
        }
    }
    all
}

/// In the order of the specification.
const ERRNOS: [&str; 77] = [
    "OK",
    "E2BIG",
    "EACCES",
    "EADDRINUSE",
    "EADDRNOTAVAIL",
    "EAFNOSUPPORT",
    "EAGAIN",
    "EALREADY",
    "EBADF",
    "EBADMSG",
    "EBUSY",
    "ECANCELED",
    "ECHILD",
    "ECONNABORTED",
    "ECONNREFUSED",
    "ECONNRESET",
    "EDEADLK",
    "EDESTADDRREQ",
    "EDOM",
    "EDQUOT",
    "EEXIST",
    "EFAULT",
    "EFBIG",
    "EHOSTUNREACH",
    "EIDRM",
    "EILSEQ",
    "EINPROGRESS",
    "EINTR",
    "EINVAL",
    "EIO",
    "EISCONN",
    "EISDIR",
    "ELOOP",
    "EMFILE",
    "EMLINK",
    "EMSGSIZE",
    "EMULTIHOP",
    "ENAMETOOLONG",
    "ENETDOWN",
    "ENETRESET",
    "ENETUNREACH",
    "ENFILE",
    "ENOBUFS",
    "ENODEV",
    "ENOENT",
    "ENOEXEC",
    "ENOLCK",
    "ENOLINK",
    "ENOMEM",
    "ENOMSG",
    "ENOPROTOOPT",
    "ENOSPC",
    "ENOSYS",
    "ENOTCONN",
    "ENOTDIR",
    "ENOTEMPTY",
    "ENOTRECOVERABLE",
    "ENOTSOCK",
    "ENOTSUP",
    "ENOTTY",
    "ENXIO",
    "EOVERFLOW",
    "EOWNERDEAD",
    "EPERM",
    "EPIPE",
    "EPROTO",
    "EPROTONOSUPPORT",
    "EPROTOTYPE",
    "ERANGE",
    "EROFS",
    "ESPIPE",
    "ESRCH",
    "ESTALE",
    "ETIMEDOUT",
    "ETXTBSY",
    "EXDEV",
    "ENOTCAPABLE",
];
