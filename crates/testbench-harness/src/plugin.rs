//! Plugins of a session: modules that are libraries, called function by function.
//!
//! They are testbench-wasi's [`Plugin`]s, with access to all that a guest of the session has. A plugin is
//! no spawn, so it is neither in the session's list of spawns nor on its tape; the files that it writes are
//! in the session's diff.

use std::ffi::OsStr;

use testbench_overlay::Fs;
use testbench_wasi::{GuestSpec, Module, Plugin, PluginError};

use crate::{Session, sys};

impl Session {
    /// Makes a plugin of `module` that lives in this session: on its timeline and its files, with its
    /// environment and limits, and with randomness from its seed and the plugin's name.
    ///
    /// Its standard input is empty, and [`Plugin::take_output`] returns its output. After the session's
    /// end a call fails with [`PluginError::Ended`].
    ///
    /// # Errors
    ///
    /// As [`Plugin::new`].
    ///
    /// ```
    /// use testbench_harness::{Module, Testbench};
    ///
    /// let wasm = wat::parse_str(r#"
    ///     (module
    ///         (import "wasi_snapshot_preview1" "clock_time_get"
    ///             (func $time (param i32 i64 i32) (result i32)))
    ///         (memory (export "memory") 1)
    ///         (func (export "now_ns") (result i64)
    ///             (drop (call $time (i32.const 0) (i64.const 0) (i32.const 0)))
    ///             (i64.load (i32.const 0))))
    /// "#)?;
    /// let session = Testbench::builder().build()?.enter();
    /// let mut plugin = session.plugin(Module::from_bytes("watch", wasm)?)?;
    /// let before: u64 = plugin.call("now_ns", ())?;
    /// testbench_clock::sleep(std::time::Duration::from_secs(60));
    /// assert_eq!(plugin.call::<(), u64>("now_ns", ())? - before, 60_000_000_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn plugin(&self, module: Module) -> Result<Plugin, PluginError> {
        Plugin::new(self.guest_spec(module))
    }

    /// The specification of a guest of `module` in this session, to be changed before a [`Plugin`] is
    /// made of it: other streams, arguments, a [`PluginSpec`](testbench_wasi::PluginSpec).
    ///
    /// Each call gives another stream of randomness.
    pub fn guest_spec(&self, module: Module) -> GuestSpec {
        let bench = self.bench();
        let name = module.name().to_owned();
        #[expect(clippy::disallowed_methods, reason = "a plugin starts in it, as a spawn does")]
        let process_dir = std::env::current_dir().ok();
        let env = bench.env.iter().filter(|(key, _)| key.as_os_str() != OsStr::new("PWD"));
        let env = env.map(|(key, value)| (sys::guest_bytes(key), sys::guest_bytes(value)));
        let mut spec = GuestSpec::new(module)
            .envs(env)
            .clock(self.clock().clone())
            .random(bench.numbered_random("plugin", &name))
            .limits(bench.limits.clone())
            .cancel(bench.cancel.clone());
        if let Some(cwd) = bench.files.base_dir(process_dir.as_deref()) {
            spec = spec.cwd(cwd);
        }
        for mount in bench.files.mounts(|overlay| overlay.clone() as std::sync::Arc<dyn Fs>) {
            spec = spec.mount(mount);
        }
        spec
    }
}
