//! Random programs on the timeline, and on a naive model of it: both must tell the same story.
//!
//! The model keeps everyone in one list and looks through all of it for the next event. It has no
//! threads, no heap, no wakers and no fast paths, which is what the timeline may get wrong.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbench_clock::{
    Clock, Listener, MockClock, MonoTime, RandomStream, Seed, Shift, Signal, Stuck, Wait, WallTime,
    Woke, current, thread,
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
    Await { signal: usize, at_most: Option<u64> },
    Cancel(usize),
}

const SIGNALS: usize = 2;
/// Stands for the wall's own signal in the model.
const WALL: usize = SIGNALS;

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
            14 | 15 => Op::Notify(random.below(SIGNALS)),
            16 => Op::Await { signal: random.below(SIGNALS), at_most: None },
            17 | 18 => Op::Await { signal: random.below(SIGNALS), at_most: Some(n(random, 8)) },
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

fn on_the_timeline(program: &[Vec<Op>]) -> String {
    let clock = MockClock::builder().start(WallTime::UNIX_EPOCH).build();
    let _installed = clock.install();
    let story = Mutex::new(String::new());
    let signals: [Signal; SIGNALS] = std::array::from_fn(|_| Signal::new());
    let clocks: Mutex<Vec<Option<Arc<dyn Clock>>>> = Mutex::new(vec![None; program.len()]);
    // Everyone's handle is known before anyone runs on: the first thing each does is to yield.
    thread::scope(|scope| {
        for (who, ops) in program.iter().enumerate() {
            let (story, signals, clocks) = (&story, &signals, &clocks);
            scope.spawn(move || {
                let clock = current();
                clocks.lock().unwrap()[who] = Some(Arc::clone(&clock));
                let _ = clock.yield_now();
                for (at, op) in ops.iter().enumerate() {
                    let how = real_op(&*clock, *op, signals, clocks);
                    let (mono, wall) = (clock.mono().nanos(), clock.wall().unix_nanos());
                    line(&mut story.lock().unwrap(), who, at, mono, wall, how);
                }
            });
        }
    });
    story.into_inner().unwrap()
}

fn real_op(
    clock: &dyn Clock,
    op: Op,
    signals: &[Signal; SIGNALS],
    clocks: &Mutex<Vec<Option<Arc<dyn Clock>>>>,
) -> &'static str {
    let after = |d| clock.mono().checked_add(Duration::from_nanos(d));
    let mock = clock.as_mock().unwrap();
    match op {
        Op::Sleep(d) => wait(clock, after(d), &[]),
        Op::SleepUntil(t) => wait(clock, Some(MonoTime::from_nanos(t)), &[]),
        Op::Advance(d) => match mock.advance(Duration::from_nanos(d)) {
            Ok(()) => "deadline",
            Err(error) => how_stuck(&error.to_string()),
        },
        Op::Yield => clock.yield_now().map_or_else(|s| how_stuck(&s.to_string()), |()| "ok"),
        Op::StepWall(by) => {
            let d = Duration::from_nanos(by.unsigned_abs());
            let by = if by < 0 { Shift::Back(d) } else { Shift::Forward(d) };
            mock.inject(testbench_clock::Injection::Step(by)).unwrap();
            "ok"
        }
        Op::AwaitWall(wall) => loop {
            let changed = clock.wall_set();
            let at = clock.mono_at(WallTime::from_unix_nanos(wall.into()));
            if at.is_some_and(|at| at <= clock.mono()) {
                break "ok";
            }
            match wait(clock, at, &[changed]) {
                "deadline" | "notified" => {}
                stuck => break stuck,
            }
        },
        Op::Notify(signal) => {
            signals[signal].notify();
            "ok"
        }
        Op::Await { signal, at_most } => {
            let listener = signals[signal].listen();
            wait(clock, at_most.and_then(after), &[listener])
        }
        Op::Cancel(peer) => {
            let peer = clocks.lock().unwrap()[peer].clone().unwrap();
            peer.cancel("by a peer");
            "ok"
        }
    }
}

fn wait(clock: &dyn Clock, deadline: Option<MonoTime>, on: &[Listener]) -> &'static str {
    match clock.wait(Wait { deadline, on, what: &"model" }) {
        Ok(Woke::Deadline) => "deadline",
        Ok(Woke::Notified(_)) => "notified",
        Err(Stuck::Deadlock(_)) => "deadlock",
        Err(stuck) => how_stuck(&stuck.to_string()),
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
    generations: [u64; SIGNALS + 1],
    /// Who waits for which signal, in the order in which they began to.
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
        generations: [0; SIGNALS + 1],
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
            Op::Await { signal, at_most } => {
                self.wait(who, at_most.map(|d| self.now + d), false, Some(signal))
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
            Op::Notify(signal) => {
                self.notify(signal);
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
        let generation = on.map_or(0, |signal| self.generations[signal]);
        p.waited = Some(Waited { on, generation, end: "" });
        p.state = State::Waiting { deadline, last, on };
        self.listening.extend(on.map(|signal| (who, signal)));
        None
    }

    fn notify(&mut self, signal: usize) {
        self.generations[signal] += 1;
        let (woken, rest) = self.listening.iter().partition(|(_, s)| *s == signal);
        self.listening = rest;
        let woken: Vec<(usize, usize)> = woken;
        woken.into_iter().for_each(|(who, _)| self.end_wait(who, "notified"));
    }
}

#[test]
fn ten_thousand_random_programs_agree_with_a_naive_model() {
    let mut seen = [0_u32; 4];
    for number in 0..10_000 {
        let program = program(&mut Seed::new(number).stream("program"));
        let (real, model) = (on_the_timeline(&program), on_the_model(&program));
        assert_eq!(real, model, "program {number}: {program:#?}");
        for (count, how) in seen.iter_mut().zip(["deadline", "notified", "cancelled", "deadlock"]) {
            *count += u32::from(real.contains(how));
        }
    }
    // The programs must be of a kind that tells something.
    assert!(seen.iter().all(|n| *n > 500), "{seen:?}");
}
