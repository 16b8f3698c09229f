//! The specification of a guest: everything that it may touch, owned by one value.

use std::fmt;
use std::sync::Arc;

use testbench_clock::{Clock, Lookup};

use crate::error::StartError;
use crate::kernel::{Mount, ProcessSpec, Random, Stdin, Stdout};
use crate::limits::Limits;
use crate::module::Module;
use crate::stopping::Cancel;

/// A guest that has not been started.
///
/// It owns everything that the guest may touch, so it can be sent to another thread, and the guest
/// sees nothing that is not in it. It is an immutable builder: each method returns a changed value,
/// and clones make several guests from one base. How the module is compiled is set by
/// [`EngineConfig`](crate::EngineConfig) instead.
///
/// The defaults are hermetic:
///
/// | | default |
/// | --- | --- |
/// | [name](GuestSpec::name) | the module's |
/// | [`argv[0]`](GuestSpec::arg0) | the module's name |
/// | further [arguments](GuestSpec::args) | none |
/// | [environment](GuestSpec::env) | empty |
/// | [working directory](GuestSpec::cwd) | `/` |
/// | [stdin](GuestSpec::stdin) | empty |
/// | [stdout](GuestSpec::stdout), [stderr](GuestSpec::stderr) | captured |
/// | [files](GuestSpec::mount) | none |
/// | [start functions](GuestSpec::start_functions) | `_start` |
/// | [clock](GuestSpec::clock): wall, monotonic, resolutions, sleep, yield | a mock clock of its own, paused at 2000-01-01T00:00:00Z, resolution 1 ns |
/// | [randomness](GuestSpec::random) | the stream `guest` of seed 0 |
/// | [limits](GuestSpec::limits) | [`Limits::default`] |
/// | [cancel handle](GuestSpec::cancel) | none |
///
/// A clone that has an end of a [`pipe`](crate::pipe()) is a further end of it.
#[derive(Clone)]
#[must_use = "a guest runs when the spec is given to `run` or `start`"]
pub struct GuestSpec {
    pub(crate) module: Module,
    /// `None`: `_start` for a command, `_initialize` for a plugin.
    pub(crate) start_functions: Option<Vec<String>>,
    pub(crate) cancel: Cancel,
    pub(crate) id: Option<u32>,
    pub(crate) process: ProcessSpec,
}

impl GuestSpec {
    /// A guest that runs `module`, with the hermetic defaults above.
    pub fn new(module: Module) -> Self {
        GuestSpec {
            start_functions: None,
            cancel: Cancel::new(),
            id: None,
            process: ProcessSpec::hermetic(module.name()),
            module,
        }
    }

    /// A guest on the clock and the overlay that are installed on this thread, else with the
    /// defaults of [`GuestSpec::new`]. Without an installed clock that is the real one, as for any
    /// other code on the thread.
    ///
    /// The overlay is mounted where its files are on the host, so that guest and host name a file
    /// alike.
    ///
    /// # Errors
    ///
    /// [`StartError::SessionEnded`] if the overlay belongs to a session that has ended.
    ///
    /// ```
    /// use testbench_clock::MockClock;
    /// use testbench_wasi::{GuestSpec, Module, run};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let dir = tempfile::tempdir()?;
    /// let _clock = testbench_clock::install(MockClock::builder().build());
    /// let _files = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    ///
    /// let wasm = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#)?;
    /// let spec = GuestSpec::from_installed(Module::from_bytes("tool", wasm)?)?;
    /// assert!(run(spec)?.exit.success());
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_installed(module: Module) -> Result<Self, StartError> {
        let spec = GuestSpec::new(module).clock(testbench_clock::current());
        match testbench_overlay::active() {
            Lookup::Absent => Ok(spec),
            Lookup::Open(overlay) => {
                let guest_path = overlay.guest_root().to_vec();
                Ok(spec.mount(Mount::new(overlay, guest_path)))
            }
            Lookup::Closed(_, ended) => {
                Err(StartError::SessionEnded { guest: spec.process.name, ended })
            }
        }
    }

