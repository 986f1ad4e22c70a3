//! Projection expressions: which attributes of a product DynamoDB returns.

use std::collections::HashMap;

use crate::domain::Fields;

/// The attributes to ask DynamoDB for, or `None` for the whole item. A projection saves bytes on
/// the wire and work here. The capacity consumed is still that of the whole item.
pub(super) fn projection(fields: Fields) -> Option<String> {
    let join = |fields: Fields| {
        fields
            .iter()
            .map(|field| format!("#{}", field.name()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    (fields != Fields::all()).then(|| join(fields))
}

/// Placeholders for the attributes: `name` and others are reserved words of DynamoDB.
pub(super) fn names(fields: Fields) -> HashMap<String, String> {
    fields
        .iter()
        .map(|field| (format!("#{}", field.name()), field.name().to_owned()))
        .collect()
}
