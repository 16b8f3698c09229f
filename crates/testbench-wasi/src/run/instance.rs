//! From compiled code to an instance in a store, in the place where there is room for it.

use std::sync::Arc;

use wasmtime::{Instance, PoolConcurrencyLimitError, Store, UpdateDeadline};

use crate::cache::Compiled;
use crate::engine::Place;
use crate::exit::Exit;
use crate::kernel::{Process, Thread};
use crate::limits::{Limit, Limits};

/// An instance that can be called.
pub(crate) struct Live {
    pub(crate) store: Store<Thread>,
    pub(crate) instance: Instance,
}

impl Live {
    /// Calls an export that is known to be a function `() -> ()`.
    pub(crate) fn start(&mut self, function: &str) -> wasmtime::Result<()> {
        let function = self.instance.get_typed_func::<(), ()>(&mut self.store, function)?;
        function.call(&mut self.store, ())
    }
}

/// Instantiates a module, which runs its start section, as the first thread of `process`.
///
/// # Errors
///
/// An [`Exit`] if the module needs more from the start than its limits allow, or was stopped; else
/// wasmtime's error, from the start section or from setting the instance up.
pub(crate) fn instantiate(compiled: &Compiled, process: &Arc<Process>) -> wasmtime::Result<Live> {
    let limits = &process.limits;
    if let Some(limit) = exceeded_from_the_start(compiled, limits) {
        return Err(Exit::Limit(limit).into());
    }
    let place = match outgrows_the_pool(limits) {
        true => Place::OnDemand,
        false => compiled.best_place(),
    };
    match instantiate_at(compiled, process, place) {
        // There is no free slot, and nothing of the guest has run.
        Err(error) if error.is::<PoolConcurrencyLimitError>() => {
            instantiate_at(compiled, process, Place::OnDemand)
        }
        made => made,
    }
}

fn instantiate_at(
    compiled: &Compiled,
    process: &Arc<Process>,
    place: Place,
) -> wasmtime::Result<Live> {
    let linked = compiled.linked(place)?;
    let mut store = Store::new(linked.module().engine(), Thread::new(Arc::clone(process)));
    store.limiter(|thread| thread);
    if let Some(units) = process.limits.fuel {
        store.set_fuel(units)?;
    }
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        // With a backtrace, which tells where it was when it was ended.
        store.data().process.stopper.check()?;
        Ok(UpdateDeadline::Continue(1))
    });
    // After the deadline was set: a stop before it was not noticed by the check.
    process.stopper.check()?;
    let instance = linked.instantiate(&mut store)?;
    Ok(Live { store, instance })
}

/// The limit, if any, that the module exceeds before it has run.
fn exceeded_from_the_start(compiled: &Compiled, limits: &Limits) -> Option<Limit> {
    let needs = compiled.any().resources_required();
    let memory_pages = needs.max_initial_memory_size.unwrap_or(0);
    let memory_bytes = memory_pages.saturating_mul(Limits::PAGE_BYTES);
    let table_elements = needs.max_initial_table_size.unwrap_or(0);
    let bounds = [
        (
            memory_bytes > limits.memory_bytes_max,
            Limit::Memory { bytes_max: limits.memory_bytes_max },
        ),
        (
            table_elements > limits.table_elements_max,
            Limit::Table { elements_max: limits.table_elements_max },
        ),
        (needs.num_memories > limits.memories_max, Limit::Memories { max: limits.memories_max }),
        (needs.num_tables > limits.tables_max, Limit::Tables { max: limits.tables_max }),
        (limits.instances_max == 0, Limit::Instances { max: 0 }),
    ];
    bounds.into_iter().find_map(|(is_exceeded, limit)| is_exceeded.then_some(limit))
}

/// Whether the guest may grow further than a slot of the pool lets it.
fn outgrows_the_pool(limits: &Limits) -> bool {
    /// A slot's memory has all that 32-bit addresses reach.
    const SLOT_MEMORY_BYTES: u64 = 4 << 30;
    limits.table_elements_max > Limits::TABLE_ELEMENTS_MAX
        || limits.memory_bytes_max > SLOT_MEMORY_BYTES
}
