//! The template's `Rules`: combinations of parameters that CloudFormation refuses before it creates
//! anything. <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/rules-section-structure.html>

use crate::error::{Mistake, refuse};
use crate::intrinsics::Resolver;
use crate::yaml::{Map, Node};

/// # Errors
/// The first assertion that fails, in its own words.
pub(crate) fn check(resolver: &Resolver<'_>, rules: &Map) -> Result<(), Mistake> {
    for (name, rule) in rules {
        let checked = check_one(resolver, rule);
        checked.map_err(|mistake| mistake.on(rule.line).at(&format!("Rules.{name}")))?;
    }
    Ok(())
}

fn check_one(resolver: &Resolver<'_>, rule: &Node) -> Result<(), Mistake> {
    if let Some(condition) = rule.get("RuleCondition")
        && !resolver.truth(condition)?
    {
        return Ok(());
    }
    for assertion in rule
        .get("Assertions")
        .and_then(Node::list)
        .unwrap_or_default()
    {
        let Some(assert) = assertion.get("Assert") else {
            refuse!("an assertion needs Assert");
        };
        if !resolver.truth(assert)? {
            let words = assertion.get("AssertDescription").and_then(Node::text);
            let message = words.unwrap_or("the parameters do not go together");
            return Err(Mistake::new(message).on(assert.line));
        }
    }
    Ok(())
}
