//! The calls that the rows need, of ours and of tokio's, and how a row is run.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use testbench_clock::task;
use testbench_clock::tokio::{paused_runtime, runtime};
use testbench_clock::{Clock, MockClock, MonoTime, instant_now};

/// Instants are durations since the row began.
pub(crate) trait Time: Copy + Send + Sync + 'static {
    /// Deadlines are rounded up to multiples of this.
    const GRAIN: Duration;
    type Sleep: Sleep;
    type Interval: Ticks;

    fn now(self) -> Duration;
    fn sleep(self, d: Duration) -> Self::Sleep;
    fn sleep_until(self, at: Duration) -> Self::Sleep;
    fn timeout<F: Future>(self, d: Duration, f: F) -> impl Future<Output = Option<F::Output>>;
    fn timeout_at<F: Future>(self, at: Duration, f: F) -> impl Future<Output = Option<F::Output>>;
    fn interval(self, period: Duration) -> Self::Interval;
    fn interval_at(self, at: Duration, period: Duration) -> Self::Interval;
    fn advance(self, d: Duration) -> impl Future<Output = ()>;

    /// When a wait until `exact` ends in this world.
    fn rounded(self, exact: Duration) -> Duration {
        let grains = exact.as_nanos().div_ceil(Self::GRAIN.as_nanos());
        Self::GRAIN * u32::try_from(grains).unwrap()
    }

    /// What the timers of tokio need to see a deadline of this very instant as past, and ours do
    /// not: one grain, where a grain is more than a nanosecond.
    async fn let_timers_see_the_present(self) -> Duration {
        let late = if Self::GRAIN == NS { Duration::ZERO } else { Self::GRAIN };
        self.advance(late).await;
        late
    }
}

pub(crate) trait Sleep: Future<Output = ()> + Unpin + Send + 'static {
    fn reset(&mut self, at: Duration);
    fn is_elapsed(&self) -> bool;
    /// `None` past the range of the clock.
    fn deadline(&self) -> Option<Duration>;
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Missed {
    Delay,
    Skip,
}

pub(crate) trait Ticks: Unpin + Send + 'static {
    fn poll_tick(&mut self, task: &mut Context<'_>) -> Poll<Duration>;
    fn missed(&mut self, behavior: Missed);
    fn reset(&mut self);
    fn reset_immediately(&mut self);
    fn reset_after(&mut self, d: Duration);
    fn reset_at(&mut self, at: Duration);
}

pub(crate) const NS: Duration = Duration::from_nanos(1);

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) const fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

/// A row, and the three worlds that it is true in.
macro_rules! row {
    ($name:ident, |$time:ident| $body:block) => {
        #[test]
        fn $name() {
            async fn row<T: crate::tokio_time::world::Time>($time: T) {
                $body
            }
            crate::tokio_time::world::on_ours(row);
            crate::tokio_time::world::on_tokios(row);
            crate::tokio_time::world::on_paused(row);
        }
    };
}
pub(crate) use row;

/// The exact driver.
pub(crate) fn on_ours<F: Future<Output = ()>>(row: impl FnOnce(Ours) -> F) {
    let _installed = MockClock::builder().build().install();
    runtime().unwrap().block_on(row(Ours)).unwrap();
}

/// The control: tokio alone, its clock paused.
pub(crate) fn on_tokios<F: Future<Output = ()>>(row: impl FnOnce(Tokios) -> F) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { row(Tokios { origin: tokio::time::Instant::now() }).await });
}

/// The driver that follows tokio's paused clock: tokio's calls, and a timeline that keeps up.
pub(crate) fn on_paused<F: Future<Output = ()>>(row: impl FnOnce(Tokios) -> F) {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let watched = async {
        let time = Tokios { origin: tokio::time::Instant::now() };
        row(time).await;
        time.now()
    };
    let passed = paused_runtime().unwrap().block_on(watched).unwrap();
    assert_eq!(clock.mono().since_origin(), passed);
}

#[derive(Clone, Copy)]
pub(crate) struct Ours;

impl Time for Ours {
    const GRAIN: Duration = NS;
    type Sleep = task::Sleep;
    type Interval = task::Interval;

    fn now(self) -> Duration {
        instant_now().since_origin()
    }

    fn sleep(self, d: Duration) -> task::Sleep {
        task::sleep(d)
    }

    fn sleep_until(self, at: Duration) -> task::Sleep {
        task::sleep_until(mono(at))
    }

    async fn timeout<F: Future>(self, d: Duration, f: F) -> Option<F::Output> {
        task::timeout(d, f).await.ok()
    }

    async fn timeout_at<F: Future>(self, at: Duration, f: F) -> Option<F::Output> {
        task::timeout_at(mono(at), f).await.ok()
    }

    fn interval(self, period: Duration) -> task::Interval {
        task::interval(period)
    }

