//! Faults: what a disk does on a bad day, at a moment that a test chooses.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fault::{Effect, Fault, FaultError, When};
use super::operation::{Operation, Request};
use super::pattern::Pattern;
use crate::Errno;
use crate::vfs::name::RelPath;

/// Several [`Fault`]s, and the seed of those that are drawn.
///
/// ```
/// use std::time::Duration;
/// use testbench_overlay::Errno;
/// use testbench_overlay::pipeline::{Fault, FaultPlan, Operation};
///
/// let plan = FaultPlan::new()
///     .seed(7)
///     .with(Fault::error(Errno::Io).on(Operation::Read).one_in(100))
///     .with(Fault::short(512).on(Operation::Read).one_in(3))
///     .with(Fault::latency(Duration::from_millis(5)).on(Operation::Sync))
///     .with(Fault::full_after(1 << 20));
/// assert_eq!(plan.faults().len(), 4);
/// ```
///
/// When several concern one operation, their latencies add up, then the first error is the answer,
/// else the shortest cut holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    seed: u64,
    faults: Vec<Fault>,
}

impl FaultPlan {
    /// A plan in which nothing goes wrong.
    pub fn new() -> FaultPlan {
        FaultPlan::default()
    }

    /// Where [`Fault::one_in`] draws from; 0 unless set.
    ///
    /// ```
    /// use testbench_overlay::pipeline::{Fault, FaultPlan, Operation};
    /// use testbench_overlay::{Errno, Overlay, fs, install};
    ///
    /// /// Which of a hundred files cannot be made.
    /// fn unlucky(seed: u64) -> Result<Vec<u32>, Box<dyn std::error::Error>> {
    ///     let dir = tempfile::tempdir()?;
    ///     let plan = FaultPlan::new()
    ///         .seed(seed)
    ///         .with(Fault::error(Errno::Io).on(Operation::Create).one_in(10));
    ///     let _installed = install(Overlay::builder(dir.path()).faults(plan).build()?);
    ///     let fails = |n: &u32| fs::write(dir.path().join(n.to_string()), "").is_err();
    ///     Ok((0..100).filter(fails).collect())
    /// }
    /// assert_eq!(unlucky(1)?, unlucky(1)?);
    /// assert_ne!(unlucky(1)?, unlucky(2)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn seed(mut self, seed: u64) -> FaultPlan {
        self.seed = seed;
        self
    }

    /// Adds a fault: this goes wrong, too.
    ///
    /// ```
    /// use testbench_overlay::Errno;
    /// use testbench_overlay::pipeline::{Fault, FaultPlan, Operation};
    ///
    /// let plan = FaultPlan::new()
    ///     .with(Fault::error(Errno::Io).on(Operation::Read).nth(1))
    ///     .with(Fault::error(Errno::Nospc).on(Operation::Write));
    /// assert_eq!(plan.faults().len(), 2);
    /// ```
    pub fn with(mut self, fault: Fault) -> FaultPlan {
        self.faults.push(fault);
        self
    }

    /// Returns the faults, in the order in which they were added.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl From<Fault> for FaultPlan {
    fn from(fault: Fault) -> FaultPlan {
        FaultPlan::new().with(fault)
    }
}

impl FromIterator<Fault> for FaultPlan {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> FaultPlan {
        FaultPlan { seed: 0, faults: faults.into_iter().collect() }
    }
}

/// How often a fault has had its chance. A fault that never fired tested nothing.
///
/// ```
/// use testbench_overlay::pipeline::{Fault, Operation};
/// use testbench_overlay::{Errno, Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let third = Fault::error(Errno::Io).on(Operation::Create).nth(3);
/// let overlay = Overlay::builder(dir.path()).faults(third).build()?;
/// let _installed = install(overlay.clone());
/// fs::write(dir.path().join("a"), "")?;
/// let count = &overlay.faults()[0];
/// assert_eq!((count.concerned, count.fired), (1, 0), "it tested nothing yet");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultCount {
    /// As it was planned.
    pub fault: Fault,
    /// How many operations it concerned.
    pub concerned: u64,
    /// How many of them it hit.
    pub fired: u64,
}

/// A plan at work.
#[derive(Debug)]
pub(super) struct Faults {
    seed: u64,
    rules: Vec<Rule>,
    counts: Mutex<Vec<Count>>,
}

#[derive(Clone, Debug)]
struct Rule {
    fault: Fault,
    pattern: Option<Pattern>,
}

#[derive(Clone, Debug, Default)]
struct Count {
    concerned: u64,
    fired: u64,
    /// The bytes written so far, for [`Effect::FullAfter`].
    bytes: u64,
    /// How often each operation came to each path, for [`When::OneIn`].
    by_path: BTreeMap<(Operation, RelPath), u64>,
}

