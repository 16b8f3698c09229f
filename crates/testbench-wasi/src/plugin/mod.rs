//! Plugins: modules that are libraries, called function by function.
//!
//! A [`Plugin`] is a guest that stays. It is made from the same
//! [`GuestSpec`](crate::GuestSpec) as a command, has the same kernel below it, and lives on the same
//! timeline; but there are many calls instead of one, and its owner does other work in between. So
//! limits on time and work count for each call, its place on the timeline is
//! borrowed only while it is needed (`kernel/loan.rs`), and the watchdog looks at calls instead of being
//! armed for each ([`watch`]).
//!
//! An instance that has ended is never called again: a trap leaves its memory in an unknown state. By
//! default the next call begins with a new instance ([`AfterEnd`]), which also is why no call can
//! leak: the allocations of a call that traps go with the instance's memory.
//!
//! Begin reading at [`Plugin::during`], through which every call goes; then [`json`] for the calls
//! that pass bytes, and [`life`] for one instance.

mod error;
mod export;
mod json;
mod life;
mod spec;
mod value;
mod watch;

use std::fmt;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;

pub use self::error::PluginError;
pub use self::export::Export;
pub use self::spec::{AfterEnd, PluginSpec};
pub use self::value::Values;

use self::life::{Life, Trouble};
use self::spec::Names;
use self::watch::Watch;
use crate::cache::Compiled;
use crate::exit::{Exit, exit_of};
use crate::kernel::{Captured, Entry, Process};
use crate::limits::Limit;
use crate::module::{Bytes, Module};
use crate::run::instantiate;
use crate::spec::GuestSpec;
use crate::stopping::{Held, Interrupter};
use crate::threads;

/// A module that is a library, and an instance of it that is called.
///
/// ```
/// use testbench_wasi::Plugin;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wasm = wat::parse_str(r#"
///     (module (func (export "add_one") (param i32) (result i32)
///         (i32.add (local.get 0) (i32.const 1))))
/// "#)?;
/// let mut plugin = Plugin::from_bytes("math", wasm)?;
/// assert_eq!(plugin.exports()[0].to_string(), "add_one: a function (i32) -> i32");
/// assert_eq!(plugin.call::<i32, i32>("add_one", 41)?, 42);
///
/// let error = plugin.call::<i32, i32>("add_two", 40).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "`math` exports no `add_two` (did you mean `add_one`?); it exports `add_one`",
/// );
/// # Ok(())
/// # }
/// ```
pub struct Plugin {
    module: Module,
    spec: PluginSpec,
    compiled: Arc<Compiled>,
    /// The functions to call once an instance is made.
    starts: Vec<String>,
    exports: Vec<Export>,
    watch: Arc<Watch>,
    /// The descriptors with which each instance begins.
    given: Vec<Entry>,
    /// Of this instance, or of the last one.
    process: Arc<Process>,
    life: Option<Box<Life>>,
    /// Why the last instance ended, if it has.
    ended: Option<Exit>,
    restarts: u64,
}

impl Plugin {
    /// The plugin in the file at `path`, named after the file without its `.wasm`, on the clock and
    /// the overlay that are installed on this thread
    /// ([`GuestSpec::from_installed`]).
    ///
    /// # Errors
    ///
    /// When the module cannot be loaded, or as [`Plugin::new`].
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, PluginError> {
        Plugin::new(GuestSpec::from_installed(Module::from_file(path)?)?)
    }

    /// The plugin that consists of `bytes`, as [`Plugin::from_path`] otherwise.
    ///
    /// # Errors
    ///
    /// As [`Plugin::from_path`].
    pub fn from_bytes(
        name: impl Into<String>,
        bytes: impl Into<Bytes>,
    ) -> Result<Self, PluginError> {
        Plugin::new(GuestSpec::from_installed(Module::from_bytes(name, bytes)?)?)
    }

