//! The steps of a round, as `lab.toml` lists them, and the values that are put into them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::{Context, Result, bail};
use local::faults::Rule;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What the engine does: `do = "put"` and so on.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Writes items to a table, past the functions.
    Put {
        /// Its logical id.
        table: String,
        /// How many; `{n}` runs from 1.
        #[serde(default = "one")]
        each: u64,
        item: Value,
    },
    /// Deletes an item of a table, past the functions.
    Delete { table: String, key: Value },
    /// Reads items of a table, past the functions, and compares them.
    Expect(Box<Expect>),
    /// Sends a request to the lesson's API, and compares its answer.
    Send(Box<Send>),
    /// Asks until the answer is right. It is no request that is counted, but what it causes is.
    Poll(Box<Poll>),
    /// Waits, for what expires with time. What can be asked for is polled for.
    Pause { ms: u64 },
    /// Begins a part of the round, which a check can look at by itself.
    Part { name: String },
    /// Ends all environments, so that the next invocation is a cold start.
    EndEnvironments,
    /// Injects faults from now on (docs/faults.md); none if there are none in the list.
    Faults {
        #[serde(default)]
        seed: u64,
        #[serde(default)]
        faults: Vec<Rule>,
    },
    /// Waits until every queue with a trigger is empty.
    Drain,
}

/// What a table should have.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Its logical id.
    pub table: String,
    pub key: Value,
    /// The whole item; none if there should be none.
    pub item: Option<Value>,
    /// How many; `{n}` runs from 1.
    #[serde(default = "one")]
    pub each: u64,
    /// A wrong item is counted as a wrong answer, and is no verdict.
    #[serde(default)]
    pub may_fail: bool,
    /// What a wrong item means.
    pub says: Option<String>,
}

/// A request, and the answer that it should have.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    #[serde(default = "get")]
    pub method: String,
    pub path: String,
    /// Parameters of the query, as they are before they are encoded.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    pub body: Option<Value>,
    #[serde(default = "ok")]
    pub status: u16,
    /// The whole answer; none if only the status counts.
    pub json: Option<Value>,
    /// Where the answer has its items, as a JSON pointer such as `/products`, for what is counted for each item.
    pub items: Option<String>,
    /// How many at the same time; `{n}` runs from 1.
    #[serde(default = "one")]
    pub at_once: u64,
    /// How often so many are sent, one after another; `{n}` runs from 1 through all of them.
    #[serde(default)]
    pub times: Times,
    /// Whether it is counted. The answer is compared in any case.
    #[serde(default = "yes")]
    pub counted: bool,
    /// A wrong answer is counted, and is no verdict.
    #[serde(default)]
    pub may_fail: bool,
    /// After so many wrong answers the rest of `times` is not sent: clients go away too.
    pub patience: Option<u64>,
    /// The next step begins with the first answer, and the others are waited for at the end of the part.
    #[serde(default)]
    pub background: bool,
    /// What a wrong answer means.
    pub says: Option<String>,
}

/// How often something is done.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
pub enum Times {
    Exactly(u64),
    /// A number that is drawn for each run and round.
    Drawn {
        from: u64,
        to: u64,
    },
}

impl Default for Times {
    fn default() -> Self {
        Self::Exactly(1)
    }
}

/// A request that is repeated, and the answer that it has to have in the end.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    pub path: String,
    #[serde(default = "ok")]
    pub status: u16,
    /// The whole answer; none if only the status counts.
    pub json: Option<Value>,
    /// How many at the same time; `{n}` runs from 1.
    #[serde(default = "one")]
    pub at_once: u64,
    /// For so long.
    #[serde(default = "ten")]
    pub seconds: u64,
    /// What it means if the answer never comes.
    pub says: Option<String>,
}

fn one() -> u64 {
    1
}

fn ten() -> u64 {
    10
}

fn yes() -> bool {
    true
}

fn ok() -> u16 {
    200
}

fn get() -> String {
    "GET".to_owned()
}

/// The largest of the random numbers.
const MOST: u64 = 9999;

