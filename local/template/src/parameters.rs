//! The values of `Parameters`, and the `Rules` for their combinations, which CloudFormation checks before it creates
//! anything. <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html>
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/rules-section-structure.html>

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde_json::{Map, Value};

use crate::error::refuse;
use crate::intrinsics::{Resolver, entries, items};
use crate::properties::Properties;
use crate::yaml::plain;

impl Resolver<'_> {
    /// The value of each parameter: text, a number, or a list of texts.
    pub(crate) fn parameters(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<Map<String, Value>, String> {
        let declared = &self.template["Parameters"];
        if let Some(unknown) = given.keys().find(|name| declared[name].is_null()) {
            let known = entries(declared).map(|(name, _)| name.as_str());
            let known = Vec::from_iter(known).join(", ");
            refuse!(
                "there is no parameter {unknown:?} (--parameter); the template declares: {known}"
            );
        }
        let mut values = Map::new();
        for (name, parameter) in entries(declared) {
            let read = || self.read(parameter, |it| value(it, given.get(name)));
            values.insert(name.clone(), self.at(&["Parameters", name], read)?);
        }
        Ok(values)
    }

    pub(crate) fn check_rules(&self) -> Result<(), String> {
        entries(&self.template["Rules"])
            .try_for_each(|(name, rule)| self.at(&["Rules", name], || self.check_rule(rule)))
    }

    fn check_rule(&self, rule: &Value) -> Result<(), String> {
        if !rule["RuleCondition"].is_null() && !self.truth(&rule["RuleCondition"])? {
            return Ok(());
        }
        for assertion in items(&rule["Assertions"]) {
            if !self.truth(&assertion["Assert"])? {
                let words = assertion["AssertDescription"].as_str();
                refuse!("{}", words.unwrap_or("the parameters do not go together"));
            }
        }
        Ok(())
    }
}

fn value(parameter: &Properties<'_>, given: Option<&String>) -> Result<Value, String> {
    let kind: String = parameter.need("Type")?;
    let allowed: Vec<String> = parameter.get("AllowedValues")?.unwrap_or_default();
    let pattern: String = parameter.get("AllowedPattern")?.unwrap_or_default();
    let words: Option<String> = parameter.get("ConstraintDescription")?;
    let limit = |name| parameter.number(name, f64::NEG_INFINITY..=f64::INFINITY);
    let values = (limit("MinValue")?, limit("MaxValue")?, "be");
    let lengths = (limit("MinLength")?, limit("MaxLength")?, "have a length of");
    let is_number = kind.contains("Number");
    let (least, most, what) = if is_number { values } else { lengths };
    // CloudFormation's patterns are Java's. One that Rust does not know is left to AWS.
    let whole = Regex::new(&format!("^(?:{pattern})$"));
    let breaks_pattern =
        |item: &str| !pattern.is_empty() && whole.as_ref().is_ok_and(|it| !it.is_match(item));
    let default: Option<String> = parameter.get("Default")?;
    let text = match (given, default) {
        (Some(given), _) => given.clone(),
        // The default of an SSM parameter is the name of its value.
        (None, Some(default)) if !kind.starts_with("AWS::SSM::") => default,
        _ => refuse!("it has no Default: pass --parameter Name=Value"),
    };
    let is_list = kind == "CommaDelimitedList" || kind.starts_with("List<");
    let items = match is_list {
        true => text.split(',').map(str::trim).collect(),
        false => vec![text.as_str()],
    };
    for item in &items {
        let size = match is_number {
            true => item.parse().ok(),
            false => Some(item.chars().count() as f64),
        };
        let rule = if !allowed.is_empty() && !allowed.iter().any(|it| it == item) {
            format!("be one of {}", allowed.join(", "))
        } else if breaks_pattern(item) {
            let words = words.as_deref().map(|it| it.trim_start_matches("must "));
            words.map_or_else(|| format!("match {pattern}"), str::to_owned)
        } else if size.is_none() {
            "be a number".to_owned()
        } else if let Some(least) = least
            && size < Some(least)
        {
            format!("{what} at least {least}")
        } else if let Some(most) = most
            && size > Some(most)
        {
            format!("{what} at most {most}")
        } else {
            continue;
        };
        refuse!("the value {item:?} is refused: it must {rule}");
    }
    Ok(match is_list {
        true => items.into(),
        false if is_number => plain(&text),
        false => text.into(),
    })
}
