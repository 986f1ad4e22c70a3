//! Reads an order from its item, and makes the item.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::attribute::{self, Item, Malformed, number_value, text_value};
use crate::domain::{Fingerprint, Order, PricedLine, WriteId};

/// How long an order is kept, in seconds: 90 days. By then it was settled long ago, and no client
/// repeats its key any more.
const KEPT_SECONDS: i64 = 90 * 24 * 60 * 60;

/// An order as it is stored in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOrder {
    /// The order.
    pub order: Order,
    /// The hash of the lines that it was placed with.
    pub fingerprint: Fingerprint,
    /// The request that stored it; `None` for an order from before this was kept.
    pub placed_by: Option<WriteId>,
}

pub(super) fn to_item(stored: &StoredOrder) -> Item {
    let StoredOrder {
        order,
        fingerprint,
        placed_by,
    } = stored;
    let line = |line: &PricedLine| {
        AttributeValue::M(HashMap::from([
            ("product_id".to_owned(), text_value(&line.product_id)),
            ("quantity".to_owned(), number_value(&line.quantity)),
            (
                "unit_price_cents".to_owned(),
                number_value(&line.unit_price_cents),
            ),
        ]))
    };
    let mut item = Item::from([
        ("id".to_owned(), text_value(&order.id)),
        ("status".to_owned(), text_value(order.status.as_str())),
        (
            "lines".to_owned(),
            AttributeValue::L(order.lines.iter().map(line).collect()),
        ),
        ("total_cents".to_owned(), number_value(&order.total_cents)),
        ("placed_at".to_owned(), text_value(&order.placed_at)),
        ("updated_at".to_owned(), text_value(&order.updated_at)),
        ("fingerprint".to_owned(), text_value(fingerprint.as_str())),
    ]);
    if let Some(placed_by) = placed_by {
        item.insert("placed_by".to_owned(), text_value(placed_by));
    }
    if let Some(reason) = &order.reason {
        item.insert("reason".to_owned(), text_value(reason));
    }
    // DynamoDB then deletes the item, without a call and without a cost
    // (`TimeToLiveSpecification`).
    if let Some(placed_at) = order.placed_at.epoch_seconds() {
        item.insert(
            "expires_at".to_owned(),
            number_value(&(placed_at + KEPT_SECONDS)),
        );
    }
    item
}

pub(super) fn from_item(item: &Item) -> Result<StoredOrder, Malformed> {
    let lines = item.get("lines").and_then(|lines| lines.as_l().ok());
    let lines = lines
        .ok_or(Malformed { attribute: "lines" })?
        .iter()
        .map(|line| {
            let line = line.as_m().map_err(|_| Malformed { attribute: "lines" })?;
            Ok(PricedLine {
                product_id: attribute::text(line, "product_id")?,
                quantity: attribute::number(line, "quantity")?,
                unit_price_cents: attribute::number(line, "unit_price_cents")?,
            })
        });
    Ok(StoredOrder {
        order: Order {
            id: attribute::text(item, "id")?,
            status: attribute::text(item, "status")?,
            lines: lines.collect::<Result<_, _>>()?,
            total_cents: attribute::number(item, "total_cents")?,
            placed_at: attribute::text(item, "placed_at")?,
            updated_at: attribute::text(item, "updated_at")?,
            reason: attribute::optional_text(item, "reason")?,
        },
        fingerprint: attribute::text(item, "fingerprint")?,
        placed_by: attribute::optional_text(item, "placed_by")?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Lines, OrderId, PriceCents, ProductId, Timestamp};

    fn stored(quantities: &[u64], price: u64, reason: Option<String>) -> StoredOrder {
        let line = |(id, quantity): (usize, &u64)| serde_json::json!({"product_id": format!("p-{id}"), "quantity": quantity});
        let lines: Vec<_> = quantities.iter().enumerate().map(line).collect();
        let lines: Lines = serde_json::from_value(lines.into()).unwrap();
        let price = PriceCents::parse(price).unwrap();
        let prices: HashMap<ProductId, _> = lines
            .product_ids()
            .into_iter()
            .map(|id| (id, price))
            .collect();
        let mut order = Order::place(OrderId::random(), &lines, &prices, Timestamp::now()).unwrap();
        order.reason = reason;
        StoredOrder {
            order,
            fingerprint: lines.fingerprint(),
            placed_by: Some(WriteId::random()),
        }
    }

    proptest! {
        #[test]
        fn an_order_is_read_as_it_was_stored(
            quantities in proptest::collection::vec(1..=10_000_u64, 1..=25),
            price in 0..=1_000_000_u64,
            reason in proptest::option::of(".{1,40}"),
        ) {
            let stored = stored(&quantities, price, reason);

            prop_assert_eq!(from_item(&to_item(&stored)), Ok(stored));
        }
    }

    #[test]
    fn an_order_expires_90_days_after_it_was_placed() {
        let mut stored = stored(&[1], 5, None);
        stored.order.placed_at = Timestamp::parse("2026-01-31T09:30:00.500Z").unwrap();

        let expires_at = to_item(&stored)["expires_at"].clone();

        // 2026-05-01T09:30:00Z, in the seconds that DynamoDB wants.
        assert_eq!(expires_at, AttributeValue::N("1777627800".to_owned()));
    }

    #[test]
    fn an_item_without_one_of_its_attributes_is_no_order() {
        let mut item = to_item(&stored(&[1, 2], 5, None));
        item.remove("expires_at"); // for DynamoDB alone
        item.remove("placed_by"); // orders from before it was kept have none

        for attribute in item.keys() {
            let mut rest = item.clone();
            rest.remove(attribute);
            assert!(from_item(&rest).is_err(), "{attribute}");
        }
    }
}
