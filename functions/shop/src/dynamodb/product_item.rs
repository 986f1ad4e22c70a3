//! Reads a product from its item.

use super::attribute::{Item, Malformed, number, optional_text, text};
use crate::domain::{Field, Fields, Product, Revision};

/// The attribute of a product that holds the id of the last PUT. It is internal to the table:
/// clients never see it.
pub(super) const WRITTEN_BY: &str = "written_by";

/// The attribute that holds the version which that PUT made. 1 means that it created the product.
pub(super) const WRITTEN_VERSION: &str = "written_version";

/// The `fields` of a product. Other attributes may be missing or wrong.
pub(super) fn product(item: &Item, fields: Fields) -> Result<Product, Malformed> {
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

/// The revision of a product. An item that another program wrote has no [`WRITTEN_BY`].
pub(super) fn revision(item: &Item) -> Result<Revision, Malformed> {
    Ok(Revision {
        written_by: optional_text(item, WRITTEN_BY)?,
        version: number(item, Field::Version.name())?,
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;

    use super::*;
    use crate::dynamodb::attribute::{number_value, text_value};

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

                assert_eq!(product(&item, Fields::all()), Err(Malformed { attribute }));
            }
        }
    }

    #[test]
    fn what_was_not_asked_for_may_be_missing() {
        let mut item = mug();
        item.remove("stock");

        let read = product(&item, Field::Name | Field::Description).unwrap();

        assert_eq!(read.name.unwrap().as_str(), "Mug");
        assert_eq!(read.description, None);
        assert_eq!(read.id, None);
    }
}