/// The values that take the place of `{…}`.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Letters that no run had before.
    pub run: String,
    /// The round, from 1; 0 in `prepare`.
    pub round: u64,
    /// Of `each`, `at_once` or `times`, from 1.
    pub n: u64,
    /// What `{keep:name}` has kept.
    pub kept: BTreeMap<String, String>,
    /// Lists in the order of this run: `{name:1}` is the first of one, `{name:n}` the `n`th, from the beginning again
    /// after the last.
    pub lists: BTreeMap<String, Vec<String>>,
}

/// The name in a text that is nothing but `{keep:name}`: any text is right in its place, and is kept.
pub fn keeps(expected: &str) -> Option<&str> {
    expected.strip_prefix("{keep:")?.strip_suffix('}')
}

impl Names {
    /// The same, but the `n`th of several.
    pub fn nth(&self, n: u64) -> Self {
        Self { n, ..self.clone() }
    }

    /// How often, for this run, round and place.
    pub fn times(&self, times: Times, place: &str) -> u64 {
        match times {
            Times::Exactly(times) => times,
            Times::Drawn { from, to } => from + self.drawn(place) % (to.saturating_sub(from) + 1),
        }
    }

    fn drawn(&self, name: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (name, &self.run, self.round, self.n).hash(&mut hasher);
        hasher.finish()
    }

    /// A value with everything put in. `{each = 3, of = …}` becomes a list of three, and `from` is its first `{n}`.
    pub fn value(&self, value: &Value) -> Result<Value> {
        Ok(match value {
            Value::String(text) => self.string(text)?,
            Value::Array(all) => {
                let all: Result<_> = all.iter().map(|it| self.value(it)).collect();
                Value::Array(all?)
            }
            Value::Object(members) => match (members.get("each"), members.get("of")) {
                (Some(Value::Number(each)), Some(of)) => {
                    let from = members.get("from").and_then(Value::as_u64).unwrap_or(1);
                    let each = each.as_u64().unwrap_or_default();
                    let all = (from..from + each).map(|n| self.nth(n).value(of));
                    let all: Result<_> = all.collect();
                    Value::Array(all?)
                }
                _ => {
                    let mut filled = Map::new();
                    for (name, member) in members {
                        filled.insert(name.clone(), self.value(member)?);
                    }
                    Value::Object(filled)
                }
            },
            other => other.clone(),
        })
    }

    /// A text that is nothing but one number in braces becomes that number; TOML has no null, so `{null}` stands for it.
    fn string(&self, text: &str) -> Result<Value> {
        if text == "{null}" {
            return Ok(Value::Null);
        }
        let inner = text.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
        if let Some(name) = inner.filter(|it| !it.contains('{')) {
            let filled = self.placeholder(name)?;
            return Ok(filled
                .parse::<u64>()
                .ok()
                .filter(|_| {
                    let is_text = ["run", "fill:", "kept:"];
                    !is_text.iter().any(|it| name.starts_with(it))
                })
                .map_or(Value::String(filled), Value::from));
        }
        Ok(Value::String(self.text(text)?))
    }

