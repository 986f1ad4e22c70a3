//! Reads a JSON body and reports every wrong field, not only the first.

use serde_json::{Map, Value};

use crate::newtype::{FromJson, Invalid};
use crate::problem::{FieldError, Problem};

/// The most errors reported for one body. More would help nobody, and a small request could cause a
/// large answer.
const MAX_ERRORS: usize = 50;

/// A JSON object that is being read field by field.
///
/// Unknown fields are errors too, so a misspelt name is never ignored.
#[derive(Debug)]
pub struct Object {
    pointer: String,
    members: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Object {
    /// Parses a body.
    ///
    /// # Errors
    /// 400 if `body` is not JSON in UTF-8 or nests deeper than 128 levels; 422 if it is JSON but
    /// not an object.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            Problem::bad_request(format!("The body is not valid JSON: {error}."))
        })?;
        match value {
            Value::Object(members) => Ok(Self {
                pointer: String::new(),
                members,
                errors: Vec::new(),
            }),
            _ => Err(Problem::invalid(vec![FieldError::new(
                "",
                "must be an object",
            )])),
        }
    }

    /// Reads the object at `index` of the array `name`. Return it to [`Self::absorb`].
    pub fn element(&mut self, name: &str, index: usize, value: Value) -> Option<Self> {
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
    pub fn absorb(&mut self, element: Self) {
        self.errors.extend(element.into_errors());
    }

    /// Reads a required field.
    pub fn required<T: FromJson>(&mut self, name: &str) -> Option<T> {
        match self.members.remove(name) {
            Some(value) => self.read(name, &value),
            None => {
                self.refuse(name, "is missing");
                None
            }
        }
    }

    /// Reads an optional field, which may be missing or null.
    pub fn optional<T: FromJson>(&mut self, name: &str) -> Option<T> {
        match self.members.remove(name) {
            None | Some(Value::Null) => None,
            Some(value) => self.read(name, &value),
        }
    }

    /// Takes the required array `name` of `min` to `max` elements.
    pub fn array(&mut self, name: &str, min: usize, max: usize) -> Vec<Value> {
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
    pub fn optional_array(&mut self, name: &str) -> Option<Vec<Value>> {
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
    pub fn refuse(&mut self, path: &str, reason: impl std::fmt::Display) {
        self.errors
            .push(FieldError::new(format!("{}/{path}", self.pointer), reason));
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// 422 with all errors, if there was one.
    pub fn finish(self) -> Result<(), Problem> {
        let mut errors = self.into_errors();
        if errors.is_empty() {
            return Ok(());
        }
        errors.truncate(MAX_ERRORS);
        Err(Problem::invalid(errors))
    }

    fn read<T: FromJson>(&mut self, name: &str, value: &Value) -> Option<T> {
        T::from_json(value)
            .map_err(|Invalid(reason)| self.refuse(name, reason))
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
