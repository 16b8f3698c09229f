//! tokio's own tests of time, re-expressed on our driver.
//!
//! Each test is named after one of tokio 1.54.1, and states its behaviour in words and code of our
//! own. A `row!` runs in three worlds: on our exact driver ([`world::on_ours`]); as a control on
//! tokio alone with its clock paused, which shows that tokio does the same; and on the
//! driver that follows tokio's paused clock, whose timeline has to be where tokio's is at the end.
//! Instants are compared for equality, where tokio allows a millisecond: the exact ones in our world,
//! the next multiple of a millisecond in tokio's.
//!
//! | tokio | rows | left out, and why |
//! | --- | --- | --- |
//! | `tests/time_sleep.rs` | all 24, in [`sleep`]. Three differ: `creating_sleep_outside_of_context` (ours may be made anywhere and panics when polled), `exactly_max` and `no_out_of_bounds_close_to_max` (past the range of the clock ours never ends, where tokio's ends at the last tick of its wheel) | |
//! | `tests/time_timeout.rs` | 7 of 8, in [`timeout`] | `timeout_is_not_exhausted_by_future`: about tokio's budget of cooperation, which its I/O types spend; a future that never yields is `starving` below |
//! | `tests/time_interval.rs` | all 14, in [`interval`] | |
//! | `tests/time_pause.rs` | 12 of 18, in [`pause`] | `pause_time_in_main`, `_in_task`, `_in_main_threads`, `_in_spawn_threads`: about when `pause` may be called, and a mock clock is never not paused. `paused_time_join_unix_datagram_and_sleep`, `_spawn_`: real sockets, for which our runtimes want an inhibitor (said in `testbench_clock::tokio`) |
//! | `tests/rt_time_start_paused.rs` | its 1, in [`pause`] | |
//! | `tests/time_rt.rs` | 4 of 5, in [`runtime`] and [`timeout`] | `timer_with_threaded_runtime`: a runtime of several threads cannot be one participant |
//! | `tests/time_alt.rs` | all 5 (the two of `reset_should_stay_on_same_runtime` in one), in [`runtime`] and [`timeout`], without its threads | |
//! | `tests/time_panic.rs` | 4 of 6 (the two of timeouts in one), in [`runtime`] | `pause_panic_caller`, `resume_panic_caller`: there is neither call |
//! | `src/runtime/time/tests` | all 8, in [`runtime`] | |
//! | `src/runtime/time/wheel`, `src/runtime/time_alt` | | unit tests of the slots and queues of tokio's timer wheel; ours is an ordered map, which the model test covers |
//! | `tests/time_wasm.rs`, `tests/tracing_time.rs` | | about targets without a clock, and about tracing |

mod interval;
mod pause;
mod runtime;
mod sleep;
mod timeout;
mod world;
