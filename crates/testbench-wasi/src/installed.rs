//! The ambient edge: a guest on what is installed on this thread. Everything below takes values.

use testbench_clock::Lookup;

use crate::error::StartError;
use crate::module::Module;
use crate::spec::{GuestSpec, Mount};

impl GuestSpec {
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
}