    /// The name by which reports know the guest; by default the module's.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.process.name = name.into();
        self
    }

    /// The number by which [`Running::id`](crate::Running::id) knows the guest; by default the
    /// next of a count that starts above the largest process id of Linux (4,194,304).
    pub fn id(mut self, id: u32) -> Self {
        self.id = Some(id);
        self
    }

    /// Replaces `argv[0]`.
    pub fn arg0(mut self, arg0: impl Into<Vec<u8>>) -> Self {
        self.process.args[0] = arg0.into();
        self
    }

    /// Appends an argument.
    pub fn arg(mut self, arg: impl Into<Vec<u8>>) -> Self {
        self.process.args.push(arg.into());
        self
    }

    /// Appends arguments.
    pub fn args<A: Into<Vec<u8>>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.process.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable. Setting it again replaces its value and keeps its place.
    pub fn env(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        let (key, value) = (key.into(), value.into());
        let env = &mut self.process.env;
        match env.iter_mut().find(|(present, _)| *present == key) {
            Some((_, old)) => *old = value,
            None => env.push((key, value)),
        }
        self
    }

    /// Sets environment variables in order, each as [`GuestSpec::env`] does.
    pub fn envs<K: Into<Vec<u8>>, V: Into<Vec<u8>>>(
        self,
        vars: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        vars.into_iter().fold(self, |spec, (key, value)| spec.env(key, value))
    }

    /// The working directory: an absolute path as the guest writes it, inside one of its mounts.
    ///
    /// Programs learn of it by the environment variable `PWD` and by a mount named `.`, against
    /// which wasi-libc resolves relative paths. By default relative paths start at `/`.
    pub fn cwd(mut self, cwd: impl Into<Vec<u8>>) -> Self {
        self.process.cwd = Some(cwd.into());
        self
    }

    /// Where the guest's input comes from.
    pub fn stdin(mut self, stdin: impl Into<Stdin>) -> Self {
        self.process.stdin = stdin.into();
        self
    }

    /// Where the guest's output goes.
    pub fn stdout(mut self, stdout: impl Into<Stdout>) -> Self {
        self.process.stdout = stdout.into();
        self
    }

    /// Where the guest's messages go.
    pub fn stderr(mut self, stderr: impl Into<Stdout>) -> Self {
        self.process.stderr = stderr.into();
        self
    }

    /// Adds a directory that the guest may use. Mounts get the descriptors from 3 on, in this order.
    pub fn mount(mut self, mount: Mount) -> Self {
        self.process.mounts.push(mount);
        self
    }

    /// The clock on which the guest lives.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.process.clock = clock;
        self
    }

    /// The guest's randomness: a seeded stream, or [another source](Random::reader). By default the
    /// stream `guest` of seed 0.
    pub fn random(mut self, random: impl Into<Random>) -> Self {
        self.process.random = random.into();
        self
    }

    /// The exported functions to call, in this order, once the module is instantiated. Names that the
    /// module does not export are skipped; with none, only the module's start section runs. When one ends the guest, the later ones are not called.
    ///
    /// By default a guest is a command: `_start` is called, and a module without it is refused
    /// ([`ModuleError::NoStart`](crate::ModuleError::NoStart)). A [`Plugin`](crate::Plugin) calls
    /// `_initialize` if there is one.
    pub fn start_functions<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.start_functions = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The bounds within which the guest runs.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.process.limits = limits;
        self
    }

    /// A handle with which another thread can end the guest while it runs.
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// The limits as they are set now, for changing a few of them.
    pub fn limits_mut(&mut self) -> &mut Limits {
        &mut self.process.limits
    }

    /// The module that will run.
    pub fn module(&self) -> &Module {
        &self.module
    }
}

/// Shows neither secrets nor large values: the command line and where it runs.
impl fmt::Debug for GuestSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lossy = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        f.debug_struct("GuestSpec")
            .field("name", &self.process.name)
            .field("module", &self.module)
            .field("args", &self.process.args.iter().map(lossy).collect::<Vec<_>>())
            .field("cwd", &self.process.cwd.as_ref().map(lossy))
            .field("limits", &self.process.limits)
            .finish_non_exhaustive()
    }
}
