//! Random programs on the timeline, and on a naive model of it: both must tell the same story.
//!
//! The model keeps all participants in one list and looks through all of it for the next event. It has no
//! threads, no heap, no wakers and no fast paths, which is what the timeline may get wrong.
//!
//! Two things show that the comparison means something: [`TABLE`] counts how every operation ended in
//! the ten thousand programs, and each [`Flaw`], a mistake that is planted between the programs and
//! the timeline, has to be found by a few hundred of them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbench_clock::{
    Clock, Event, Listener, MockClock, MonoTime, RandomStream, Reading, Seed, Shift, Wait,
    WallTime, Woke, current, thread,
};

#[derive(Clone, Copy, Debug)]
enum Op {
    Sleep(u64),
    SleepUntil(u64),
    Advance(u64),
    Yield,
    StepWall(i64),
    AwaitWall(i64),
    Notify(usize),
    Await { event: usize, at_most: Option<u64> },
    Cancel(usize),
}

impl Op {
    fn name(self) -> &'static str {
        match self {
            Op::Sleep(_) => "sleep",
            Op::SleepUntil(_) => "sleep until",
            Op::Advance(_) => "advance",
            Op::Yield => "yield",
            Op::StepWall(_) => "step the wall",
            Op::AwaitWall(_) => "await the wall",
            Op::Notify(_) => "notify",
            Op::Await { at_most: None, .. } => "await an event",
            Op::Await { .. } => "await an event or a time",
            Op::Cancel(_) => "cancel",
        }
    }
}

/// How the operations of ten thousand programs ended. It changes when the programs do.
const TABLE: &str = "
advance: cancelled 1116, deadline 8920
await an event: cancelled 732, deadlock 3718, notified 651
await an event or a time: cancelled 1186, deadline 8345, notified 514
await the wall: cancelled 632, ok 4380
cancel: ok 4996
notify: ok 10004
sleep: cancelled 3252, deadline 27035
sleep until: cancelled 1247, deadline 8819
step the wall: ok 4957
yield: cancelled 1094, ok 8996
";

/// A mistake between the programs and the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// Sleeps take a nanosecond too long.
    Oversleeps,
    /// A sleep whose time has passed gives its turn away.
    PastDeadlineYields,
    /// Who advances does not let the others of the last instant go first.
    AdvanceIsASleep,
    /// Yielding keeps the turn.
    YieldKeepsTheTurn,
    /// An event forgets who listened before it was notified for the second time.
    ForgetsNotifications,
    /// A wait that was notified at its deadline says that it was the deadline.
    DeadlineBeforeListener,
    /// A cancelled participant is told once, and then waits again.
    CancelledOnce,
    /// A wait for the wall does not hear that it was set.
    WallIsNotHeard,
    /// Setting the wall moves relative sleeps.
    SleepsByTheWall,
    /// The order of ties is drawn, and not that of registration.
    DrawnTies,
    /// Readings move time.
    ReadingsTick,
    /// Readings of the wall are rounded.
    RoundedReadings,
}

const FLAWS: [Flaw; 12] = [
    Flaw::Oversleeps,
    Flaw::PastDeadlineYields,
    Flaw::AdvanceIsASleep,
    Flaw::YieldKeepsTheTurn,
    Flaw::ForgetsNotifications,
    Flaw::DeadlineBeforeListener,
    Flaw::CancelledOnce,
    Flaw::WallIsNotHeard,
    Flaw::SleepsByTheWall,
    Flaw::DrawnTies,
    Flaw::ReadingsTick,
    Flaw::RoundedReadings,
];

const EVENTS: usize = 2;
/// Stands for the wall's own event in the model.
const WALL: usize = EVENTS;

