//! What an invocation is given and pays: memory, the first request of an environment, and the log.

use std::collections::BTreeMap;

use local::events::Invocation;

use super::seen::{Function, Run};
use super::{Finding, Known, LEAST, Rule};
use crate::percentile::{ms, percentile};
use crate::report::model::short;
use crate::report::money::Money;

/// MB that buy one vCPU (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
const VCPU_MB: f64 = 1769.0;

/// The period in which an environment gets its share, in ms: `docs/conditions.md`.
const PERIOD_MS: f64 = 20.0;

/// MB of the smallest function.
const SMALLEST_MB: f64 = 128.0;

/// Of the duration, held back by the share of a CPU: most of it.
const HELD: f64 = 0.5;

/// Of the duration, at work or held back. Twice the memory halves this part at the same price, and doubles the price of
/// the rest, which is then a tenth at most.
const WORKING: f64 = 0.9;

/// So many times the memory that would do. Twice is a margin; of four times, three quarters are paid for nothing.
const TOO_LARGE: f64 = 4.0;

/// Of a smaller memory, what the function has used at most. The other half is a margin.
const FILLED: f64 = 0.5;

/// CPU time for each ms in which a function neither waits for a call nor for its share: a thread has one. The tenth more is
/// what measuring and the runtime's own threads add.
const ONE_THREAD: f64 = 1.1;

/// Ms that a first request is held back longer than others. The workshop's aim is an answer within 100 ms, and this alone
/// takes all of it.
const COLD_HELD_MS: f64 = 100.0;

/// Environments. One may have been started while the machine was busy, two may be a pair.
const COLD_STARTS: usize = 3;

const MILLION: f64 = 1e6;

/// Memory that makes a function slow and no cheaper, or dear and no quicker. Warm invocations count.
pub fn memory(function: &Function<'_>, known: &Known<'_>) -> Option<Finding> {
    let warm: Vec<_> = function.warm().map(|it| it.invocation).collect();
    let factor = known.conditions?.cpu_factor;
    if warm.len() < LEAST {
        return None;
    }
    let mb = f64::from(warm[0].memory_mb);
    let sum = |of: &dyn Fn(&Invocation) -> f64| -> f64 { warm.iter().map(|it| of(it)).sum() };
    let (took, held) = (sum(&|it| ms(it.duration)), sum(&|it| ms(it.held)));
    let cpu = sum(&|it| it.cpu.map_or(0.0, ms));
    let (name, count) = (function.name, warm.len());
    // A single thread gains nothing beyond one vCPU.
    if 2.0 * mb <= VCPU_MB && held / took >= HELD && (held + cpu) / took >= WORKING {
        let share = 100.0 * held / took;
        let says = format!(
            "{name} waits {} % of its time for its share of a CPU at {mb} MB, in {count} invocations: with {} MB it would take about half as long, at nearly the same price.",
            short(share),
            2.0 * mb,
        );
        return Some(Rule::Memory.finding(name, share, says));
    }
    let each_ms: Vec<_> = warm.iter().filter_map(|it| it.cpu.map(ms)).collect();
    let work_ms = percentile(&each_ms, 99.0)? * factor;
    let most_mb = warm
        .iter()
        .map(|it| it.peak_memory)
        .max()?
        .div_ceil(1024 * 1024);
    let filled = (most_mb as f64 / FILLED).max(SMALLEST_MB);
    // So much buys the work of an invocation within one period, so that nothing is held back.
    let for_cpu = work_ms / PERIOD_MS * VCPU_MB;
    // CPU time and clock are both this machine's, so its factor is no part of it.
    let one_thread = || {
        let fits = |it: &Run<'_>| {
            let cpu = it.invocation.cpu.map(ms);
            cpu.is_some_and(|cpu| cpu <= ONE_THREAD * it.own_ms())
        };
        function.warm().all(fits)
    };
    let (would_do, why) = if mb >= TOO_LARGE * for_cpu.max(filled) {
        let (works, waits) = (short(cpu / count as f64), short(took / count as f64));
        let why = format!("works {works} ms of the {waits} that it waits and is paid for");
        (mb / TOO_LARGE, why)
    } else if mb > VCPU_MB && filled <= VCPU_MB && one_thread() {
        let why = format!(
            "in {count} invocations never works on more than one vCPU, beyond which one thread gets no quicker"
        );
        (VCPU_MB, why)
    } else {
        return None;
    };
    let gb_second = known.prices.gb_second(known.architecture).ok()?;
    let usd =
        MILLION * sum(&|it| ms(it.duration).ceil()) / count as f64 / 1e3 * mb / 1024.0 * gb_second;
    let saved = usd * (1.0 - would_do / mb);
    // Less than the fee for the invocations themselves is not worth a change.
    if saved < MILLION * known.prices.usd("lambda_request").ok()? {
        return None;
    }
    let says = format!(
        "{name} has {mb} MB, and {why}: {would_do} MB would take as long, and save ${} a million.",
        short(saved),
    );
    Some(Rule::Memory.finding(name, saved, says))
}

