//! The specification of a plugin.

use std::sync::Arc;

use crate::module::Module;
use crate::spec::GuestSpec;

/// A plugin that has not been made: a [`GuestSpec`], and the settings that plugins alone have. An
/// immutable builder, as that is.
///
/// | | default |
/// | --- | --- |
/// | all of [`GuestSpec`] | as there, with `_initialize` as start function |
/// | [`after_end`](PluginSpec::after_end) | [`AfterEnd::Restart`] |
/// | [`alloc_export`](PluginSpec::alloc_export) | `alloc` |
/// | [`free_export`](PluginSpec::free_export) | `free`, else `dealloc` |
/// | [`invoke_export`](PluginSpec::invoke_export) | `invoke`, else `oxide_invoke` |
///
/// Of the [limits](GuestSpec::limits), those on time and work hold for each call anew: `watchdog`,
/// `fuel`, `virtual_deadline`. The others hold for the plugin's life, where `output_bytes_max` counts
/// the output that [`Plugin::take_output`](crate::Plugin::take_output) has not taken, and bounds each
/// result in bytes.
#[derive(Clone, Debug)]
#[must_use = "it makes a plugin by `Plugin::new`"]
pub struct PluginSpec {
    pub(super) guest: GuestSpec,
    pub(super) after_end: AfterEnd,
    pub(super) names: Arc<Names>,
}

/// The names of the functions through which bytes go. Each is looked for under several, in their order;
/// the first stands for all of them in messages.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) alloc: Vec<String>,
    pub(super) free: Vec<String>,
    pub(super) invoke: Vec<String>,
}

/// The fate of a plugin whose instance has ended: by a trap, an exit, a limit or a kill. Its memory
/// may be in any state then, so that instance is never called again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AfterEnd {
    /// The next call begins with a new instance, as the next spawn of a command does. The
    /// memory of the old instance is gone; files and time are as it left them, and randomness and
    /// standard input go on where it stopped. [`Plugin::restarts`](crate::Plugin::restarts) counts.
    #[default]
    Restart,
    /// Each later call fails with [`PluginError::Over`](crate::PluginError::Over), until
    /// [`Plugin::restart`](crate::Plugin::restart).
    Refuse,
}

impl PluginSpec {
    /// A plugin made of `guest`, with the defaults above.
    pub fn new(guest: GuestSpec) -> Self {
        let names = Names {
            alloc: vec!["alloc".to_owned()],
            free: ["free", "dealloc"].map(str::to_owned).into(),
            invoke: ["invoke", "oxide_invoke"].map(str::to_owned).into(),
        };
        PluginSpec { guest, after_end: AfterEnd::default(), names: Arc::new(names) }
    }

    /// Sets the fate of the plugin after its instance has ended.
    pub fn after_end(mut self, after_end: AfterEnd) -> Self {
        self.after_end = after_end;
        self
    }

    /// The export `(size: i32) -> i32` that allocates memory for the bytes of a call.
    pub fn alloc_export(mut self, name: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.names).alloc = vec![name.into()];
        self
    }

    /// The export `(pointer: i32, size: i32)` that frees such memory.
    pub fn free_export(mut self, name: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.names).free = vec![name.into()];
        self
    }

    /// The export `(method: i32, method_len: i32, input: i32, input_len: i32) -> i64` that handles a
    /// call and returns `pointer << 32 | len`.
    pub fn invoke_export(mut self, name: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.names).invoke = vec![name.into()];
        self
    }
}

impl From<GuestSpec> for PluginSpec {
    fn from(guest: GuestSpec) -> Self {
        PluginSpec::new(guest)
    }
}

impl From<Module> for PluginSpec {
    fn from(module: Module) -> Self {
        PluginSpec::new(GuestSpec::new(module))
    }
}