fn program(random: &mut RandomStream) -> Vec<Vec<Op>> {
    let participants = 1 + random.below(4);
    let op = |random: &mut RandomStream| {
        let n = |random: &mut RandomStream, max| random.below(max) as u64;
        match random.below(20) {
            0..=5 => Op::Sleep(n(random, 6)),
            6 | 7 => Op::SleepUntil(n(random, 30)),
            8 | 9 => Op::Advance(n(random, 6)),
            10 | 11 => Op::Yield,
            12 => Op::StepWall(n(random, 21) as i64 - 10),
            13 => Op::AwaitWall(n(random, 40) as i64),
            14 | 15 => Op::Notify(random.below(EVENTS)),
            16 => Op::Await { event: random.below(EVENTS), at_most: None },
            17 | 18 => Op::Await { event: random.below(EVENTS), at_most: Some(n(random, 8)) },
            _ => Op::Cancel(random.below(participants)),
        }
    };
    (0..participants).map(|_| (0..1 + random.below(7)).map(|_| op(random)).collect()).collect()
}

/// One line for each operation that has ended.
fn line(story: &mut String, who: usize, at: usize, mono: u64, wall: i128, how: &str) {
    writeln!(story, "p{who} op{at} {how} at {mono} wall {wall}").unwrap();
}

// ---- on the timeline ----

fn on_the_timeline(program: &[Vec<Op>], flaw: Option<Flaw>) -> String {
    let clock = MockClock::builder().start(WallTime::UNIX_EPOCH);
    let clock = match flaw {
        Some(Flaw::DrawnTies) => clock.ties(Seed::new(1)),
        Some(Flaw::ReadingsTick) => clock.tick_per_read(Duration::from_nanos(1)),
        Some(Flaw::RoundedReadings) => clock.resolution(Reading::Wall, Duration::from_nanos(2)),
        _ => clock,
    };
    let clock = clock.build();
    let _installed = clock.install();
    let story = Mutex::new(String::new());
    let events: [Event; EVENTS] = std::array::from_fn(|_| Event::new());
    let clocks: Mutex<Vec<Option<Arc<dyn Clock>>>> = Mutex::new(vec![None; program.len()]);
    // All handles are known before a participant runs on: the first thing that each does is to yield.
    thread::scope(|scope| {
        for (who, ops) in program.iter().enumerate() {
            let (story, events, clocks) = (&story, &events, &clocks);
            scope.spawn(move || {
                let clock = current();
                clocks.lock().unwrap()[who] = Some(Arc::clone(&clock));
                let _ = clock.yield_now();
                let mut real = Real { clock: &*clock, events, clocks, flaw, was_cancelled: false };
                for (at, op) in ops.iter().enumerate() {
                    let how = real.op(*op);
                    let (mono, wall) = (clock.mono().nanos(), clock.wall().unix_nanos());
                    line(&mut story.lock().unwrap(), who, at, mono, wall, how);
                }
            });
        }
    });
    story.into_inner().unwrap()
}

/// One participant of a program, and what is wrong with it.
struct Real<'a> {
    clock: &'a dyn Clock,
    events: &'a [Event; EVENTS],
    clocks: &'a Mutex<Vec<Option<Arc<dyn Clock>>>>,
    flaw: Option<Flaw>,
    was_cancelled: bool,
}

