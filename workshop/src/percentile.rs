//! Percentiles of values that were measured.

use std::collections::BTreeMap;
use std::time::Duration;

/// A time in milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

/// The nearest-rank percentile: the smallest of `values` that is not exceeded by at least `percent` % of them.
/// Exact, never interpolated; `None` if there are no values.
pub fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Multiplied first: 99.9 / 100 is a little more than it should be.
    let rank = (percent * sorted.len() as f64 / 100.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The largest value; `None` if there are none.
pub fn worst(values: &[f64]) -> Option<f64> {
    percentile(values, 100.0)
}

/// The figures of a histogram, exact, by Artillery's names.
pub fn figures(values: &[f64]) -> BTreeMap<String, f64> {
    let figures = [("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("max", 100.0)];
    let known =
        figures.map(|(name, percent)| Some((name.to_owned(), percentile(values, percent)?)));
    known.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values = [15.0, 20.0, 35.0, 40.0, 50.0];
        let found =
            [5.0, 30.0, 40.0, 50.0, 99.0, 100.0].map(|percent| percentile(&values, percent));
        assert_eq!(found, [15.0, 20.0, 20.0, 35.0, 50.0, 50.0].map(Some));
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
        assert_eq!(percentile(&[], 50.0), None);
        assert_eq!(figures(&values)["p50"], 35.0);
        assert!(figures(&[]).is_empty());
    }
}
