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
    rules: Mutex<Vec<Rule>>,
}

#[derive(Clone, Debug)]
struct Rule {
    count: FaultCount,
    pattern: Option<Pattern>,
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
            let count = FaultCount { fault, concerned: 0, fired: 0 };
            Ok(Rule { count, pattern, bytes: 0, by_path: BTreeMap::new() })
        };
        let rules: Result<_, FaultError> = plan.faults.into_iter().map(rule).collect();
        Ok(Faults { seed: plan.seed, rules: Mutex::new(rules?) })
    }

    /// The same plan as far as it has got, for a fork.
    pub(super) fn fork(&self) -> Faults {
        Faults { seed: self.seed, rules: Mutex::new(self.rules().clone()) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules().is_empty()
    }

    pub(super) fn report(&self) -> Vec<FaultCount> {
        self.rules().iter().map(|rule| rule.count.clone()).collect()
    }

    /// Counts the operation and says what goes wrong with it. Bytes that may be written are taken
    /// as written until [`Faults::settle`] says otherwise.
    pub(super) fn judge(&self, request: &Request) -> Verdict {
        let mut rules = self.rules();
        let mut verdict = Verdict { wait: Duration::ZERO, error: None, len: request.len };
        let mut disks = Vec::new();
        for (index, rule) in rules.iter_mut().enumerate() {
            if !rule.concerns(request) || !rule.hits(self.seed, index, request) {
                continue;
            }
            match rule.count.fault.effect {
                Effect::FullAfter(limit) => {
                    disks.push((rule, limit));
                    continue;
                }
                Effect::Error(errno) => verdict.error = verdict.error.or(Some(errno)),
                Effect::Latency(duration) => {
                    verdict.wait = verdict.wait.saturating_add(duration);
                }
                Effect::Short(len_max) => verdict.len = verdict.len.min(len_max),
            }
            rule.count.fired += 1;
        }
        if verdict.error.is_none() {
            fill(disks, &mut verdict);
        }
        verdict
    }

    /// Takes back bytes that were not written after all: they do not count towards a full disk.
    pub(super) fn settle(&self, request: &Request, granted: usize, done: usize) {
        if granted == done || request.operation != Operation::Write {
            return;
        }
        for rule in self.rules().iter_mut().filter(|rule| rule.concerns(request)) {
            if let Effect::FullAfter(_) = rule.count.fault.effect {
                rule.bytes = rule.bytes.saturating_sub((granted - done) as u64);
            }
        }
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rule {
    fn concerns(&self, request: &Request) -> bool {
        let matches = |pattern: &Pattern| request.paths().any(|path| pattern.matches(path));
        self.count.fault.concerns(request.operation) && self.pattern.as_ref().is_none_or(matches)
    }

    /// Counts an operation that the fault concerns. Returns whether it is one that it hits.
    fn hits(&mut self, seed: u64, index: usize, request: &Request) -> bool {
        self.count.concerned += 1;
        let nth = self.count.concerned;
        match self.count.fault.when {
            When::Always => true,
            When::Nth(n) => nth == n,
            When::FromNth(n) => nth >= n,
            When::Every(n) => nth.is_multiple_of(n),
            When::OneIn(n) => {
                let key = (request.operation, request.path.clone());
                let times = self.by_path.entry(key).or_insert(0);
                *times += 1;
                draw([seed, index as u64, *times], request).is_multiple_of(n)
            }
        }
    }
}

/// A number that depends on nothing but the seed and what is asked for.
fn draw(numbers: [u64; 3], request: &Request) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(request.operation.name().as_bytes());
    hasher.update(b"\0");
    hasher.update(request.path.as_bytes());
    let hash = hasher.finalize();
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

/// Cuts a write to what fits on every disk that it goes to, or fails it.
fn fill(mut disks: Vec<(&mut Rule, u64)>, verdict: &mut Verdict) {
    for (rule, limit) in &mut disks {
        let room = usize::try_from(limit.saturating_sub(rule.bytes)).unwrap_or(usize::MAX);
        if room < verdict.len {
            rule.count.fired += 1;
            verdict.len = room;
            if room == 0 {
                verdict.error = Some(Errno::Nospc);
                return;
            }
        }
    }
    for (rule, _) in disks {
        rule.bytes += verdict.len as u64;
    }
}

#[cfg(test)]
mod tests;