impl Real<'_> {
    fn op(&mut self, op: Op) -> &'static str {
        let clock = self.clock;
        match op {
            Op::Sleep(d) => self.sleep_until(self.after(d)),
            Op::SleepUntil(t) => self.sleep_until(Some(MonoTime::from_nanos(t))),
            Op::Advance(d) if self.has(Flaw::AdvanceIsASleep) => self.wait(self.after(d), &[]),
            Op::Advance(d) => match clock.as_mock().unwrap().advance(Duration::from_nanos(d)) {
                Ok(()) => "deadline",
                Err(error) => self.stuck(&error.to_string()),
            },
            Op::Yield if self.has(Flaw::YieldKeepsTheTurn) => "ok",
            Op::Yield => match clock.yield_now() {
                Ok(()) => "ok",
                Err(stuck) => self.stuck(&stuck.to_string()),
            },
            Op::StepWall(by) => {
                let d = Duration::from_nanos(by.unsigned_abs());
                let by = if by < 0 { Shift::Back(d) } else { Shift::Forward(d) };
                let step = testbench_clock::Injection::Step(by);
                clock.as_mock().unwrap().inject(step).unwrap();
                "ok"
            }
            Op::AwaitWall(wall) => self.await_wall(WallTime::from_unix_nanos(wall.into())),
            Op::Notify(event) => {
                self.events[event].notify();
                "ok"
            }
            Op::Await { event, at_most } => {
                let listener = match self.flaw {
                    Some(Flaw::ForgetsNotifications) => Event::new().listen(),
                    _ => self.events[event].listen(),
                };
                self.wait(at_most.and_then(|d| self.after(d)), &[listener])
            }
            Op::Cancel(peer) => {
                // Missing only where a flaw changes who begins.
                let peer = self.clocks.lock().unwrap()[peer].clone();
                peer.inspect(|peer| peer.participant().cancel("by a peer"));
                "ok"
            }
        }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn after(&self, d: u64) -> Option<MonoTime> {
        let d = Duration::from_nanos(d);
        if self.has(Flaw::SleepsByTheWall) {
            let wall_ns = u64::try_from(self.clock.wall().unix_nanos()).unwrap_or(0);
            return MonoTime::from_nanos(wall_ns).checked_add(d);
        }
        self.clock.mono().checked_add(d)
    }

    fn sleep_until(&mut self, deadline: Option<MonoTime>) -> &'static str {
        if self.has(Flaw::PastDeadlineYields) && deadline <= Some(self.clock.mono()) {
            let _ = self.clock.yield_now();
        }
        let late = Duration::from_nanos(u64::from(self.has(Flaw::Oversleeps)));
        self.wait(deadline.and_then(|at| at.checked_add(late)), &[])
    }

    fn await_wall(&mut self, wall: WallTime) -> &'static str {
        loop {
            let mut on = vec![self.clock.wall_set()];
            if self.has(Flaw::WallIsNotHeard) {
                on.clear();
            }
            let at = self.clock.mono_at(wall);
            if at.is_some_and(|at| at <= self.clock.mono()) {
                return "ok";
            }
            match self.wait(at, &on) {
                // With this flaw it would look for ever.
                "deadline" if self.has(Flaw::CancelledOnce) => return "deadline",
                "deadline" | "notified" => {}
                stuck => return stuck,
            }
        }
    }

    fn wait(&mut self, deadline: Option<MonoTime>, on: &[Listener]) -> &'static str {
        let woke = self.clock.wait(Wait { deadline, on, what: &"model" });
        match woke {
            Ok(Woke::Notified(_))
                if self.has(Flaw::DeadlineBeforeListener)
                    && deadline.is_some_and(|at| at <= self.clock.mono()) =>
            {
                "deadline"
            }
            Ok(Woke::Deadline) => "deadline",
            Ok(Woke::Notified(_)) => "notified",
            Err(stuck) => self.stuck(&stuck.to_string()),
        }
    }

    fn stuck(&mut self, text: &str) -> &'static str {
        match how_stuck(text) {
            "cancelled" if self.was_cancelled && self.has(Flaw::CancelledOnce) => "deadline",
            "cancelled" => {
                self.was_cancelled = true;
                "cancelled"
            }
            how => how,
        }
    }
}

fn how_stuck(text: &str) -> &'static str {
    match text {
        "cancelled: by a peer" => "cancelled",
        t if t.starts_with("deadlock") => "deadlock",
        t => panic!("unexpected: {t}"),
    }
}

// ---- on the model ----

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Ready,
    Waiting { deadline: Option<u64>, last: bool, on: Option<usize> },
    Done,
}

struct Participant {
    ops: Vec<Op>,
    next: usize,
    state: State,
    /// The operation that is under way, and how its wait ended.
    waited: Option<Waited>,
    cancelled: bool,
}

#[derive(Clone, Copy)]
struct Waited {
    on: Option<usize>,
    generation: u64,
    end: &'static str,
}

