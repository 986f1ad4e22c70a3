//! How long work takes with a share of a vCPU.
//!
//! Lambda gives an environment, in each period, as much CPU time as its memory buys; work beyond it
//! waits for the next period. Nothing here slows a process down. Its CPU time is read at the moments
//! at which it talks to this host, and an answer is held back until the work would be done.

use std::time::{Duration, Instant};

/// The CPU of one environment, from one moment at which it talks to this host to the next.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    /// Seconds.
    period: f64,
    /// CPU time in each period, in seconds. More than the period is several threads at once.
    quota: f64,
    /// CPU time on Lambda for one unit of CPU time here.
    factor: f64,
    /// A moment at which a period starts.
    phase: Instant,
    /// The work up to here is accounted for. Later than now while an answer is held back.
    at: Instant,
    /// CPU time used in the period of `at`, in seconds.
    spent: f64,
    /// CPU time of the processes that is accounted for.
    cpu: Duration,
}

impl Share {
    /// A share of `vcpus` from now on. `phase` is the part of the period that has passed, 0 to 1.
    pub(crate) fn new(
        period: Duration,
        vcpus: f64,
        factor: f64,
        phase: f64,
        now: Instant,
    ) -> Share {
        let period_s = period.as_secs_f64();
        Share {
            period: period_s,
            quota: period_s * vcpus,
            factor,
            phase: now.checked_sub(period.mul_f64(phase)).unwrap_or(now),
            at: now,
            spent: 0.0,
            cpu: Duration::ZERO,
        }
    }

    /// From now on this share.
    pub(crate) fn set(&mut self, vcpus: f64) {
        self.quota = self.period * vcpus;
    }

    /// The moment at which the work done by `now` would be done on Lambda, `cpu` being the CPU time
    /// of the processes so far. Never before `now`: this machine cannot be made faster.
    ///
    /// Work is counted as if it came before the time in which the process did nothing.
    pub(crate) fn advance(&mut self, now: Instant, cpu: Duration) -> Instant {
        let real = cpu.saturating_sub(self.cpu).as_secs_f64();
        self.cpu = self.cpu.max(cpu);
        let wall = now.saturating_duration_since(self.at).as_secs_f64();
        // Threads that ran at one time.
        let threads = if wall > 0.0 {
            (real / wall).max(1.0)
        } else {
            1.0
        };
        let idle = (wall - real / threads).max(0.0);
        let speed = threads.min((self.quota / self.period).max(1.0));
        let end = self.work(real * self.factor, speed);
        let end = self.at + Duration::from_secs_f64(end + idle);
        self.move_to(end.max(now));
        self.at
    }

    /// Seconds from `at` until so many seconds of CPU time are used.
    fn work(&mut self, mut work: f64, speed: f64) -> f64 {
        let begin = self.at.saturating_duration_since(self.phase).as_secs_f64();
        let (mut time, mut period) = (begin, (begin / self.period).floor());
        while work > 1e-9 {
            let end = (period + 1.0) * self.period;
            let left = (self.quota - self.spent).min((end - time) * speed);
            if left >= work {
                self.spent += work;
                time += work / speed;
                break;
            }
            work -= left.max(0.0);
            (time, period, self.spent) = (end, period + 1.0, 0.0);
        }
        time - begin
    }

    fn move_to(&mut self, at: Instant) {
        let period = |at: Instant| {
            let since = at.saturating_duration_since(self.phase).as_secs_f64();
            (since / self.period).floor()
        };
        if period(at) > period(self.at) && at > self.at {
            self.spent = 0.0;
        }
        self.at = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(20);

    fn ms(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1e3)
    }

    /// Milliseconds that so many milliseconds of CPU time take, if they begin with a period.
    fn takes(cpu: f64, vcpus: f64) -> f64 {
        let start = Instant::now();
        let mut share = Share::new(PERIOD, vcpus, 1.0, 0.0, start);
        let done = share.advance(start + ms(cpu), ms(cpu));
        (done - start).as_secs_f64() * 1e3
    }

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 0.01
    }

    #[test]
    fn work_beyond_the_share_waits_for_the_next_period() {
        let small = 128.0 / 1769.0; // 1.447 ms in 20 ms
        assert!(near(takes(1.0, small), 1.0));
        assert!(near(takes(2.0, small), 20.0 + 2.0 - 20.0 * small));
        assert!(near(
            takes(30.0, small),
            20.0 * 20.0 + 30.0 - 20.0 * 20.0 * small
        ));
        assert!(near(takes(30.0, 1.0), 30.0));
    }

    #[test]
    fn the_time_of_long_work_halves_as_the_memory_doubles_but_not_beyond_a_vcpu() {
        let time = |mb: f64| takes(2_000.0, mb / 1769.0);
        for mb in [128.0, 256.0, 512.0] {
            let ratio = time(mb) / time(2.0 * mb);
            assert!((ratio - 2.0).abs() < 0.05, "{mb}: {ratio}");
        }
        assert!(near(time(1769.0), 2_000.0));
        assert!(
            near(time(3538.0), 2_000.0),
            "one thread has one vCPU at most"
        );
    }

    #[test]
    fn two_threads_use_two_vcpus_where_the_memory_buys_them() {
        let run = |vcpus| {
            let start = Instant::now();
            let mut share = Share::new(PERIOD, vcpus, 1.0, 0.0, start);
            let done = share.advance(start + ms(50.0), ms(100.0));
            (done - start).as_secs_f64() * 1e3
        };
        assert!(near(run(2.0), 50.0));
        assert!(near(run(1.0), 100.0));
    }

    #[test]
    fn waiting_costs_no_cpu_and_a_new_period_brings_a_new_share() {
        let start = Instant::now();
        let mut share = Share::new(PERIOD, 0.1, 1.0, 0.0, start);
        // 1.5 ms of work, then 5 ms of waiting, within a share of 2 ms.
        let done = share.advance(start + ms(6.5), ms(1.5));
        assert!(near((done - start).as_secs_f64() * 1e3, 6.5));
        // 1 ms more at 6.5 ms: half of it is left, the rest is for the next period.
        let done = share.advance(start + ms(7.5), ms(2.5));
        assert!(near((done - start).as_secs_f64() * 1e3, 20.5));
        // It sleeps until 45 ms and has a whole share again.
        let done = share.advance(start + ms(45.0), ms(2.5));
        assert!(near((done - start).as_secs_f64() * 1e3, 45.0));
        let done = share.advance(start + ms(46.5), ms(4.0));
        assert!(near((done - start).as_secs_f64() * 1e3, 46.5));
    }

    #[test]
    fn the_phase_decides_how_much_of_the_first_period_is_left() {
        let start = Instant::now();
        let mut share = Share::new(PERIOD, 0.1, 1.0, 0.9, start);
        // 2 ms are left of the period, and a share of 2 ms; then the next begins at once.
        let done = share.advance(start + ms(4.0), ms(4.0));
        assert!(near((done - start).as_secs_f64() * 1e3, 4.0));
    }

    #[test]
    fn a_slower_vcpu_takes_longer_and_a_faster_one_no_less_than_here() {
        let run = |factor| {
            let start = Instant::now();
            let mut share = Share::new(PERIOD, 1.0, factor, 0.0, start);
            let done = share.advance(start + ms(10.0), ms(10.0));
            (done - start).as_secs_f64() * 1e3
        };
        assert!(near(run(1.5), 15.0));
        assert!(near(run(0.5), 10.0));
    }
}
