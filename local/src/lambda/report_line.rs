//! The lines that Lambda itself writes to a function's log.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// How an invocation or an init phase failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    Timeout,
    Error(String),
}

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Status::Timeout => write!(f, "Status: timeout"),
            Status::Error(error_type) => write!(f, "Status: error\tError Type: {error_type}"),
        }
    }
}

/// `END` and `REPORT` of one invocation.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) request_id: &'a str,
    pub(super) duration: Duration,
    /// The init phase, on the first invocation of an environment.
    pub(super) init: Option<InitReport>,
    pub(super) memory_size_mb: u32,
    /// Highest resident memory of the environment so far, in bytes.
    pub(super) max_memory_used: u64,
    /// CPU time of this invocation; unknown once the process is gone.
    pub(super) cpu: Option<Duration>,
    pub(super) status: Option<Status>,
}

/// A successful init phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InitReport {
    pub(super) duration: Duration,
    pub(super) cpu: Option<Duration>,
    /// Init of provisioned concurrency is billed by the hour, not by invocation.
    pub(super) billed: bool,
}

impl Display for Report<'_> {
    /// In
    /// [Lambda's format](https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html): each
    /// field ends with a tab. Only this host writes the CPU times at the end.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let billed_init = self
            .init
            .filter(|init| init.billed)
            .map_or(Duration::ZERO, |init| init.duration);
        writeln!(f, "END RequestId: {}", self.request_id)?;
        write!(f, "REPORT RequestId: {}\t", self.request_id)?;
        write!(f, "Duration: {:.2} ms\t", millis(self.duration))?;
        // Custom runtimes have always been billed for init; since August 2025 all are.
        // https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/
        write!(
            f,
            "Billed Duration: {} ms\t",
            whole_millis(self.duration + billed_init)
        )?;
        write!(f, "Memory Size: {} MB\t", self.memory_size_mb)?;
        write!(
            f,
            "Max Memory Used: {} MB\t",
            self.max_memory_used.div_ceil(1024 * 1024)
        )?;
        if let Some(init) = self.init {
            write!(f, "Init Duration: {:.2} ms\t", millis(init.duration))?;
        }
        if let Some(status) = &self.status {
            write!(f, "{status}\t")?;
        }
        if let Some(cpu) = self.cpu {
            write!(f, "CPU Time: {:.2} ms\t", millis(cpu))?;
        }
        if let Some(cpu) = self.init.and_then(|init| init.cpu) {
            write!(f, "Init CPU Time: {:.2} ms\t", millis(cpu))?;
        }
        writeln!(f)
    }
}

/// `INIT_REPORT`, which Lambda writes for an init phase that failed.
#[derive(Debug)]
pub(super) struct FailedInit {
    pub(super) duration: Duration,
    /// `init`, or `invoke` for a second try inside an invocation.
    pub(super) phase: &'static str,
    pub(super) status: Status,
}

impl Display for FailedInit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let FailedInit {
            duration,
            phase,
            status,
        } = self;
        writeln!(
            f,
            "INIT_REPORT Init Duration: {:.2} ms\tPhase: {phase}\t{status}\t",
            millis(*duration)
        )
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn whole_millis(duration: Duration) -> u128 {
    duration.as_nanos().div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report<'static> {
        Report {
            request_id: "8476a536",
            duration: Duration::from_micros(1440),
            init: None,
            memory_size_mb: 512,
            max_memory_used: 15_000_000,
            cpu: Some(Duration::from_micros(440)),
            status: None,
        }
    }

    #[test]
    fn a_warm_report_has_the_fields_of_lambda_and_then_cpu_time() {
        assert_eq!(
            report().to_string(),
            "END RequestId: 8476a536\n\
             REPORT RequestId: 8476a536\tDuration: 1.44 ms\tBilled Duration: 2 ms\t\
             Memory Size: 512 MB\tMax Memory Used: 15 MB\tCPU Time: 0.44 ms\t\n"
        );
    }

    #[test]
    fn a_cold_report_bills_init() {
        let init = InitReport {
            duration: Duration::from_micros(18_450),
            cpu: Some(Duration::from_micros(1900)),
            billed: true,
        };
        let cold = Report {
            init: Some(init),
            ..report()
        }
        .to_string();
        assert!(cold.contains("Billed Duration: 20 ms\t"), "{cold}");
        assert!(
            cold.ends_with(
                "\tInit Duration: 18.45 ms\tCPU Time: 0.44 ms\tInit CPU Time: 1.90 ms\t\n"
            ),
            "{cold}"
        );
    }

    #[test]
    fn a_failed_invocation_reports_its_status_after_the_fields_of_lambda() {
        let timeout = Report {
            cpu: None,
            status: Some(Status::Timeout),
            ..report()
        }
        .to_string();
        assert!(
            timeout.ends_with("Max Memory Used: 15 MB\tStatus: timeout\t\n"),
            "{timeout}"
        );
        let failed = FailedInit {
            duration: Duration::from_millis(12),
            phase: "init",
            status: Status::Error("Runtime.ExitError".to_owned()),
        };
        assert_eq!(
            failed.to_string(),
            "INIT_REPORT Init Duration: 12.00 ms\tPhase: init\tStatus: error\tError Type: Runtime.ExitError\t\n"
        );
    }
}
