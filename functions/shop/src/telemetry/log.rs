//! Logs: one JSON object a line on stdout, where Lambda collects them.

use tracing::level_filters::LevelFilter;

use crate::cold_start::JsonLog;

/// Sends the program's logs, panics included, to stdout. Call it first in `main`.
///
/// The level is `INFO`, or the one in `AWS_LAMBDA_LOG_LEVEL`, see [`level`].
pub fn init() {
    let level = level(std::env::var("AWS_LAMBDA_LOG_LEVEL").ok().as_deref());
    let function = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    // Provisioned concurrency starts environments ahead of their first invocation.
    let ahead = std::env::var("AWS_LAMBDA_INITIALIZATION_TYPE")
        .is_ok_and(|kind| kind == "provisioned-concurrency");
    let log = JsonLog::new(function, level, !ahead, Box::new(std::io::stdout()));
    // It fails only if a subscriber is set already, which then receives the logs.
    let _ = tracing::subscriber::set_global_default(log);
    // A panic is logged like any event. By default it goes to stderr, as plain text.
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "panicked")));
}

/// Reads a level as Lambda writes it into `AWS_LAMBDA_LOG_LEVEL`, from the function's
/// [logging configuration](https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html).
///
/// - `FATAL` writes what `ERROR` does: `tracing` has no level above it.
/// - `DEBUG` writes what `INFO` does in a release: events below `INFO` are not compiled in (the feature
///   `release_max_level_info` in `Cargo.toml`).
/// - `TRACE` is treated as `DEBUG`: at `TRACE`, `lambda_runtime` writes whole events, with the
///   credentials that clients send.
fn level(name: Option<&str>) -> LevelFilter {
    match name {
        Some("FATAL") => LevelFilter::ERROR,
        Some(name) => name
            .parse()
            .map_or(LevelFilter::INFO, |level: LevelFilter| {
                level.min(LevelFilter::DEBUG)
            }),
        None => LevelFilter::INFO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_of_lambda_writes_at_least_what_the_next_higher_one_does() {
        let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

        let read = levels.map(|name| level(Some(name)));

        assert!(
            read.is_sorted_by(|lower, higher| lower >= higher),
            "{read:?}"
        );
        assert_eq!(read[0], LevelFilter::DEBUG);
        assert_eq!(read[5], LevelFilter::ERROR);
        assert_eq!(level(None), LevelFilter::INFO);
        assert_eq!(level(Some("chatty")), LevelFilter::INFO);
    }
}
