//! The section `Conditions`, and `Fn::If`.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-conditions.html>

use serde_json::Value;

use super::error::{Fault, Place};
use super::intrinsics::{Resolver, arguments};
use super::object::to_text;

impl Resolver<'_> {
    /// The truth of a condition named in `Conditions`.
    pub(super) fn condition(&self, name: &str, place: &Place<'_>) -> Result<bool, Fault> {
        match self.known_conditions.borrow().get(name) {
            Some(Some(truth)) => return Ok(*truth),
            Some(None) => {
                return Err(place.fault(format!("the condition {name} depends on itself")));
            }
            None => {}
        }
        let Some(expression) = self.conditions.get(name) else {
            return Err(place.fault(format!("there is no condition {name:?}")));
        };
        self.known_conditions
            .borrow_mut()
            .insert(name.to_owned(), None);
        let section = Place::root("Conditions");
        let truth = self.truth(expression, &section.child(name))?;
        self.known_conditions
            .borrow_mut()
            .insert(name.to_owned(), Some(truth));
        Ok(truth)
    }

    /// `Fn::If`.
    pub(super) fn choose(
        &self,
        argument: &Value,
        place: &Place<'_>,
    ) -> Result<Option<Value>, Fault> {
        let Some([condition, when_true, when_false]) = arguments(argument) else {
            return Err(place.fault("needs a condition and two values"));
        };
        let is_true = match condition {
            Value::String(name) => self.condition(name, place)?,
            expression => self.truth(expression, place)?,
        };
        // The branch that is not taken may refer to resources that do not exist.
        self.resolve(if is_true { when_true } else { when_false }, place)
    }

    /// The truth of a condition expression.
    fn truth(&self, expression: &Value, place: &Place<'_>) -> Result<bool, Fault> {
        let call = expression.as_object().filter(|map| map.len() == 1);
        let Some((name, argument)) = call.and_then(|map| map.iter().next()) else {
            return Err(place.fault("needs a condition function such as !Equals"));
        };
        self.deeper(place, || match (name.as_str(), argument) {
            ("Condition", Value::String(name)) => self.condition(name, place),
            ("Fn::Equals", argument) => {
                let Some([one, other]) = arguments(argument) else {
                    return Err(place.fault("Fn::Equals needs two values"));
                };
                let one = self.resolve(one, place)?.map(|value| comparable(&value));
                let other = self.resolve(other, place)?.map(|value| comparable(&value));
                Ok(one == other)
            }
            ("Fn::Not", argument) => {
                let Some([inner]) = arguments(argument) else {
                    return Err(place.fault("Fn::Not needs a list of one condition"));
                };
                Ok(!self.truth(inner, place)?)
            }
            ("Fn::And" | "Fn::Or", Value::Array(inner)) if (2..=10).contains(&inner.len()) => {
                let mut truths = Vec::with_capacity(inner.len());
                for expression in inner {
                    truths.push(self.truth(expression, place)?);
                }
                let wanted = name == "Fn::And";
                Ok(if wanted {
                    truths.iter().all(|&t| t)
                } else {
                    truths.contains(&true)
                })
            }
            ("Fn::And" | "Fn::Or", _) => {
                Err(place.fault(format!("{name} needs a list of 2 to 10 conditions")))
            }
            _ => Err(place.fault(format!("{name} is not a condition function"))),
        })
    }
}

/// CloudFormation compares scalars as text: the parameter `"1"` equals the number 1.
fn comparable(value: &Value) -> Value {
    to_text(value).map_or_else(|| value.clone(), Value::String)
}
