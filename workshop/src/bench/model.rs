//! Predicts wall time on Lambda from CPU time here. docs/cold-start.md gives the reasons, and the distance to
//! published figures.

/// MB for one vCPU: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>
const VCPU_MB: f64 = 1769.0;

/// Lambda schedules CPU in periods of so many ms, as users observed:
/// <https://github.com/pwrdrvr/lambda-dispatch/issues/246>
const PERIOD_MS: f64 = 20.0;

/// A vCPU of Lambda is one of two threads of a core, so the model takes it as half as fast as a core here.
const SLOWER: f64 = 2.0;

/// Ms before `main`: the 14 ms published for the start of an SDK-free function at any size, less its CPU time.
const PLATFORM_MS: f64 = 11.0;

/// Ms on the network for a new connection and a first call: three round trips, and DynamoDB's own few ms.
const FIRST_CALL_MS: f64 = 5.0;

/// The sizes that the tables show, in MB.
pub const MEMORY_SIZES: [(&str, f64); 5] = [
    ("128", 128.0),
    ("256", 256.0),
    ("512", 512.0),
    ("1024", 1024.0),
    ("1769", VCPU_MB),
];

/// Ms of wall time that `cpu` ms here take at `memory` MB: after its share of a period, the process waits for the
/// next.
pub fn throttled(cpu: f64, memory: f64) -> f64 {
    let work = cpu * SLOWER;
    let share = (memory / VCPU_MB).min(1.0) * PERIOD_MS;
    work + (work / share).floor() * (PERIOD_MS - share)
}

/// Ms from the request to the first response of a new environment. Init runs on a whole vCPU at any memory size.
pub fn cold_start(init_cpu: f64, first_cpu: f64, calls: bool, memory: f64) -> f64 {
    let network = if calls { FIRST_CALL_MS } else { 0.0 };
    PLATFORM_MS + init_cpu * SLOWER + throttled(first_cpu, memory) + network
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_beyond_the_share_of_a_period_waits_for_the_next() {
        // 128 MB have 1.45 ms of each period.
        assert_eq!(throttled(0.5, 128.0), 1.0);
        let two_periods = throttled(1.0, 128.0);
        assert!(
            (two_periods - (2.0 + 20.0 - 128.0 / VCPU_MB * 20.0)).abs() < 1e-9,
            "{two_periods}"
        );
        assert_eq!(throttled(30.0, VCPU_MB), 60.0);
        assert_eq!(throttled(30.0, 3008.0), 60.0);
    }

    #[test]
    fn a_cold_start_is_the_platform_init_the_first_run_and_the_network() {
        assert_eq!(cold_start(2.0, 0.5, true, 128.0), 11.0 + 4.0 + 1.0 + 5.0);
        assert_eq!(cold_start(2.0, 0.5, false, 128.0), 11.0 + 4.0 + 1.0);
    }
}
