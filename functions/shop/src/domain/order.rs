//! Orders: their lines, prices and status.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::checked_value::{Invalid, MAX_SAFE_INTEGER, number, text};
use super::hex_id::{self, hex};
use super::order_lines::{Line, Lines, Quantity};
use super::problem::{FieldError, Problem};
use super::product::{PriceCents, ProductId};
use super::timestamp::Timestamp;

text! {
    /// An order's id: 128 bits as 32 hexadecimal digits.
    OrderId,
    hex_id::is_id,
    "must be 32 hexadecimal digits"
}

text! {
    /// The header `Idempotency-Key`, by which the shop recognises a client's repeated request.
    ///
    /// With 16 or more characters, a random key is unlikely to be drawn twice.
    IdempotencyKey,
    |text| (16..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()),
    "must be 16 to 255 visible ASCII characters"
}

number! {
    /// The total of all lines of an order, in cents.
    TotalCents, 0, MAX_SAFE_INTEGER
}

impl OrderId {
    /// A new id that no other order has.
    pub fn random() -> Self {
        Self(hex_id::random())
    }

    /// The id of the order for `key`. It is always the same, so that the table recognises a
    /// repeated request. The same key from another customer is another order.
    pub fn derived_from(key: &IdempotencyKey, customer: Option<&Customer>) -> Self {
        let mut hash = Sha256::new();
        if let Some(Customer { issuer, subject }) = customer {
            // With its length in front, no part of one can be mistaken for part of another.
            for part in [issuer, subject] {
                hash.update(part.len().to_be_bytes());
                hash.update(part);
            }
        }
        hash.update(key.as_str());
        Self(hex(&hash.finalize()[..16]))
    }
}

/// The customer who places an order, if the API requires a token.
///
/// A subject is unique only within its issuer
/// ([RFC 7519, section 4.1.2](https://www.rfc-editor.org/rfc/rfc7519#section-4.1.2)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    /// The claim `iss` of the token.
    pub issuer: String,
    /// The claim `sub` of the token.
    pub subject: String,
}

/// The status of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Accepted; its stock is not taken yet.
    Pending,
    /// Its stock is taken. Final.
    Fulfilled,
    /// It cannot be fulfilled; no stock was taken. Final.
    Rejected,
}

impl Status {
    /// Its form in the table and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Fulfilled => "FULFILLED",
            Self::Rejected => "REJECTED",
        }
    }
}

impl TryFrom<String> for Status {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        [Self::Pending, Self::Fulfilled, Self::Rejected]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| Invalid::new("must be a status"))
    }
}

/// A line of an order, with its price at the time of the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PricedLine {
    /// The product.
    pub product_id: ProductId,
    /// How many pieces.
    pub quantity: Quantity,
    /// The price of one piece when the order was placed, in cents.
    pub unit_price_cents: PriceCents,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// Its status.
    pub status: Status,
    /// The lines.
    pub lines: Vec<PricedLine>,
    /// The total, in cents.
    pub total_cents: TotalCents,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When its status last changed.
    pub updated_at: Timestamp,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Order {
    /// A pending order for `lines` at `prices`.
    ///
    /// # Errors
    /// [`Problem::Invalid`] if a product has no price, because then it is not sold, or if the total is above
    /// [`TotalCents::MAX`].
    pub fn place(
        id: OrderId,
        lines: &Lines,
        prices: &HashMap<ProductId, PriceCents>,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let mut priced = Vec::with_capacity(lines.as_slice().len());
        let mut unknown = Vec::new();
        for (index, line) in lines.as_slice().iter().enumerate() {
            match prices.get(&line.product_id) {
                Some(&unit_price_cents) => priced.push(PricedLine {
                    product_id: line.product_id.clone(),
                    quantity: line.quantity,
                    unit_price_cents,
                }),
                None => unknown.push(FieldError::new(
                    format!("/lines/{index}/product_id"),
                    "is not a product that the shop sells",
                )),
            }
        }
        if !unknown.is_empty() {
            return Err(Problem::Invalid(unknown));
        }
        let total_cents = total(&priced).ok_or_else(|| {
            let rule = format!("must cost at most {} cents together", TotalCents::MAX);
            Problem::Invalid(vec![FieldError::new("/lines", rule)])
        })?;
        Ok(Self {
            id,
            status: Status::Pending,
            lines: priced,
            total_cents,
            placed_at: now.clone(),
            updated_at: now,
            reason: None,
        })
    }

    /// The message that the worker needs to settle it.
    pub fn message(&self) -> OrderMessage {
        let line = |line: &PricedLine| Line {
            product_id: line.product_id.clone(),
            quantity: line.quantity,
        };
        OrderMessage {
            order_id: self.id.clone(),
            lines: Lines::checked_before(self.lines.iter().map(line).collect()),
        }
    }
}

fn total(lines: &[PricedLine]) -> Option<TotalCents> {
    let total = lines.iter().try_fold(0_u64, |total, line| {
        total.checked_add(
            line.unit_price_cents
                .get()
                .checked_mul(line.quantity.get())?,
        )
    });
    TotalCents::parse(total?).ok()
}

