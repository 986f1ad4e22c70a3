//! Typed reading of the properties of a resource, with errors that name the property.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::{Fault, Place, show};

/// A map of the template and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Object<'a> {
    map: &'a Map<String, Value>,
    place: Place<'a>,
}

impl<'a> Object<'a> {
    /// # Errors
    /// Where `value` is not a map.
    pub(super) fn of(value: &'a Value, place: Place<'a>) -> Result<Object<'a>, Fault> {
        match value {
            Value::Object(map) => Ok(Object { map, place }),
            other => Err(place.fault(format!("must be a map, not {}", show(other)))),
        }
    }

    pub(super) fn place(&self) -> &Place<'a> {
        &self.place
    }

    /// `Resource.Property` as messages name it.
    pub(super) fn name(&self) -> String {
        let shown = self.place.fault(String::new()).to_string();
        shown.trim_end_matches(": ").to_owned()
    }

    /// The value of a property; a null is as good as none.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.map.iter()
    }

    /// An error about one property.
    pub(super) fn fault(&self, name: &str, message: impl Into<String>) -> Fault {
        self.place.child(name).fault(message)
    }

    pub(super) fn missing(&self, name: &str) -> Fault {
        self.place.fault(format!("the property {name} is missing"))
    }

    /// A number, text or truth value as text, which is how CloudFormation sees them all.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Fault> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = to_text(value)
            .ok_or_else(|| self.fault(name, format!("must be text, not {}", show(value))))?;
        Ok(Some(text))
    }

    pub(super) fn required_text(&self, name: &str) -> Result<String, Fault> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// One of a few texts.
    pub(super) fn one_of(&self, name: &str, allowed: &[&str]) -> Result<Option<String>, Fault> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        if !allowed.contains(&text.as_str()) {
            let allowed = allowed.join(", ");
            return Err(self.fault(name, format!("must be one of {allowed}, not {text:?}")));
        }
        Ok(Some(text))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, Fault> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => Err(self.fault(name, format!("must be a number, not {text:?}"))),
        }
    }

    /// A whole number within AWS's limits, `unit` for the message.
    pub(super) fn integer(
        &self,
        name: &str,
        limits: RangeInclusive<u32>,
        unit: impl Display,
    ) -> Result<Option<u32>, Fault> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = to_text(value).and_then(|text| text.trim().parse::<u32>().ok());
        match number {
            Some(number) if limits.contains(&number) => Ok(Some(number)),
            _ => {
                let (least, most) = (limits.start(), limits.end());
                let message = format!("must be {least} to {most} {unit}, not {}", show(value));
                Err(self.fault(name, message))
            }
        }
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, Fault> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match to_text(value).as_deref() {
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            _ => Err(self.fault(name, format!("must be true or false, not {}", show(value)))),
        }
    }

    pub(super) fn object(&'a self, name: &'a str) -> Result<Option<Object<'a>>, Fault> {
        self.get(name)
            .map(|value| Object::of(value, self.place.child(name)))
            .transpose()
    }

    pub(super) fn list(&'a self, name: &'a str) -> Result<Option<(&'a [Value], Place<'a>)>, Fault> {
        let place = self.place.child(name);
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some((items, place))),
            Some(other) => Err(place.fault(format!("must be a list, not {}", show(other)))),
        }
    }

    /// Refuses properties that AWS does not know: a misspelt one would otherwise have no effect.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Fault> {
        for name in self.map.keys() {
            if known.contains(&name.as_str()) {
                continue;
            }
            // Above this likeness two names differ by a slip of the hand; below it by intent.
            const ALIKE: f64 = 0.85;
            let near = known
                .iter()
                .map(|candidate| (strsim::jaro_winkler(candidate, name), candidate))
                .filter(|(likeness, _)| *likeness > ALIKE)
                .max_by(|one, other| one.0.total_cmp(&other.0));
            let hint = near.map_or(String::new(), |(_, name)| format!("; is {name} meant?"));
            let shown = show(&Value::String(name.clone()));
            return Err(self.place.fault(format!("unknown property {shown}{hint}")));
        }
        Ok(())
    }
}

/// Numbers and truth values as CloudFormation writes them where text is wanted.
pub(super) fn to_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
