//! Parses DynamoDB items into the domain's types.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use thiserror::Error;

use crate::precondition::ETag;
use crate::product::{Field, Fields, Product};

/// The attribute of a product that holds the id of the last PUT. It is internal to the table:
/// clients never see it.
pub(crate) const WRITTEN_BY: &str = "written_by";

/// The attribute that holds the version which that PUT made. 1 means that it created the product.
pub(crate) const WRITTEN_VERSION: &str = "written_version";

/// An item in the SDK's form.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// An item that another program wrote, or an older version of this code.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the stored attribute {attribute} is missing or not what it must be")]
pub(crate) struct Malformed {
    pub(crate) attribute: &'static str,
}

/// A string attribute.
pub(crate) fn text<T: TryFrom<String>>(
    item: &Item,
    attribute: &'static str,
) -> Result<T, Malformed> {
    item.get(attribute)
        .and_then(|value| value.as_s().ok())
        .and_then(|text| T::try_from(text.clone()).ok())
        .ok_or(Malformed { attribute })
}

/// A string attribute that may be absent.
pub(crate) fn optional_text<T: TryFrom<String>>(
    item: &Item,
    attribute: &'static str,
) -> Result<Option<T>, Malformed> {
    if item.contains_key(attribute) {
        text(item, attribute).map(Some)
    } else {
        Ok(None)
    }
}

/// A number attribute.
pub(crate) fn number<T: std::str::FromStr>(
    item: &Item,
    attribute: &'static str,
) -> Result<T, Malformed> {
    item.get(attribute)
        .and_then(|value| value.as_n().ok())
        .and_then(|digits| digits.parse().ok())
        .ok_or(Malformed { attribute })
}

/// The `fields` of a product. Other attributes may be missing or wrong.
pub(crate) fn product(item: &Item, fields: Fields) -> Result<Product, Malformed> {
    let mut product = Product::default();
    for field in fields.iter() {
        let name = field.name();
        match field {
            Field::Id => product.id = Some(text(item, name)?),
            Field::Name => product.name = Some(text(item, name)?),
            Field::Category => product.category = Some(text(item, name)?),
            Field::PriceCents => product.price_cents = Some(number(item, name)?),
            Field::Stock => product.stock = Some(number(item, name)?),
            Field::Description => product.description = optional_text(item, name)?,
            Field::Version => product.version = Some(number(item, name)?),
        }
    }
    Ok(product)
}

/// The state of a product. An item that another program wrote has no [`WRITTEN_BY`].
pub(crate) fn etag(item: &Item) -> Result<ETag, Malformed> {
    Ok(ETag {
        written_by: optional_text(item, WRITTEN_BY)?,
        version: number(item, Field::Version.name())?,
    })
}

/// A string as an attribute value.
pub(crate) fn text_value(value: &(impl ToString + ?Sized)) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

/// A number as an attribute value.
pub(crate) fn number_value(value: &impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mug() -> Item {
        Item::from([
            ("id".to_owned(), text_value("mug")),
            ("name".to_owned(), text_value("Mug")),
            ("category".to_owned(), text_value("kitchen")),
            ("price_cents".to_owned(), number_value(&1450)),
            ("stock".to_owned(), number_value(&3)),
            ("version".to_owned(), number_value(&1)),
        ])
    }

    #[test]
    fn an_attribute_that_is_missing_or_wrong_is_named() {
        for attribute in ["id", "name", "category", "price_cents", "stock", "version"] {
            for wrong in [
                None,
                Some(AttributeValue::Bool(true)),
                Some(text_value("")),
                Some(number_value(&"-1.5")),
            ] {
                let mut item = mug();
                match wrong {
                    Some(value) => item.insert(attribute.to_owned(), value),
                    None => item.remove(attribute),
                };

                assert_eq!(product(&item, Fields::ALL), Err(Malformed { attribute }));
            }
        }
    }

    #[test]
    fn what_was_not_asked_for_may_be_missing() {
        let mut item = mug();
        item.remove("stock");

        let read = product(&item, Fields::of(&[Field::Name, Field::Description])).unwrap();

        assert_eq!(read.name.unwrap().as_str(), "Mug");
        assert_eq!(read.description, None);
        assert_eq!(read.id, None);
    }
}