struct Model {
    now: u64,
    wall_offset: i128,
    participants: Vec<Participant>,
    ready: VecDeque<usize>,
    ready_last: VecDeque<usize>,
    generations: [u64; EVENTS + 1],
    /// Who waits for which event, in the order in which they began to.
    listening: Vec<(usize, usize)>,
    story: String,
}

fn on_the_model(program: &[Vec<Op>]) -> String {
    let participants = program.iter().map(|ops| Participant {
        ops: ops.clone(),
        next: 0,
        state: State::Ready,
        waited: None,
        cancelled: false,
    });
    let mut model = Model {
        now: 0,
        wall_offset: 0,
        participants: participants.collect(),
        ready: (0..program.len()).collect(),
        ready_last: VecDeque::new(),
        generations: [0; EVENTS + 1],
        listening: Vec::new(),
        story: String::new(),
    };
    while model.step() {}
    model.story
}

impl Model {
    fn step(&mut self) -> bool {
        if let Some(who) = self.ready.pop_front().or_else(|| self.ready_last.pop_front()) {
            self.run(who);
            return true;
        }
        let mut waits: Vec<(u64, bool, usize)> = Vec::new();
        for (who, p) in self.participants.iter().enumerate() {
            if let State::Waiting { deadline: Some(at), last, .. } = p.state {
                waits.push((at, last, who));
            }
        }
        waits.sort_unstable();
        if let Some((first, ..)) = waits.first().copied() {
            let now = self.now.max(first);
            self.now = now;
            for (_, _, who) in waits.into_iter().filter(|(at, ..)| *at <= now) {
                self.end_wait(who, "deadline");
            }
            return true;
        }
        let stuck: Vec<_> = (0..self.participants.len())
            .filter(|who| matches!(self.participants[*who].state, State::Waiting { .. }))
            .collect();
        stuck.iter().for_each(|who| self.end_wait(*who, "deadlock"));
        !stuck.is_empty()
    }

    fn end_wait(&mut self, who: usize, end: &'static str) {
        let p = &mut self.participants[who];
        let State::Waiting { last, .. } = p.state else { return };
        p.state = State::Ready;
        p.waited.as_mut().unwrap().end = end;
        let queue = if last { &mut self.ready_last } else { &mut self.ready };
        queue.push_back(who);
    }

    /// Runs a participant until it waits, yields or ends.
    fn run(&mut self, who: usize) {
        while self.participants[who].next < self.participants[who].ops.len() {
            let (at, op) = {
                let p = &self.participants[who];
                (p.next, p.ops[p.next])
            };
            let Some(how) = self.op(who, op) else { return };
            let wall = i128::from(self.now) + self.wall_offset;
            line(&mut self.story, who, at, self.now, wall, how);
            self.participants[who].next += 1;
        }
        self.participants[who].state = State::Done;
    }

