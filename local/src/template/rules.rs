//! The template's `Rules`: combinations of parameters that CloudFormation refuses before it creates
//! anything. <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/rules-section-structure.html>

use super::error::Fault;
use super::intrinsics::Resolver;
use super::yaml::{Map, Node};

/// # Errors
/// The first assertion that fails, in its own words.
pub(super) fn check(resolver: &Resolver<'_>, rules: &Map) -> Result<(), Fault> {
    for (name, rule) in rules {
        check_one(resolver, rule).map_err(|fault| fault.within(name).within("Rules"))?;
    }
    Ok(())
}

fn check_one(resolver: &Resolver<'_>, rule: &Node) -> Result<(), Fault> {
    if let Some(condition) = rule.get("RuleCondition")
        && !resolver.truth(condition)?
    {
        return Ok(());
    }
    let assertions = rule.get("Assertions").and_then(Node::list);
    for assertion in assertions.unwrap_or_default() {
        let Some(assert) = assertion.get("Assert") else {
            return Err(Fault::new("an assertion needs Assert").on(assertion.line));
        };
        if !resolver.truth(assert)? {
            let words = assertion.get("AssertDescription").and_then(Node::text);
            let message = words.unwrap_or("the parameters do not go together");
            return Err(Fault::new(message).on(assert.line));
        }
    }
    Ok(())
}