/// First requests that are held back by their share of a CPU, for work that init would do with a whole one. What later
/// requests wait as well is no part of it.
pub fn cold_start(function: &Function<'_>) -> Option<Finding> {
    let held = |cold: bool| {
        let runs = function.runs.iter().map(|it| it.invocation);
        let runs = runs.filter(|it| it.cold == cold);
        runs.map(|it| ms(it.held)).collect::<Vec<_>>()
    };
    let (first, later) = (held(true), held(false));
    let longer = percentile(&first, 50.0)? - percentile(&later, 50.0).unwrap_or_default();
    if first.len() < COLD_STARTS || longer < COLD_HELD_MS {
        return None;
    }
    let name = function.name;
    let says = format!(
        "The first request of each environment of {name} waits {} ms for its share of a CPU, in {} cold starts: init does the same work with a whole one, so make the clients and their first connections there.",
        short(longer),
        first.len(),
    );
    Some(Rule::ColdStart.finding(name, longer, says))
}

/// A log that costs more than its runs with all their calls, by what the function itself prints: Lambda's own lines come in any
/// case.
pub fn log_costs(function: &Function<'_>, known: &Known<'_>) -> Option<Finding> {
    let warm: Vec<_> = function.warm().collect();
    if warm.len() < LEAST {
        return None;
    }
    let count = warm.len() as f64;
    let mean = |of: &dyn Fn(&Invocation) -> f64| -> f64 {
        warm.iter().map(|it| of(it.invocation)).sum::<f64>() / count
    };
    let name = function.name;
    let memory = BTreeMap::from([(name.to_owned(), f64::from(warm[0].invocation.memory_mb))]);
    let money = Money::new(known.prices.clone(), known.architecture, memory)?;
    let calls = warm.iter().flat_map(|it| &it.calls);
    let calls: Option<f64> = calls.map(|it| money.call(it.call)).sum();
    let runs = money.run(name, mean(&|it| ms(it.duration).ceil()))? + calls? / count;
    let bytes = mean(&|it| it.log_bytes as f64);
    let log = MILLION * bytes / 1e9 * known.prices.usd("log_gb").ok()?;
    if log <= runs {
        return None;
    }
    let says = format!(
        "{name} prints {} bytes {}: ${} a million, more than the ${} of the runs themselves with all their calls.",
        bytes.round(),
        function.each(),
        short(log),
        short(runs),
    );
    Some(Rule::LogCosts.finding(name, log, says))
}

#[cfg(test)]
mod tests {
    use local::events::{Call, Event};

    use super::super::seen::tests::{Made, get, ms};

    /// Invocations of this memory, duration, CPU time and time held back.
    fn runs(count: usize, memory_mb: u32, took: f64, cpu: f64, held: f64) -> Made {
        let mut made = Made::default();
        for _ in 0..count {
            let run = made.run(&[]);
            run.memory_mb = memory_mb;
            (run.duration, run.cpu, run.held) = (ms(took), Some(ms(cpu)), ms(held));
        }
        made
    }

    #[test]
    fn a_function_that_waits_for_its_cpu_most_of_its_time_is_found() {
        let says = "F waits 80 % of its time for its share of a CPU at 256 MB, in 5 invocations: with 512 MB it would take about half as long, at nearly the same price.";
        let found = runs(5, 256, 100.0, 15.0, 80.0);
        found.finds("memory", says);
        assert_eq!(found.found_bare(), []);
        runs(4, 256, 100.0, 15.0, 80.0).finds_nothing();
        // Half of its time, and a tenth that more memory would not shorten.
        assert_eq!(runs(5, 256, 100.0, 40.0, 50.0).found().len(), 1);
        runs(5, 256, 100.0, 41.0, 49.0).finds_nothing();
        runs(5, 256, 100.0, 39.0, 50.0).finds_nothing();
        // Of these, twice would be more than one vCPU.
        assert_eq!(runs(5, 884, 100.0, 40.0, 50.0).found().len(), 1);
        runs(5, 885, 100.0, 40.0, 50.0).finds_nothing();
    }

    #[test]
    fn memory_that_buys_nothing_is_found_if_it_costs_more_than_the_invocations() {
        runs(5, 1024, 50.0, 2.0, 0.0).finds(
            "memory",
            "F has 1024 MB, and works 2 ms of the 50 that it waits and is paid for: 256 MB would take as long, and save $0.625 a million.",
        );
        runs(4, 1024, 50.0, 2.0, 0.0).finds_nothing();
        // 2.8 ms in each 20 are what 256 MB buy.
        assert_eq!(runs(5, 1024, 50.0, 2.8, 0.0).found().len(), 1);
        runs(5, 1024, 50.0, 3.0, 0.0).finds_nothing();
        // A quarter of 511 MB does not exist, and $0.2 is the fee of a million invocations.
        runs(5, 511, 50.0, 1.0, 0.0).finds_nothing();
        assert_eq!(runs(5, 512, 50.0, 1.0, 0.0).found().len(), 1);
        assert_eq!(runs(5, 512, 32.0, 1.0, 0.0).found().len(), 1);
        runs(5, 512, 31.0, 1.0, 0.0).finds_nothing();
    }

