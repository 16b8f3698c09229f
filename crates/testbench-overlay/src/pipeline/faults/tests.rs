//! The effect of a plan on operations.

use super::*;

fn run(plan: impl Into<FaultPlan>, requests: &[Request]) -> Vec<Verdict> {
    let faults = Faults::new(plan.into()).unwrap();
    requests.iter().map(|request| faults.judge(request)).collect()
}

fn writes(path: &str, lens: &[usize]) -> Vec<Request> {
    let path = RelPath::TOP.join(path.as_bytes());
    let write = |len: &usize| Request { len: *len, ..Request::new(Operation::Write, path.clone()) };
    lens.iter().map(write).collect()
}

#[test]
fn a_fault_hits_the_operations_it_is_about() {
    let errors = |fault: Fault| -> Vec<bool> {
        let verdicts = run(fault, &writes("a", &[1; 6]));
        verdicts.iter().map(|verdict| verdict.error.is_some()).collect()
    };
    let io = || Fault::error(Errno::Io);
    assert_eq!(errors(io()), [true; 6]);
    assert_eq!(errors(io().on(Operation::Read)), [false; 6]);
    assert_eq!(errors(io().at("b")), [false; 6]);
    assert_eq!(errors(io().nth(2)), [false, true, false, false, false, false]);
    assert_eq!(errors(io().from_nth(5)), [false, false, false, false, true, true]);
    assert_eq!(errors(io().every(3)), [false, false, true, false, false, true]);
}

#[test]
fn a_disk_is_full_at_a_byte() {
    let lens: Vec<(usize, Option<Errno>)> = run(Fault::full_after(10), &writes("a", &[4, 4, 4, 1]))
        .iter()
        .map(|verdict| (verdict.len, verdict.error))
        .collect();
    assert_eq!(lens, [(4, None), (4, None), (2, None), (0, Some(Errno::Nospc))]);
    let faults = Faults::new(Fault::full_after(10).into()).unwrap();
    let [request] = &writes("a", &[10])[..] else { unreachable!() };
    assert_eq!(faults.judge(request).len, 10);
    faults.settle(request, 10, 3);
    assert_eq!(faults.judge(request).len, 7);
}

#[test]
fn what_is_drawn_depends_on_seed_and_path_alone() {
    let plan = |seed| FaultPlan::new().seed(seed).with(Fault::error(Errno::Io).one_in(4));
    let requests = |order: [&str; 2]| -> Vec<Request> {
        (0..200).flat_map(|_| order.map(|path| writes(path, &[1]).remove(0))).collect()
    };
    let hits = |seed, order: [&str; 2]| {
        let requests = requests(order);
        let verdicts = run(plan(seed), &requests);
        let of = |path: &str| -> Vec<bool> {
            let both = requests.iter().zip(&verdicts);
            both.filter(|(r, _)| r.path.as_bytes() == path.as_bytes())
                .map(|(_, v)| v.error.is_some())
                .collect()
        };
        [of("a"), of("b")]
    };
    let [a, b] = hits(1, ["a", "b"]);
    assert_eq!([a.clone(), b.clone()], hits(1, ["b", "a"]));
    assert_ne!([a.clone(), b], hits(2, ["a", "b"]));
    let fired = a.iter().filter(|hit| **hit).count();
    assert!((20..80).contains(&fired), "{fired} of 200");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let error = |fault: Fault| Faults::new(fault.into()).unwrap_err();
    assert_eq!(error(Fault::error(Errno::Io).nth(0)), FaultError::Zeroth);
    assert_eq!(error(Fault::short(0)), FaultError::ShortOfNothing);
    assert_eq!(error(Fault::short(1).on(Operation::Stat)), FaultError::NoOperation);
    assert!(matches!(error(Fault::short(1).at("[")), FaultError::Pattern(_)));
}

#[test]
fn several_faults_add_up() {
    let plan = FaultPlan::new()
        .with(Fault::latency(Duration::from_secs(1)))
        .with(Fault::latency(Duration::from_secs(2)))
        .with(Fault::short(5))
        .with(Fault::short(3))
        .with(Fault::full_after(100));
    let verdict = run(plan, &writes("a", &[50]))[0];
    let wait = Duration::from_secs(3);
    assert_eq!(verdict, Verdict { wait, error: None, len: 3 });
}
