//! Preconditions as condition expressions.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::attribute::{number_value, text_value};
use crate::domain::{Precondition, Revision, Revisions};

/// A precondition in DynamoDB's form: clauses that must all hold, and the values in them.
pub(super) struct Condition {
    pub(super) clauses: Vec<String>,
    pub(super) values: HashMap<String, AttributeValue>,
}

impl Condition {
    pub(super) fn of(precondition: &Precondition) -> Self {
        let mut condition = Self {
            clauses: Vec::new(),
            values: HashMap::new(),
        };
        if let Some(revisions) = &precondition.one_of {
            let one_of = condition.one_of(revisions);
            condition.clauses.push(one_of);
        }
        if let Some(revisions) = &precondition.none_of {
            let one_of = condition.one_of(revisions);
            condition.clauses.push(format!("NOT {one_of}"));
        }
        condition
    }

    /// An expression that is true if the product is in one of `revisions`.
    fn one_of(&mut self, revisions: &Revisions) -> String {
        let named = match revisions {
            Revisions::Any => return "attribute_exists(id)".to_owned(),
            // No revision at all. Every item has an id, so this is never true.
            Revisions::These(named) if named.is_empty() => {
                return "(attribute_exists(id) AND attribute_not_exists(id))".to_owned();
            }
            Revisions::These(named) => named,
        };
        let mut clauses = Vec::with_capacity(named.len());
        for Revision {
            written_by,
            version,
        } in named
        {
            let number = self.values.len();
            let writer = match written_by {
                Some(id) => {
                    self.values.insert(format!(":by{number}"), text_value(id));
                    format!("written_by = :by{number}")
                }
                None => "attribute_not_exists(written_by)".to_owned(),
            };
            self.values
                .insert(format!(":version{number}"), number_value(version));
            clauses.push(format!("({writer} AND version = :version{number})"));
        }
        match clauses.as_slice() {
            // DynamoDB refuses parentheses around parentheses.
            [one] => one.clone(),
            several => format!("({})", several.join(" OR ")),
        }
    }
}