/// The faults of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) wait: Duration,
    pub(super) error: Option<Errno>,
    /// How many of the bytes may be moved.
    pub(super) len: usize,
}

impl Faults {
    pub(super) fn new(plan: FaultPlan) -> Result<Faults, FaultError> {
        let rule = |fault: Fault| {
            fault.check()?;
            let pattern = fault.pattern.as_deref().map(Pattern::new).transpose()?;
            Ok(Rule { fault, pattern })
        };
        let rules: Vec<Rule> =
            plan.faults.into_iter().map(rule).collect::<Result<_, FaultError>>()?;
        let counts = Mutex::new(vec![Count::default(); rules.len()]);
        Ok(Faults { seed: plan.seed, rules, counts })
    }

    /// The same plan as far as it has got, for a fork.
    pub(super) fn fork(&self) -> Faults {
        let counts = Mutex::new(self.counts().clone());
        Faults { seed: self.seed, rules: self.rules.clone(), counts }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn report(&self) -> Vec<FaultCount> {
        let count = |(rule, count): (&Rule, &Count)| FaultCount {
            fault: rule.fault.clone(),
            concerned: count.concerned,
            fired: count.fired,
        };
        self.rules.iter().zip(self.counts().iter()).map(count).collect()
    }

    /// Counts the operation and says what goes wrong with it. Bytes that may be written are taken
    /// as written until [`Faults::settle`] says otherwise.
    pub(super) fn judge(&self, request: &Request) -> Verdict {
        let mut counts = self.counts();
        let mut verdict = Verdict { wait: Duration::ZERO, error: None, len: request.len };
        let mut full = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            if !rule.concerns(request) {
                continue;
            }
            let count = &mut counts[index];
            count.concerned += 1;
            if !self.hits(index, rule, count, request) {
                continue;
            }
            match rule.fault.effect {
                Effect::FullAfter(limit) => {
                    full.push((index, limit));
                    continue;
                }
                Effect::Error(errno) => verdict.error = verdict.error.or(Some(errno)),
                Effect::Latency(duration) => {
                    verdict.wait = verdict.wait.saturating_add(duration);
                }
                Effect::Short(len_max) => verdict.len = verdict.len.min(len_max),
            }
            count.fired += 1;
        }
        if verdict.error.is_none() {
            fill(&mut counts, &full, &mut verdict);
        }
        verdict
    }

    /// Takes back bytes that were not written after all: they do not count towards a full disk.
    pub(super) fn settle(&self, request: &Request, granted: usize, done: usize) {
        if granted == done || request.operation != Operation::Write {
            return;
        }
        let mut counts = self.counts();
        for (rule, count) in self.rules.iter().zip(counts.iter_mut()) {
            if matches!(rule.fault.effect, Effect::FullAfter(_)) && rule.concerns(request) {
                count.bytes = count.bytes.saturating_sub((granted - done) as u64);
            }
        }
    }

    fn hits(&self, index: usize, rule: &Rule, count: &mut Count, request: &Request) -> bool {
        let nth = count.concerned;
        match rule.fault.when {
            When::Always => true,
            When::Nth(n) => nth == n,
            When::FromNth(n) => nth >= n,
            When::Every(n) => nth.is_multiple_of(n),
            When::OneIn(n) => {
                let key = (request.operation, request.path.clone());
                let times = count.by_path.entry(key).or_insert(0);
                *times += 1;
                self.draw(index, request, *times).is_multiple_of(n)
            }
        }
    }

    /// A number that depends on nothing but the seed and what is asked for.
    fn draw(&self, index: usize, request: &Request, times: u64) -> u64 {
        let mut hasher = blake3::Hasher::new();
        for number in [self.seed, index as u64, times] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(request.operation.name().as_bytes());
        hasher.update(b"\0");
        hasher.update(request.path.as_bytes());
        let hash = hasher.finalize();
        u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }

    fn counts(&self) -> MutexGuard<'_, Vec<Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rule {
    fn concerns(&self, request: &Request) -> bool {
        let matches = |pattern: &Pattern| request.paths().any(|path| pattern.matches(path));
        self.fault.concerns(request.operation) && self.pattern.as_ref().is_none_or(matches)
    }
}

/// Cuts a write to what fits on every disk that it goes to, or fails it.
fn fill(counts: &mut [Count], full: &[(usize, u64)], verdict: &mut Verdict) {
    for (index, limit) in full {
        let room =
            usize::try_from(limit.saturating_sub(counts[*index].bytes)).unwrap_or(usize::MAX);
        if room < verdict.len {
            counts[*index].fired += 1;
            verdict.len = room;
            if room == 0 {
                verdict.error = Some(Errno::Nospc);
                return;
            }
        }
    }
    for (index, _) in full {
        counts[*index].bytes += verdict.len as u64;
    }
}

#[cfg(test)]
mod tests;