    #[test]
    fn more_than_a_vcpu_for_one_thread_is_found_if_it_costs_more_than_the_invocations() {
        runs(5, 3008, 100.0, 95.0, 0.0).finds(
            "memory",
            "F has 3008 MB, and in 5 invocations never works on more than one vCPU, beyond which one thread gets no quicker: 1769 MB would take as long, and save $2.02 a million.",
        );
        runs(4, 3008, 100.0, 95.0, 0.0).finds_nothing();
        runs(5, 1769, 100.0, 95.0, 0.0).finds_nothing();
        // Two threads, in one of five.
        let mut made = runs(4, 3008, 100.0, 95.0, 0.0);
        let run = made.run(&[]);
        (run.memory_mb, run.duration, run.cpu) = (3008, ms(100.0), Some(ms(111.0)));
        made.finds_nothing();
        // What it waits for, 4 ms for a call and the rest for its share, is no time in which it works.
        let waiting = |cpu: f64| {
            let mut made = Made::default();
            for _ in 0..5 {
                let run = made.run(&[&[get("Things"), get("Others")]]);
                (run.memory_mb, run.duration) = (3008, ms(100.0));
                (run.cpu, run.held) = (Some(ms(cpu)), ms(6.0));
            }
            made.found().len()
        };
        assert_eq!((waiting(98.0), waiting(100.0)), (1, 0));
        // The memory is used.
        for (used, found) in [(884, 1), (885, 0)] {
            let mut made = runs(5, 3008, 100.0, 95.0, 0.0);
            for entry in &mut made.entries {
                if let Event::Invocation(it) = &mut entry.event {
                    it.peak_memory = used * 1024 * 1024;
                }
            }
            assert_eq!(made.found().len(), found, "{used}");
        }
        // $0.2 is the fee of a million invocations.
        assert_eq!(runs(5, 1900, 100.0, 95.0, 0.0).found().len(), 1);
        runs(5, 1900, 90.0, 85.0, 0.0).finds_nothing();
    }

    #[test]
    fn memory_that_is_used_is_not_too_large() {
        for (used, found) in [(128, 1), (129, 0)] {
            let mut made = runs(4, 1024, 50.0, 2.0, 0.0);
            let run = made.run(&[]);
            (run.memory_mb, run.peak_memory) = (1024, used * 1024 * 1024);
            assert_eq!(made.found().len(), found, "{used}");
        }
    }

    #[test]
    fn first_requests_that_wait_a_hundred_ms_longer_are_found_in_three_cold_starts() {
        let cold = |count: usize, held_ms: f64| {
            let mut made = Made::default();
            for _ in 0..count {
                made.cold(held_ms);
            }
            made
        };
        cold(3, 100.0).finds(
            "cold-start",
            "The first request of each environment of F waits 100 ms for its share of a CPU, in 3 cold starts: init does the same work with a whole one, so make the clients and their first connections there.",
        );
        cold(2, 100.0).finds_nothing();
        cold(3, 99.0).finds_nothing();
        // Later requests wait as well.
        let mut made = cold(3, 100.0);
        for _ in 0..5 {
            let run = made.run(&[]);
            (run.duration, run.held) = (ms(90.0), ms(1.0));
        }
        made.finds_nothing();
    }

    #[test]
    fn a_log_is_found_that_costs_more_than_its_runs_and_their_calls() {
        // 10 ms of 256 MB are $0.042 a million, with the fee $0.242: 483 bytes.
        let printing = |count: usize, bytes: u64, calls: &[&[Call]]| {
            let mut made = Made::default();
            for _ in 0..count {
                made.run(calls).log_bytes = bytes;
            }
            made
        };
        printing(5, 484, &[]).finds(
            "log-costs",
            "F prints 484 bytes a request: $0.242 a million, more than the $0.242 of the runs themselves with all their calls.",
        );
        printing(5, 483, &[]).finds_nothing();
        printing(4, 5000, &[]).finds_nothing();
        // Half a read unit is $0.063 a million: 125 bytes more.
        let read = [Call {
            read_units: 0.5,
            ..get("Things")
        }];
        printing(5, 608, &[&read]).finds_nothing();
        assert_eq!(printing(5, 609, &[&read]).found().len(), 1);
        let mut made = printing(5, 0, &[]);
        made.cold(0.0).log_bytes = 50_000;
        made.finds_nothing();
    }
}