    /// The plugin that `spec` describes: a [`PluginSpec`], a [`GuestSpec`], or a [`Module`] with the
    /// hermetic defaults. Plugins of one module share its code, and those of one
    /// [`Engine`](crate::Engine) share all that can be shared.
    ///
    /// It is instantiated at once, and its start functions are called: by default `_initialize`, if
    /// there is one.
    ///
    /// # Errors
    ///
    /// [`PluginError::Start`] when it was not instantiated, [`PluginError::Ended`] when it ended in
    /// one of these functions or its start section.
    pub fn new(spec: impl Into<PluginSpec>) -> Result<Self, PluginError> {
        let spec = spec.into();
        let GuestSpec { module, start_functions, mut process, .. } = spec.guest.clone();
        process.check()?;
        let starts = match start_functions {
            None => module.starters(&["_initialize".to_owned()])?,
            Some(names) => module.starters(&names)?,
        };
        let compiled = module.compiled(process.limits.fuel.is_some())?;
        let exports = Export::all(compiled.any());
        let watch = Watch::new(process.limits.watchdog);
        process.borrows_place = true;
        let process = Process::new(process)?;
        let given = process.with_fds(|fds| fds.entries());
        let mut plugin = Plugin {
            module,
            spec,
            compiled,
            starts,
            exports,
            watch,
            given,
            process,
            life: None,
            ended: None,
            restarts: 0,
        };
        plugin.life = Some(plugin.instantiate()?);
        Ok(plugin)
    }

    /// The name by which errors and reports know it.
    pub fn name(&self) -> &str {
        &self.process.name
    }

    /// The module that it is an instance of.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Its exports, in the module's order.
    pub fn exports(&self) -> &[Export] {
        &self.exports
    }

    /// Calls the exported function `name`.
    ///
    /// The call is made on this thread, or on another one while this waits if little stack is left.
    ///
    /// # Errors
    ///
    /// [`PluginError::NoExport`], [`PluginError::NotAFunction`], [`PluginError::Signature`], or
    /// [`PluginError::Ended`] when it does not return.
    ///
    /// # Panics
    ///
    /// When a filesystem, clock or closure in the specification panics while the plugin uses it. The
    /// instance is gone then.
    pub fn call<P: Values, R: Values>(&mut self, name: &str, params: P) -> Result<R, PluginError> {
        self.during(name, |life| life.call(name, params))
    }

    /// Takes the output that the plugin has written, and the limits that it has reached, since the
    /// last call of this.
    pub fn take_output(&mut self) -> Captured {
        self.process.take_captured()
    }

    /// The size of its memory in pages of 64 KiB; 0 if it has none, or has ended.
    pub fn memory_pages(&mut self) -> u64 {
        let Some(life) = &mut self.life else { return 0 };
        match life.live.instance.get_memory(&mut life.live.store, "memory") {
            Some(memory) => memory.size(&life.live.store),
            None => 0,
        }
    }

    /// Why its instance ended, if it has ended and has not been replaced yet.
    pub fn ended(&self) -> Option<&Exit> {
        self.ended.as_ref()
    }

    /// How often a new instance has taken the place of an old one.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Ends its instance, if it has one, and makes a new one in its place.
    ///
    /// # Errors
    ///
    /// [`PluginError::Ended`] when the new one ends in a start function.
    pub fn restart(&mut self) -> Result<(), PluginError> {
        self.life = None;
        self.ended = None;
        self.life = Some(self.replace()?);
        Ok(())
    }

    fn names(&self) -> &Arc<Names> {
        &self.spec.names
    }

    /// Makes a call, which `function` names, with all that surrounds one.
    fn during<R: Send>(
        &mut self,
        function: &str,
        call: impl FnOnce(&mut Life) -> Result<R, Trouble> + Send,
    ) -> Result<R, PluginError> {
        // Taken out, so that it is gone if this unwinds.
        let mut life = match (self.life.take(), &self.ended, self.spec.after_end) {
            (Some(life), ..) => life,
            (None, Some(exit), AfterEnd::Refuse) => {
                let plugin = self.name().to_owned();
                return Err(PluginError::Over { plugin, exit: exit.clone() });
            }
            (None, ..) => self.replace()?,
        };
        let called = self.watched(function, || {
            if let Some(units) = self.process.limits.fuel {
                let refuelled = life.live.store.set_fuel(units);
                refuelled.map_err(|error| life::ended(function, error))?;
            }
            call(&mut life)
        });
        match called {
            Ok(value) => {
                self.life = Some(life);
                Ok(value)
            }
            Err(Trouble::Answer(error)) => {
                self.life = Some(life);
                Err(*error)
            }
            Err(Trouble::Ended { function, error }) => {
                drop(life);
                Err(self.end(function, &error))
            }
        }
    }