/// The body of a message in the orders queue. It holds everything that the worker needs, so that
/// the worker reads nothing before it writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderMessage {
    /// The order.
    pub order_id: OrderId,
    /// The lines to take from stock.
    pub lines: Lines,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::json_object::tests::{Outcome, look_at_bodies_near};

    proptest! {
        #[test]
        fn a_message_is_read_as_it_was_written(quantity in 1..=10_000_u64, id in "[A-Za-z0-9_-]{1,64}") {
            let line = json!({"product_id": id, "quantity": quantity});
            let lines = serde_json::from_value(json!([line])).unwrap();
            let message = OrderMessage { order_id: OrderId::random(), lines };

            let text = serde_json::to_string(&message).unwrap();

            prop_assert_eq!(serde_json::from_str::<OrderMessage>(&text).unwrap(), message);
        }
    }

    /// Whether `value` is an object with just these members.
    fn has_just(value: &Value, names: [&str; 2]) -> bool {
        let members = value.as_object();
        members.is_some_and(|it| it.len() == 2 && names.iter().all(|name| it.contains_key(*name)))
    }

    fn is_line(line: &Value) -> bool {
        let product_id = line["product_id"].as_str().map(ProductId::parse);
        let quantity = line["quantity"].as_u64();
        has_just(line, ["product_id", "quantity"])
            && product_id.is_some_and(|it| it.is_ok())
            && quantity.is_some_and(|it| (1..=10_000).contains(&it))
    }

    fn is_message(message: &Value) -> bool {
        let order_id = message["order_id"].as_str().map(OrderId::parse);
        let lines = message["lines"].as_array().map_or(&[][..], Vec::as_slice);
        let products: HashSet<_> = lines.iter().map(|it| it["product_id"].as_str()).collect();
        has_just(message, ["order_id", "lines"])
            && order_id.is_some_and(|it| it.is_ok())
            && (1..=25).contains(&lines.len())
            && lines.iter().all(is_line)
            && products.len() == lines.len()
    }

    #[test]
    fn what_is_near_a_message_is_read_just_as_it_is_or_refused() {
        let valid = json!({
            "order_id": "0123456789abcdef0123456789abcdef",
            "lines": [{"product_id": "mug", "quantity": 12}, {"product_id": "lamp", "quantity": 1}],
        });
        look_at_bodies_near(&valid, |body| {
            let read = serde_json::from_slice::<OrderMessage>(body);
            let Ok(body) = serde_json::from_slice::<Value>(body) else {
                prop_assert!(read.is_err());
                return Ok(Outcome::NotJson);
            };
            prop_assert_eq!(read.is_ok(), is_message(&body), "{}", body);
            let Ok(message) = read else {
                return Ok(Outcome::BrokeTheRules);
            };
            prop_assert_eq!(serde_json::to_value(message).unwrap(), body);
            Ok(Outcome::Read)
        });
    }

    #[test]
    fn a_message_with_more_or_less_than_it_must_have_is_refused() {
        let id = "0123456789abcdef0123456789abcdef";
        for message in [
            json!({"order_id": id}),
            json!({"order_id": id, "lines": []}),
            json!({"order_id": "1", "lines": [{"product_id": "a", "quantity": 1}]}),
            json!({"order_id": id, "lines": [{"product_id": "a", "quantity": 0}]}),
            json!({"order_id": id, "lines": [{"product_id": "a", "quantity": 1, "x": 1}]}),
            json!({"order_id": id, "x": 1, "lines": [{"product_id": "a", "quantity": 1}]}),
            json!({"order_id": id, "lines": [
                {"product_id": "a", "quantity": 1}, {"product_id": "a", "quantity": 1},
            ]}),
        ] {
            assert!(
                serde_json::from_value::<OrderMessage>(message.clone()).is_err(),
                "{message}"
            );
        }
    }

    #[test]
    fn a_key_always_stands_for_the_same_order_and_no_key_for_none() {
        let id = |key| OrderId::derived_from(&IdempotencyKey::parse(key).unwrap(), None);

        assert_eq!(id("0123456789abcdef"), id("0123456789abcdef"));
        assert_ne!(id("0123456789abcdef"), id("0123456789abcdeg"));
        assert_ne!(OrderId::random(), OrderId::random());
        for id in [id("0123456789abcdef"), OrderId::random()] {
            assert_eq!(OrderId::parse(id.as_str()), Ok(id));
        }
    }

    #[test]
    fn the_key_of_one_customer_stands_for_no_order_of_another() {
        let key = IdempotencyKey::parse("0123456789abcdef").unwrap();
        let id = |issuer: &str, subject: &str| {
            let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
            OrderId::derived_from(&key, Some(&Customer { issuer, subject }))
        };
        let different = [
            OrderId::derived_from(&key, None),
            id("https://a", "1"),
            id("https://b", "1"),
            id("https://a", "2"),
            // The same text, split at another place.
            id("https://a1", ""),
            id("https://", "a1"),
        ];

        assert_eq!(id("https://a", "1"), different[1]);
        for (index, one) in different.iter().enumerate() {
            assert!(!different[..index].contains(one), "{index}");
        }
    }

    #[test]
    fn a_key_is_16_to_255_visible_ascii_characters() {
        for wrong in [
            "",
            &"x".repeat(15),
            &"x".repeat(256),
            "0123456789 abcdef",
            "0123456789abcdeé",
        ] {
            assert!(IdempotencyKey::parse(wrong).is_err(), "{wrong}");
        }
        assert!(IdempotencyKey::parse(&"x".repeat(16)).is_ok());
        assert!(IdempotencyKey::parse(&"~".repeat(255)).is_ok());
    }
}