    /// How an operation ended, or nothing if it goes on when this participant runs again.
    fn op(&mut self, who: usize, op: Op) -> Option<&'static str> {
        let cancelled = self.participants[who].cancelled;
        match op {
            Op::Sleep(d) => self.wait(who, Some(self.now + d), false, None),
            Op::SleepUntil(t) => self.wait(who, Some(t), false, None),
            Op::Advance(d) => self.wait(who, Some(self.now + d), true, None),
            Op::Await { event, at_most } => {
                self.wait(who, at_most.map(|d| self.now + d), false, Some(event))
            }
            Op::AwaitWall(wall) => loop {
                // Woken, it looks again; there are no other operations in between.
                let ahead = i128::from(wall) - (i128::from(self.now) + self.wall_offset);
                if self.participants[who].waited.is_none() && ahead <= 0 {
                    return Some("ok");
                }
                let at = self.now + u64::try_from(ahead).unwrap_or(0);
                match self.wait(who, Some(at), false, Some(WALL))? {
                    "deadline" | "notified" => {}
                    stuck => return Some(stuck),
                }
            },
            Op::Yield => {
                if self.participants[who].waited.take().is_some() {
                    return Some(if cancelled { "cancelled" } else { "ok" });
                }
                if cancelled {
                    return Some("cancelled");
                }
                if self.ready.is_empty() {
                    return Some("ok");
                }
                let yielded = Waited { on: None, generation: 0, end: "ok" };
                self.participants[who].waited = Some(yielded);
                self.ready.push_back(who);
                None
            }
            Op::StepWall(by) => {
                self.wall_offset += i128::from(by);
                self.notify(WALL);
                Some("ok")
            }
            Op::Notify(event) => {
                self.notify(event);
                Some("ok")
            }
            Op::Cancel(peer) => {
                self.participants[peer].cancelled = true;
                self.end_wait(peer, "cancelled");
                Some("ok")
            }
        }
    }

    fn wait(
        &mut self,
        who: usize,
        deadline: Option<u64>,
        last: bool,
        on: Option<usize>,
    ) -> Option<&'static str> {
        let p = &mut self.participants[who];
        if let Some(waited) = p.waited.take() {
            self.listening.retain(|(listener, _)| *listener != who);
            let notified = waited.on.is_some_and(|s| self.generations[s] != waited.generation);
            let in_time = matches!(waited.end, "deadline" | "notified");
            return Some(if in_time && notified { "notified" } else { waited.end });
        }
        if p.cancelled {
            return Some("cancelled");
        }
        if !last && deadline.is_some_and(|at| at <= self.now) {
            return Some("deadline");
        }
        let generation = on.map_or(0, |event| self.generations[event]);
        p.waited = Some(Waited { on, generation, end: "" });
        p.state = State::Waiting { deadline, last, on };
        self.listening.extend(on.map(|event| (who, event)));
        None
    }

    fn notify(&mut self, event: usize) {
        self.generations[event] += 1;
        let (woken, rest) = self.listening.iter().partition(|(_, s)| *s == event);
        self.listening = rest;
        let woken: Vec<(usize, usize)> = woken;
        woken.into_iter().for_each(|(who, _)| self.end_wait(who, "notified"));
    }
}

fn numbered(number: u64) -> Vec<Vec<Op>> {
    program(&mut Seed::new(number).stream("program"))
}

/// How often each operation ended in which way.
#[derive(Default)]
struct Counts(BTreeMap<&'static str, BTreeMap<String, u32>>);

impl Counts {
    fn add(&mut self, program: &[Vec<Op>], story: &str) {
        for line in story.lines() {
            let mut words = line.split(' ');
            let mut number = |prefix| {
                let word = words.next().and_then(|word: &str| word.strip_prefix(prefix));
                word.and_then(|digits| digits.parse::<usize>().ok()).unwrap()
            };
            let (who, at) = (number("p"), number("op"));
            let how = words.next().unwrap().to_owned();
            *self.0.entry(program[who][at].name()).or_default().entry(how).or_default() += 1;
        }
    }

    fn table(&self) -> String {
        let mut table = String::from("\n");
        for (op, ends) in &self.0 {
            let ends: Vec<_> = ends.iter().map(|(how, count)| format!("{how} {count}")).collect();
            writeln!(table, "{op}: {}", ends.join(", ")).unwrap();
        }
        table
    }
}

#[test]
fn ten_thousand_random_programs_agree_with_a_naive_model() {
    let mut counts = Counts::default();
    for number in 0..10_000 {
        let program = numbered(number);
        let (real, model) = (on_the_timeline(&program, None), on_the_model(&program));
        assert_eq!(real, model, "program {number}: {program:#?}");
        counts.add(&program, &real);
    }
    assert_eq!(counts.table(), TABLE);
}

#[test]
fn every_planted_flaw_is_found() {
    const PROGRAMS: u64 = 300;
    for flaw in FLAWS {
        let finds = |number: &u64| {
            let program = numbered(*number);
            on_the_timeline(&program, Some(flaw)) != on_the_model(&program)
        };
        let found = (0..PROGRAMS).find(finds);
        assert!(found.is_some(), "{flaw:?} is not found by {PROGRAMS} programs");
    }
}