    /// Runs `f`, which calls the guest, within the limits of a call and with enough stack.
    fn watched<R: Send>(
        &self,
        function: &str,
        f: impl FnOnce() -> Result<R, Trouble> + Send,
    ) -> Result<R, Trouble> {
        let no_thread =
            |source| Trouble::from(PluginError::Thread { plugin: self.name().to_owned(), source });
        self.watch.begin().map_err(no_thread)?;
        self.process.begin_call();
        let counted = Counted { plugin: self };
        // After it was counted in: a thread that ends it from now on sees that it runs.
        if let Some(stop) = self.process.stopper.stopped() {
            // It was told between two calls.
            drop(counted);
            return Err(life::ended(function, stop));
        }
        let done = threads::with_enough_stack(f);
        let in_time = counted.out();
        match (done.map_err(no_thread)?, in_time) {
            (Err(Trouble::Ended { function, error }), _) => Err(Trouble::Ended { function, error }),
            // It returned in the moment in which it was told to end.
            (_, Err(limit)) => Err(life::ended(function, Exit::Limit(limit))),
            (done, Ok(())) => done,
        }
    }

    /// A new instance in place of the one that has ended.
    fn replace(&mut self) -> Result<Box<Life>, PluginError> {
        self.process = self.process.successor(self.given.clone());
        self.restarts += 1;
        let life = self.instantiate()?;
        self.ended = None;
        Ok(life)
    }

    /// An instance whose start functions have returned.
    fn instantiate(&mut self) -> Result<Box<Life>, PluginError> {
        let calls = Arc::downgrade(&self.watch);
        let in_a_call = move || calls.upgrade().is_some_and(|calls| calls.is_on());
        let interrupter = Interrupter::new(&self.process, &self.compiled.engines, in_a_call);
        self.watch.aim(interrupter.clone());
        let held = Held::new(interrupter, &self.spec.guest.cancel);
        let made = self.watched("start", || {
            let made = instantiate(&self.compiled, &self.process);
            let mut live = made.map_err(|error| life::ended("start", error))?;
            for name in &self.starts {
                live.start(name).map_err(|error| life::ended(name, error))?;
            }
            Ok(live)
        });
        match made {
            Ok(live) => Ok(Box::new(Life::new(live, held))),
            Err(Trouble::Answer(error)) => Err(*error),
            Err(Trouble::Ended { function, error }) => {
                drop(held);
                Err(self.end(function, &error))
            }
        }
    }

    /// Notes how an instance ended.
    fn end(&mut self, function: String, error: &wasmtime::Error) -> PluginError {
        let process = &self.process;
        let (exit, backtrace) = exit_of(error, process.stopper.stopped(), &process.limits);
        if let Some(limit) = exit.limit() {
            process.limit_hit(limit);
        }
        let plugin = process.name.clone();
        tracing::debug!(plugin, function, %exit, "ended");
        self.ended = Some(exit.clone());
        PluginError::Ended { plugin, function, exit, backtrace }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.watch.stop();
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name())
            .field("module", &self.module)
            .field("restarts", &self.restarts)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// A call that is counted in; counted out also when a host function panics.
struct Counted<'a> {
    plugin: &'a Plugin,
}

impl Counted<'_> {
    /// Counts it out; the limit, if it was told to end.
    fn out(self) -> Result<(), Limit> {
        ManuallyDrop::new(self).count_out()
    }

    fn count_out(&self) -> Result<(), Limit> {
        // In this order: the watch lends the caller's place, and then looks whether the call is on.
        let in_time = self.plugin.watch.end();
        self.plugin.process.give_place_back();
        in_time
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        // The limit does not matter: its instance is gone.
        let _ = self.count_out();
    }
}
