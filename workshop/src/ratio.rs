//! The ratio of two times that were measured in pairs, and whether it is a difference.

use std::f64::consts::FRAC_PI_2;

use serde::Serialize;

/// The smallest change that is called a difference. A busy machine moves a mean of some 20 rounds by 1 to 3 %.
pub const LEAST_EFFECT: f64 = 0.05;

/// The chance that any of all comparisons of the same code says more than it may.
const MISTAKES: f64 = 0.05;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Slower,
    Quicker,
    NoDifference,
}

/// Of times of which neither is quicker.
pub const NO_DIFFERENCE: &str = "no difference that could be told";

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Slower => "slower",
            Self::Quicker => "quicker",
            Self::NoDifference => NO_DIFFERENCE,
        }
    }
}

/// After divided by before: the geometric mean of the middle rounds, and an interval.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Ratio {
    pub ratio: f64,
    pub from: f64,
    pub to: f64,
    pub verdict: Verdict,
}

/// Rounds at each end that are left out of the mean: a tenth, since one hiccup of the machine moves a mean of 20.
fn left_out(rounds: usize) -> usize {
    rounds / 10
}

/// Compares rounds: the trimmed mean of the logarithms of their ratios, by Student's t for paired values, with the
/// standard error of the winsorized ones (Yuen 1974, <https://doi.org/10.1093/biomet/61.1.165>). `width` is from
/// [`width`].
pub fn ratio(before: &[f64], after: &[f64], width: f64) -> Ratio {
    let pairs = before.iter().zip(after);
    let logs = pairs.map(|(before, after)| (after / before).ln());
    let mut logs: Vec<f64> = logs.collect();
    logs.sort_by(f64::total_cmp);
    let (rounds, out) = (logs.len(), left_out(logs.len()));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let trimmed = mean(&logs[out..rounds - out]);
    let winsorized = logs
        .iter()
        .map(|log| log.clamp(logs[out], logs[rounds - out - 1]));
    let winsorized: Vec<f64> = winsorized.collect();
    let centre = mean(&winsorized);
    let squares: f64 = winsorized.iter().map(|log| (log - centre).powi(2)).sum();
    let kept = (rounds - 2 * out) as f64 / rounds as f64;
    let error = (squares / (rounds - 1) as f64 / rounds as f64).sqrt() / kept;
    let mean = trimmed;
    let [from, to] = [-width, width].map(|width| (mean + width * error).exp());
    let verdict = match () {
        () if from > 1.0 + LEAST_EFFECT => Verdict::Slower,
        () if to < 1.0 / (1.0 + LEAST_EFFECT) => Verdict::Quicker,
        () => Verdict::NoDifference,
    };
    Ratio {
        ratio: mean.exp(),
        from,
        to,
        verdict,
    }
}

/// Half the interval, in standard errors, so that with `comparisons` of them at one time all hold the true ratio with
/// 95 %: each may err in a share of 5 % (Bonferroni).
pub fn width(rounds: usize, comparisons: usize) -> f64 {
    students_t(
        rounds - 2 * left_out(rounds) - 1,
        MISTAKES / 2.0 / comparisons.max(1) as f64,
    )
}

/// The value that Student's t exceeds with the probability `tail`. With t = √ν tan θ, its density is cos^(ν-1) θ.
fn students_t(freedom: usize, tail: f64) -> f64 {
    const STEPS: i32 = 20_000;
    let power = freedom as f64 - 1.0;
    let step = FRAC_PI_2 / f64::from(STEPS);
    let density = |index: i32| (step * (f64::from(index) + 0.5)).cos().powf(power);
    let half: f64 = (0..STEPS).map(density).sum();
    let (mut beyond, mut index) = (0.0, STEPS);
    while beyond < tail * 2.0 * half && index > 0 {
        index -= 1;
        beyond += density(index);
    }
    (freedom as f64).sqrt() * (step * f64::from(index)).tan()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times of rounds as a busy machine gives them: 5 % of noise, and one round in twenty that takes twice as long.
    fn rounds(random: &mut fastrand::Rng, count: usize, factor: f64) -> Vec<f64> {
        let mut time = || {
            let noise: f64 = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
            let hiccup = if random.f64() < 0.05 { 2.0 } else { 1.0 };
            factor * 10.0 * (0.05 * noise).exp() * hiccup
        };
        (0..count).map(|_| time()).collect()
    }

    /// How many of 2,000 comparisons, each of 20 rounds, say so.
    fn said(factor: f64, verdict: Verdict) -> usize {
        let mut random = fastrand::Rng::with_seed(7);
        let width = width(20, 45);
        let compare = |_: &usize| {
            let before = rounds(&mut random, 20, 1.0);
            let after = rounds(&mut random, 20, factor);
            ratio(&before, &after, width).verdict == verdict
        };
        (0..2000).filter(compare).count()
    }

    #[test]
    fn the_same_code_shows_no_difference() {
        assert_eq!(said(1.0, Verdict::NoDifference), 2000);
    }

    #[test]
    fn almost_a_third_more_is_found_and_a_third_less_too() {
        let slower = said(1.3, Verdict::Slower);
        assert!(slower > 1600, "{slower} of 2000");
        let quicker = said(0.7, Verdict::Quicker);
        assert!(quicker > 1600, "{quicker} of 2000");
    }

    #[test]
    fn a_certain_difference_below_the_least_effect_is_none() {
        let before: Vec<f64> = (1..=20).map(f64::from).collect();
        let after: Vec<f64> = before.iter().map(|time| time * 1.04).collect();
        let told = ratio(&before, &after, width(20, 45));
        assert!(told.from > 1.039 && told.to < 1.041, "{told:?}");
        assert_eq!(told.verdict, Verdict::NoDifference);
    }

    /// Of the usual tables.
    #[test]
    fn students_t_is_that_of_the_tables() {
        for (freedom, tail, expected) in [
            (1, 0.025, 12.706),
            (4, 0.005, 4.604),
            (19, 0.025, 2.093),
            (19, 0.0005, 3.883),
            (100, 0.025, 1.984),
        ] {
            let found = students_t(freedom, tail);
            assert!((found / expected - 1.0).abs() < 2e-3, "{freedom}: {found}");
        }
    }
}
