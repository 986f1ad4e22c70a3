//! Reads a JSON object and reports every wrong field, not only the first.

use serde_json::{Map, Value};

use super::checked_value::FromJson;
use super::problem::{FieldError, Problem};

/// The most errors reported for one body. More would help nobody, and a small request could cause a
/// large answer.
const MAX_ERRORS: usize = 50;

/// A JSON object that is being read field by field.
///
/// Unknown fields are errors too, so a misspelt name is never ignored.
#[derive(Debug)]
pub(super) struct JsonObject {
    pointer: String,
    members: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl JsonObject {
    /// Parses a body.
    ///
    /// # Errors
    /// [`Problem::Unreadable`] if `body` is not JSON in UTF-8 or nests deeper than 128 levels;
    /// [`Problem::Invalid`] if it is JSON but not an object.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            Problem::Unreadable(format!("The body is not valid JSON: {error}.").into())
        })?;
        match value {
            Value::Object(members) => Ok(Self {
                pointer: String::new(),
                members,
                errors: Vec::new(),
            }),
            _ => Err(Problem::Invalid(vec![FieldError::new(
                "",
                "must be an object",
            )])),
        }
    }

    /// Reads the object at `index` of the array `name`. Return it to [`Self::absorb`].
    pub(super) fn element(&mut self, name: &str, index: usize, value: Value) -> Option<Self> {
        let pointer = format!("{}/{name}/{index}", self.pointer);
        match value {
            Value::Object(members) => Some(Self {
                pointer,
                members,
                errors: Vec::new(),
            }),
            _ => {
                self.errors
                    .push(FieldError::new(pointer, "must be an object"));
                None
            }
        }
    }

    /// Takes over the errors of an element, unknown fields included.
    pub(super) fn absorb(&mut self, element: Self) {
        self.errors.extend(element.into_errors());
    }

    /// Reads a required field.
    pub(super) fn required<T: FromJson>(&mut self, name: &str) -> Option<T> {
        match self.members.remove(name) {
            Some(value) => self.read(name, &value),
            None => {
                self.refuse(name, "is missing");
                None
            }
        }
    }

    /// Reads an optional field, which may be missing or null.
    pub(super) fn optional<T: FromJson>(&mut self, name: &str) -> Option<T> {
        match self.members.remove(name) {
            None | Some(Value::Null) => None,
            Some(value) => self.read(name, &value),
        }
    }

    /// Takes the required array `name` of `min` to `max` elements.
    pub(super) fn array(&mut self, name: &str, min: usize, max: usize) -> Vec<Value> {
        match self.members.remove(name) {
            Some(Value::Array(elements)) if (min..=max).contains(&elements.len()) => elements,
            Some(_) => {
                self.refuse(name, format!("must be an array of {min} to {max} elements"));
                Vec::new()
            }
            None => {
                self.refuse(name, "is missing");
                Vec::new()
            }
        }
    }

    /// Takes the optional array `name`, which may be missing or null, but not empty.
    pub(super) fn optional_array(&mut self, name: &str) -> Option<Vec<Value>> {
        match self.members.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::Array(elements)) if !elements.is_empty() => Some(elements),
            Some(_) => {
                self.refuse(name, "must be an array of 1 element or more");
                None
            }
        }
    }

    /// Reports an error in the field at `path`, relative to this object.
    pub(super) fn refuse(&mut self, path: &str, reason: impl std::fmt::Display) {
        self.errors
            .push(FieldError::new(format!("{}/{path}", self.pointer), reason));
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Problem::Invalid`] with all errors, if there was one.
    pub(super) fn finish(self) -> Result<(), Problem> {
        let mut errors = self.into_errors();
        if errors.is_empty() {
            return Ok(());
        }
        errors.truncate(MAX_ERRORS);
        Err(Problem::Invalid(errors))
    }

    fn read<T: FromJson>(&mut self, name: &str, value: &Value) -> Option<T> {
        T::from_json(value)
            .map_err(|reason| self.refuse(name, reason))
            .ok()
    }

    fn into_errors(mut self) -> Vec<FieldError> {
        for name in std::mem::take(&mut self.members).keys() {
            let escaped = name.replace('~', "~0").replace('/', "~1");
            self.refuse(&escaped, "is not a known field");
        }
        self.errors
    }
}

#[cfg(test)]
pub(crate) mod tests {
    //! Bodies that a careless or a hostile client may send, for the tests of whoever reads them.

    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proptest::test_runner::{TestCaseError, TestRunner};

    use super::*;
    use crate::domain::MAX_SAFE_INTEGER;

    /// Any JSON, rather small.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,8}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Values at the bounds of what a field may hold, one of each other kind, and any.
    fn any_value() -> impl Strategy<Value = Value> {
        let numbers = [
            0,
            1,
            100,
            10_000,
            10_001,
            MAX_SAFE_INTEGER,
            MAX_SAFE_INTEGER + 1,
        ];
        let fractions = [-0.0, 0.5, 7.0, 1e3, 1e300];
        let lengths = [0_usize, 1, 64, 65, 200, 201, 4_000, 4_001];
        let text = |length| Value::from("x".repeat(length));
        prop_oneof![
            prop::sample::select(numbers.to_vec()).prop_map(Value::from),
            prop::sample::select(fractions.to_vec()).prop_map(Value::from),
            prop::sample::select(lengths.to_vec()).prop_map(text),
            "[A-Za-z0-9_-]{1,9}".prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
            Just(Value::Array(Vec::new())),
            any_json(),
        ]
    }

    /// The pointers of all that is in a body, the body itself first.
    fn pointers(value: &Value) -> Vec<String> {
        let members: Vec<(String, &Value)> = match value {
            Value::Object(members) => members
                .iter()
                .map(|(name, it)| (name.clone(), it))
                .collect(),
            Value::Array(elements) => (0..)
                .zip(elements)
                .map(|(n, it): (usize, _)| (n.to_string(), it))
                .collect(),
            _ => Vec::new(),
        };
        let below = members.into_iter().flat_map(|(name, member)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            pointers(member)
                .into_iter()
                .map(move |rest| format!("/{name}{rest}"))
        });
        std::iter::once(String::new()).chain(below).collect()
    }

    /// Puts `value` in the place of whatever `at` chooses, takes that away, or puts it beside it.
    fn change(body: &mut Value, at: prop::sample::Index, how: u8, name: String, value: Value) {
        let pointers = pointers(body);
        let pointer = &pointers[at.index(pointers.len())];
        let (parent, last) = pointer.rsplit_once('/').unwrap_or_default();
        match (how, body.pointer_mut(parent)) {
            (0, Some(Value::Object(members))) => {
                members.remove(&last.replace("~1", "/").replace("~0", "~"));
            }
            (0, Some(Value::Array(elements))) => {
                elements.pop();
            }
            (1, Some(Value::Object(members))) => {
                members.insert(name, value);
            }
            (1, Some(Value::Array(elements))) => elements.push(value),
            _ => {
                if let Some(place) = body.pointer_mut(pointer) {
                    *place = value;
                }
            }
        }
    }

    /// `valid` itself, with a few of its values changed, or with a few of its bytes changed.
    fn nearly(valid: Value) -> impl Strategy<Value = Vec<u8>> {
        let one = (any::<prop::sample::Index>(), 0..5_u8, ".{0,8}", any_value());
        let changed = prop::collection::vec(one, 0..4).prop_map(move |changes| {
            let mut body = valid.clone();
            for (at, how, name, value) in changes {
                change(&mut body, at, how, name, value);
            }
            body.to_string().into_bytes()
        });
        let bytes = (
            any::<prop::sample::Index>(),
            0..4_usize,
            prop::collection::vec(any::<u8>(), 0..4),
        );
        (changed, prop::option::weighted(0.2, bytes)).prop_map(|(mut body, bytes)| {
            if let Some((at, cut, put)) = bytes {
                let at = at.index(body.len() + 1);
                let end = body.len().min(at + cut);
                body.splice(at..end, put);
            }
            body
        })
    }

    /// What became of a body.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) enum Outcome {
        Read,
        BrokeTheRules,
        NotJson,
    }

    /// Has `look` read a thousand bodies that are `valid` or nearly so, and make sure of what it gets.
    ///
    /// Of every outcome there are many, or this would be no test of it.
    pub(crate) fn look_at_bodies_near(
        valid: &Value,
        look: impl Fn(&[u8]) -> Result<Outcome, TestCaseError>,
    ) {
        let mut config = ProptestConfig::with_cases(1_000); // a second
        config.failure_persistence = None; // it looks for this very file, and is not called from it
        let outcomes = RefCell::new(BTreeMap::new());

        let looked = TestRunner::new(config).run(&nearly(valid.clone()), |body| {
            let outcome = look(&body)?;
            *outcomes.borrow_mut().entry(outcome).or_insert(0) += 1;
            Ok(())
        });

        looked.unwrap_or_else(|failure| panic!("{failure}"));
        for outcome in [Outcome::Read, Outcome::BrokeTheRules, Outcome::NotJson] {
            let count = outcomes.borrow().get(&outcome).copied().unwrap_or(0);
            assert!(count >= 50, "{outcome:?}: {count} of a thousand");
        }
    }
}
