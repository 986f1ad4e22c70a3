//! Times that vary, known by some of their percentiles.

use std::fmt;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// The percentiles that a file may give, and how many standard deviations each lies above the median
/// of a normal distribution.
const PERCENTILES: [(&str, f64); 7] = [
    ("p10", -1.2816),
    ("p50", 0.0),
    ("p75", 0.6745),
    ("p90", 1.2816),
    ("p95", 1.6449),
    ("p99", 2.3263),
    ("p999", 3.0902),
];

/// A time that varies: its logarithm is interpolated between the given percentiles as if it were
/// normal, so with two of them it is log-normal. Nothing is drawn beyond the 99.9th percentile.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distribution {
    /// Standard deviations above the median, and the natural logarithm of that percentile in
    /// seconds; ascending.
    points: Vec<(f64, f64)>,
}

impl Distribution {
    /// One of its times, by chance.
    pub(crate) fn draw(&self, random: &mut fastrand::Rng) -> Duration {
        // Box and Muller's way from two uniform numbers to a normal one.
        let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
        self.at(radius * (std::f64::consts::TAU * random.f64()).cos())
    }

    pub(crate) fn median(&self) -> Duration {
        self.at(0.0)
    }

    /// The time so many standard deviations above the median.
    fn at(&self, deviations: f64) -> Duration {
        let most = PERCENTILES[PERCENTILES.len() - 1].1;
        let deviations = deviations.clamp(-most, most);
        // The first and the last stretch go on to both sides.
        let last = self.points.len() - 2;
        let after = self.points[1..].iter().position(|(at, _)| deviations < *at);
        let from = after.unwrap_or(last).min(last);
        let ((x0, y0), (x1, y1)) = (self.points[from], self.points[from + 1]);
        let logarithm = y0 + (deviations - x0) / (x1 - x0) * (y1 - y0);
        Duration::from_secs_f64(logarithm.exp())
    }
}

/// The form of a distribution in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    p10: Option<Time>,
    p50: Time,
    p75: Option<Time>,
    p90: Option<Time>,
    p95: Option<Time>,
    p99: Time,
    p999: Option<Time>,
    source: String,
}

impl<'de> Deserialize<'de> for Distribution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        if written.source.trim().is_empty() {
            return Err(D::Error::custom(
                "source is empty: say where the numbers are from",
            ));
        }
        let times = [
            written.p10,
            Some(written.p50),
            written.p75,
            written.p90,
            written.p95,
            Some(written.p99),
            written.p999,
        ];
        let given = PERCENTILES.iter().zip(times);
        let given = given.filter_map(|((name, at), time)| Some((*name, *at, time?)));
        let given: Vec<_> = given.collect();
        for pair in given.windows(2) {
            let ((below, _, less), (above, _, more)) = (pair[0], pair[1]);
            if more.0 < less.0 {
                let message = format!("{above} is {more}, less than {below}, which is {less}");
                return Err(D::Error::custom(message));
            }
        }
        let points = given
            .iter()
            .map(|(_, at, time)| (*at, time.0.as_secs_f64().ln()));
        Ok(Distribution {
            points: points.collect(),
        })
    }
}

/// A time in a file: text with a unit, such as `"2.9 ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Word")]
pub(crate) struct Time(pub(crate) Duration);

/// A value in a file, where only text will do.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Number(f64),
}

impl TryFrom<Word> for Time {
    type Error = String;

    fn try_from(word: Word) -> Result<Time, String> {
        let text = match word {
            Word::Text(text) => text,
            Word::Number(number) => {
                return Err(format!("{number} has no unit: write \"{number} ms\""));
            }
        };
        let end = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let seconds = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            _ => return Err(format!("{text:?} has no unit that is known: us, ms or s")),
        };
        let number: f64 = number
            .trim()
            .parse()
            .map_err(|_| format!("{text:?} does not start with a number"))?;
        // A time of zero has no logarithm, and a day is no latency.
        match Duration::try_from_secs_f64(number * seconds) {
            Ok(time) if !time.is_zero() && time <= Duration::from_secs(900) => Ok(Time(time)),
            _ => Err(format!("{text:?} is not between 1 ns and 900 s")),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<Distribution, String> {
        toml::from_str(toml).map_err(|error| error.message().to_owned())
    }

    /// Milliseconds of this percentile, in per mille, of 100,000 draws.
    fn drawn(distribution: &Distribution, per_mille: usize) -> f64 {
        let mut times: Vec<_> = (0..100_000)
            .map(|n| distribution.draw(&mut crate::chance::of(7, &format!("{n}"))))
            .collect();
        times.sort_unstable();
        times[times.len() * per_mille / 1000].as_secs_f64() * 1e3
    }

    #[test]
    fn draws_have_the_percentiles_that_the_file_gives() {
        let trigger =
            "p10 = '13.7 ms'\np50 = '16.2 ms'\np90 = '33.8 ms'\np99 = '105 ms'\nsource = 'x'";
        let distribution = read(trigger).unwrap();
        for (per_mille, expected) in [(100, 13.7), (500, 16.2), (900, 33.8), (990, 105.0)] {
            let drawn = drawn(&distribution, per_mille);
            assert!(
                (drawn / expected - 1.0).abs() < 0.05,
                "{per_mille}: {drawn}"
            );
        }
        let two = read("p50 = '2 ms'\np99 = '8 ms'\nsource = 'x'").unwrap();
        assert!((drawn(&two, 500) / 2.0 - 1.0).abs() < 0.02);
        assert!((drawn(&two, 990) / 8.0 - 1.0).abs() < 0.05);
        assert!(
            two.at(100.0) == two.at(3.0902),
            "nothing beyond the 99.9th percentile"
        );
    }

    #[test]
    fn a_distribution_that_makes_no_sense_is_refused() {
        for (toml, reason) in [
            ("p50 = '2 ms'\nsource = 'x'", "missing field `p99`"),
            (
                "p50 = '2 ms'\np99 = '1 ms'\nsource = 'x'",
                "p99 is 1 ms, less than p50, which is 2 ms",
            ),
            (
                "p50 = '-2 ms'\np99 = '1 ms'\nsource = 'x'",
                "is not between 1 ns and 900 s",
            ),
            (
                "p50 = 2\np99 = '1 ms'\nsource = 'x'",
                "2 has no unit: write \"2 ms\"",
            ),
            (
                "p50 = '2 parsecs'\np99 = '1 ms'\nsource = 'x'",
                "has no unit that is known",
            ),
            (
                "p50 = '. ms'\np99 = '1 ms'\nsource = 'x'",
                "does not start with a number",
            ),
            (
                "p50 = '2 ms'\np99 = '9 ms'\nsource = ' '",
                "source is empty",
            ),
            (
                "p50 = '2 ms'\np98 = '9 ms'\nsource = 'x'",
                "unknown field `p98`",
            ),
        ] {
            let error = read(toml).unwrap_err();
            assert!(error.contains(reason), "{toml}: {error}");
        }
    }
}
