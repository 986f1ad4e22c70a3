//! How far a student has come: `target/labs/progress.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::judge::Verdict;
use super::lab::Predicts;
use super::lesson::Lesson;
use crate::files::{read_json, write_json};

#[derive(Debug)]
pub struct Progress {
    file: PathBuf,
    lessons: BTreeMap<String, Done>,
}

/// What a student has done of a lesson.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Done {
    pub passed: bool,
    /// The last one of the exercise.
    pub verdict: Option<Verdict>,
    /// How many were asked for.
    pub hints: usize,
    pub prediction: Option<Prediction>,
}

/// What a student expects of the mended exercise: numbers by the names that its judge has for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Prediction(BTreeMap<String, f64>);

impl Progress {
    pub fn read(target: &Path) -> Result<Self> {
        let file = target.join("progress.json");
        let lessons = if file.exists() {
            read_json(&file)?
        } else {
            BTreeMap::new()
        };
        Ok(Self { file, lessons })
    }

    pub fn lesson(&mut self, lesson: &Lesson) -> &mut Done {
        self.lessons.entry(lesson.name()).or_default()
    }

    pub fn write(&self) -> Result<()> {
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        write_json(&self.file, &self.lessons)
    }
}

impl Done {
    pub fn judged(&mut self, verdict: &Verdict) {
        self.passed |= verdict.passed;
        self.verdict = Some(verdict.clone());
    }
}

impl Prediction {
    /// Reads `calls=1 ms=20 usd=3`, in any order.
    pub fn parse(given: &str, of: &Predicts) -> Result<Self> {
        let mut values = BTreeMap::new();
        for word in given.split([' ', ',']).filter(|it| !it.is_empty()) {
            let pair = word.split_once('=');
            let value = pair.and_then(|(name, value)| Some((name, value.parse::<f64>().ok()?)));
            let Some((name, value)) = value.filter(|(_, it)| it.is_finite() && *it >= 0.0) else {
                return Err(of.refused(given));
            };
            values.insert(name.to_owned(), value);
        }
        if values.len() == of.names.len() && of.names.iter().all(|it| values.contains_key(*it)) {
            Ok(Self(values))
        } else {
            Err(of.refused(given))
        }
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }
}

/// As it is given, such as `calls=1 ms=20 usd=3`.
impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.0.iter().map(|(name, value)| format!("{name}={value}"));
        f.write_str(&pairs.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::BadInput;

    const RUN: Predicts = Predicts {
        names: &["calls", "ms", "usd"],
        asks: "it",
        example: "calls=2 ms=10 usd=3",
        means: "numbers",
    };

    #[test]
    fn a_prediction_has_three_numbers() {
        let expected = [("calls", 1.0), ("ms", 20.5), ("usd", 3.0)];
        for given in ["calls=1 ms=20.5 usd=3", " usd=3,calls=1  ms=20.5 "] {
            let parsed = Prediction::parse(given, &RUN).unwrap();
            let pairs = expected.map(|(name, _)| (name, parsed.get(name).unwrap()));
            assert_eq!(pairs, expected);
        }
        for given in [
            "",
            "1 20 3",
            "calls=1 ms=20",
            "calls=1 ms=x usd=3",
            "calls=1 ms=2 usd=3 s=4",
            "calls=-1 ms=2 usd=3",
        ] {
            assert!(
                Prediction::parse(given, &RUN).unwrap_err().is::<BadInput>(),
                "{given}"
            );
        }
    }
}
