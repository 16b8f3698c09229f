//! The lines of the log for each call.

use std::time::Duration;

use super::{mono, secs};
use crate::log::Kind;
use crate::task::{self, block_on};
use crate::{Clock, Injection, MockClock, Shift, WallTime, When};

#[test]
fn every_reading_wait_advance_and_injection_names_who_and_where() {
    let planned = Injection::Step(Shift::Forward(secs(1)));
    let clock = MockClock::builder().name("a test").log().inject(When::Mono(mono(5)), planned);
    let clock = clock.build();
    let _installed = clock.install();
    crate::now();
    crate::instant_now();
    clock.mono();
    crate::advance(secs(1)).unwrap();
    clock.advance(secs(1)).unwrap();
    crate::settle().unwrap();
    crate::set_wall(WallTime::UNIX_EPOCH).unwrap();
    clock.inject(planned).unwrap();
    clock.inject_at(When::Mono(mono(3_000_000_000)), planned).unwrap();
    crate::sleep(secs(1));
    block_on(async {
        task::sleep(secs(1)).await;
        task::advance(secs(1)).await
    })
    .unwrap()
    .unwrap();
    crate::external("something real", || ());
    let log = clock.log().unwrap();
    let of_calls = |kind| matches!(kind, Kind::Read | Kind::Wait | Kind::Inject | Kind::Outside);
    let calls: Vec<_> = log.events().iter().filter(|event| of_calls(event.kind)).collect();
    for kind in [Kind::Read, Kind::Wait, Kind::Inject, Kind::Outside] {
        assert!(calls.iter().any(|event| event.kind == kind), "{kind:?} in {calls:#?}");
    }
    for event in calls {
        assert_eq!(&*event.who, "a test", "{event:?}");
        assert!(event.text.contains(concat!(" at ", file!(), ":")), "{event:?}");
    }
}

#[test]
fn a_reading_through_the_trait_says_so() {
    let clock = MockClock::builder().log().build();
    let seam: &dyn Clock = &*clock;
    seam.wall();
    let log = clock.log().unwrap();
    assert_eq!(&*log.events().last().unwrap().text, "wall through `dyn Clock`");
}

#[test]
fn a_sleep_of_no_time_is_no_wait() {
    let clock = MockClock::builder().log().build();
    let _installed = clock.install();
    crate::sleep(Duration::ZERO);
    assert!(clock.log().unwrap().events().iter().all(|event| event.kind != Kind::Wait));
}