    /// A text with everything put in.
    pub fn text(&self, text: &str) -> Result<String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                bail!("{text:?} has a brace that is not closed");
            };
            filled += before;
            filled += &self.placeholder(name)?;
            rest = after;
        }
        Ok(filled + rest)
    }

    fn placeholder(&self, name: &str) -> Result<String> {
        if let Some(drawn) = name.strip_prefix('#') {
            return Ok((1 + self.drawn(drawn) % MOST).to_string());
        }
        if name.starts_with("keep:") {
            return Ok(format!("{{{name}}}"));
        }
        if let Some(kept) = name.strip_prefix("kept:") {
            let kept = self.kept.get(kept).cloned();
            return kept.with_context(|| format!("nothing was kept before {{{name}}}"));
        }
        if let Some(length) = name.strip_prefix("fill:").and_then(|it| it.parse().ok()) {
            return Ok("x".repeat(length));
        }
        if let Some((list, place)) = name.split_once(':') {
            let all = self.lists.get(list).filter(|it| !it.is_empty());
            let all = all.with_context(|| format!("there is no list {list} for {{{name}}}"))?;
            let place = if place == "n" { self.n } else { place.parse()? };
            let index = place.saturating_sub(1) % all.len() as u64;
            return Ok(all[usize::try_from(index)?].clone());
        }
        Ok(match name {
            "run" => self.run.clone(),
            "round" => self.round.to_string(),
            "n" => self.n.to_string(),
            _ => bail!(
                "there is no {{{name}}}; there are {{run}}, {{round}}, {{n}}, {{#any-name}}, {{list:1}}, {{fill:length}}, {{keep:name}} and {{kept:name}}"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> Names {
        Names {
            run: "qx".to_owned(),
            round: 3,
            ..Names::default()
        }
    }

    #[test]
    fn lists_numbers_and_texts_are_filled() {
        let value = json!({"ids": {"each": 2, "of": "{run}-{round}-{n}"}, "more": {"each": 2, "from": 5, "of": "{n}"}, "n": "{round}", "none": "{null}", "text": "{fill:3}", "a": [1, true, null]});
        let filled = names().value(&value).unwrap();
        assert_eq!(
            filled,
            json!({"ids": ["qx-3-1", "qx-3-2"], "more": [5, 6], "n": 3, "none": null, "text": "xxx", "a": [1, true, null]})
        );
    }

    #[test]
    fn a_drawn_number_is_the_same_for_the_same_name_and_another_in_another_run_round_or_place() {
        let drawn = |names: &Names| names.value(&json!("{#price}")).unwrap();
        let first = drawn(&names());
        assert!(first.as_u64().is_some_and(|it| (1..=MOST).contains(&it)));
        assert_eq!(first, drawn(&names()));
        let other_run = Names {
            run: "qy".to_owned(),
            ..names()
        };
        let other_round = Names {
            round: 4,
            ..names()
        };
        for other in [other_run, other_round, names().nth(1)] {
            assert_ne!(first, drawn(&other));
        }
        assert_ne!(first, names().value(&json!("{#stock}")).unwrap());
    }

    #[test]
    fn what_is_kept_is_put_in_as_a_text() {
        assert_eq!(keeps("{keep:next}"), Some("next"));
        assert_eq!(keeps("keep"), None);
        let mut names = names();
        let expected = names.value(&json!("{keep:next}")).unwrap();
        assert_eq!(
            expected,
            json!("{keep:next}"),
            "it stays until there is an answer"
        );
        assert!(names.value(&json!("{kept:next}")).is_err());
        names.kept.insert("next".to_owned(), "20".to_owned());
        assert_eq!(names.value(&json!("{kept:next}")).unwrap(), json!("20"));
        assert_eq!(names.text("{kept:next}x").unwrap(), "20x");
    }

    #[test]
    fn a_list_is_read_from_the_beginning_again_after_its_last() {
        let lists = [("kind".to_owned(), vec!["a".to_owned(), "b".to_owned()])];
        let names = Names {
            lists: lists.into(),
            ..names()
        };
        let text = |n| names.nth(n).text("/{kind:2}/{kind:n}").unwrap();
        assert_eq!([1, 2, 3].map(text), ["/b/a", "/b/b", "/b/a"]);
    }

    #[test]
    fn a_drawn_number_of_times_is_within_its_bounds_and_another_in_another_round() {
        let times = Times::Drawn { from: 2, to: 5 };
        let drawn = |round| Names { round, ..names() }.times(times, "/a");
        let all: Vec<_> = (1..50).map(drawn).collect();
        assert!(all.iter().all(|it| (2..=5).contains(it)), "{all:?}");
        assert!((2..=5).all(|it| all.contains(&it)), "{all:?}");
        assert_eq!(names().times(Times::Exactly(7), "/a"), 7);
    }

    #[test]
    fn a_placeholder_that_does_not_exist_is_refused() {
        for text in ["{what}", "a {", "{fill:x}", "{kind:1}"] {
            assert!(names().value(&json!(text)).is_err(), "{text}");
        }
    }
}