    fn interval_at(self, at: Duration, period: Duration) -> task::Interval {
        task::interval_at(mono(at), period)
    }

    async fn advance(self, d: Duration) {
        task::advance(d).await.unwrap();
    }
}

fn mono(at: Duration) -> MonoTime {
    MonoTime::ORIGIN.checked_add(at).unwrap()
}

impl Sleep for task::Sleep {
    fn reset(&mut self, at: Duration) {
        self.reset(mono(at));
    }

    fn is_elapsed(&self) -> bool {
        self.is_elapsed()
    }

    fn deadline(&self) -> Option<Duration> {
        self.deadline().map(MonoTime::since_origin)
    }
}

impl Ticks for task::Interval {
    fn poll_tick(&mut self, task: &mut Context<'_>) -> Poll<Duration> {
        self.poll_tick(task).map(MonoTime::since_origin)
    }

    fn missed(&mut self, behavior: Missed) {
        self.set_missed_tick_behavior(match behavior {
            Missed::Delay => task::MissedTickBehavior::Delay,
            Missed::Skip => task::MissedTickBehavior::Skip,
        });
    }

    fn reset(&mut self) {
        self.reset();
    }

    fn reset_immediately(&mut self) {
        self.reset_immediately();
    }

    fn reset_after(&mut self, d: Duration) {
        self.reset_after(d);
    }

    fn reset_at(&mut self, at: Duration) {
        self.reset_at(mono(at));
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Tokios {
    origin: tokio::time::Instant,
}

impl Time for Tokios {
    const GRAIN: Duration = ms(1);
    type Sleep = TokiosSleep;
    type Interval = TokiosInterval;

    fn now(self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep(self, d: Duration) -> TokiosSleep {
        TokiosSleep { inner: Box::pin(tokio::time::sleep(d)), origin: self.origin }
    }

    fn sleep_until(self, at: Duration) -> TokiosSleep {
        let inner = Box::pin(tokio::time::sleep_until(self.origin + at));
        TokiosSleep { inner, origin: self.origin }
    }

    async fn timeout<F: Future>(self, d: Duration, f: F) -> Option<F::Output> {
        tokio::time::timeout(d, f).await.ok()
    }

    async fn timeout_at<F: Future>(self, at: Duration, f: F) -> Option<F::Output> {
        tokio::time::timeout_at(self.origin + at, f).await.ok()
    }

    fn interval(self, period: Duration) -> TokiosInterval {
        TokiosInterval { inner: tokio::time::interval(period), origin: self.origin }
    }

    fn interval_at(self, at: Duration, period: Duration) -> TokiosInterval {
        let inner = tokio::time::interval_at(self.origin + at, period);
        TokiosInterval { inner, origin: self.origin }
    }

    async fn advance(self, d: Duration) {
        tokio::time::advance(d).await;
    }
}

pub(crate) struct TokiosSleep {
    inner: Pin<Box<tokio::time::Sleep>>,
    origin: tokio::time::Instant,
}

impl Future for TokiosSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        self.inner.as_mut().poll(task)
    }
}

impl Sleep for TokiosSleep {
    fn reset(&mut self, at: Duration) {
        let at = self.origin + at;
        self.inner.as_mut().reset(at);
    }

    fn is_elapsed(&self) -> bool {
        self.inner.is_elapsed()
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.inner.deadline() - self.origin)
    }
}

pub(crate) struct TokiosInterval {
    inner: tokio::time::Interval,
    origin: tokio::time::Instant,
}

impl Ticks for TokiosInterval {
    fn poll_tick(&mut self, task: &mut Context<'_>) -> Poll<Duration> {
        let origin = self.origin;
        self.inner.poll_tick(task).map(|at| at - origin)
    }

    fn missed(&mut self, behavior: Missed) {
        self.inner.set_missed_tick_behavior(match behavior {
            Missed::Delay => tokio::time::MissedTickBehavior::Delay,
            Missed::Skip => tokio::time::MissedTickBehavior::Skip,
        });
    }

    fn reset(&mut self) {
        self.inner.reset();
    }

    fn reset_immediately(&mut self) {
        self.inner.reset_immediately();
    }

    fn reset_after(&mut self, d: Duration) {
        self.inner.reset_after(d);
    }

    fn reset_at(&mut self, at: Duration) {
        self.inner.reset_at(self.origin + at);
    }
}

/// A future that is polled by hand, with a waker that remembers.
pub(crate) struct Held<F> {
    pub(crate) future: Pin<Box<F>>,
    flag: Arc<Flag>,
}

impl<F: Future> Held<F> {
    pub(crate) fn new(future: F) -> Self {
        Held { future: Box::pin(future), flag: Arc::default() }
    }

    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        self.flag.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&self.flag));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.flag.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One poll with a waker that does nothing.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// One poll, with the waker of the task that this is in.
pub(crate) async fn poll_here<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|task| Poll::Ready(Pin::new(&mut *future).poll(task))).await
}
