//! Orders: what is ordered, at what price, and how far it has come.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_smithy_types::date_time::{DateTime, Format};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::json::Object;
use crate::newtype::{Invalid, MAX_SAFE_INTEGER, number, text};
use crate::problem::{FieldError, Problem};
use crate::product::{PriceCents, ProductId};

text! {
    /// An order's id: 128 bits as 32 hexadecimal digits.
    OrderId,
    |text| text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
    "must be 32 hexadecimal digits"
}

text! {
    /// What a client sends to have a repeated request recognised: the header `Idempotency-Key`.
    ///
    /// From 16 characters on, a key drawn at random is unlikely to be drawn twice.
    IdempotencyKey,
    |text| (16..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()),
    "must be 16 to 255 visible ASCII characters"
}

text! {
    /// A point in time, to the millisecond, as RFC 3339 has it, in UTC.
    Timestamp,
    |text| DateTime::from_str(text, Format::DateTime).is_ok(),
    "must be a time such as 2026-01-31T09:30:00Z"
}

number! {
    /// How many pieces of a product are ordered. More than ten thousand is a slip of the finger.
    Quantity, 1, 10_000
}

number! {
    /// What all lines of an order cost together, in cents.
    TotalCents, 0, MAX_SAFE_INTEGER
}

impl OrderId {
    /// A new id that no other order has.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    /// The id of the order that `key` stands for: always the same one, so that the table itself
    /// recognises a repeated request.
    pub fn derived_from(key: &IdempotencyKey) -> Self {
        let digest = Sha256::digest(key.as_str());
        Self(hex(&digest[..16]))
    }
}

impl Timestamp {
    /// The present.
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = i64::try_from(since_epoch.as_millis()).unwrap_or_default();
        Self(DateTime::from_millis(millis).fmt(Format::DateTime).unwrap_or_default())
    }
}

/// A product and how many pieces of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Which product.
    pub product_id: ProductId,
    /// How many pieces.
    pub quantity: Quantity,
}

/// What is ordered: 1 to 25 lines, each of another product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Line>", into = "Vec<Line>")]
pub struct Lines(Vec<Line>);

impl Lines {
    /// The most lines of an order. One transaction settles it, and DynamoDB takes
    /// [100 items](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html)
    /// in one: 25 leave it short, since a longer transaction meets more conflicts.
    pub const MAX: usize = 25;

    /// Reads the body `{"lines": [{"product_id", "quantity"}]}` of `POST /orders`.
    ///
    /// # Errors
    /// 400 if it is not JSON; 422 with every field that is missing, wrong or unknown, and every
    /// product that has a line already.
    pub fn from_body(body: &[u8]) -> Result<Self, Problem> {
        let mut body = Object::parse(body)?;
        let mut lines: Vec<Line> = Vec::new();
        for (index, element) in body.array("lines", 1, Self::MAX).into_iter().enumerate() {
            let Some(mut element) = body.element("lines", index, element) else { continue };
            let product_id: Option<ProductId> = element.required("product_id");
            let quantity = element.required("quantity");
            if let (Some(product_id), Some(quantity)) = (product_id, quantity) {
                if lines.iter().any(|line| line.product_id == product_id) {
                    element.refuse("product_id", "has a line already");
                }
                lines.push(Line { product_id, quantity });
            }
            body.absorb(element);
        }
        body.finish()?;
        Ok(Self(lines))
    }

    /// The lines, in the order in which they were sent.
    pub fn as_slice(&self) -> &[Line] {
        &self.0
    }

    /// The products, one for each line.
    pub fn product_ids(&self) -> Vec<ProductId> {
        self.0.iter().map(|line| line.product_id.clone()).collect()
    }

    /// What tells these lines from others, whatever their order.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut sorted: Vec<&Line> = self.0.iter().collect();
        sorted.sort_by(|a, b| a.product_id.cmp(&b.product_id));
        let mut hash = Sha256::new();
        for line in sorted {
            // No id holds a colon and no number a line feed, so no two lists read the same.
            hash.update(format!("{}:{}\n", line.product_id, line.quantity));
        }
        Fingerprint(hex(&hash.finalize()))
    }
}

impl TryFrom<Vec<Line>> for Lines {
    type Error = Invalid;

    fn try_from(lines: Vec<Line>) -> Result<Self, Invalid> {
        let repeated = |index: usize| {
            lines[..index].iter().any(|line| line.product_id == lines[index].product_id)
        };
        if !(1..=Self::MAX).contains(&lines.len()) || (0..lines.len()).any(repeated) {
            return Err(Invalid("must be 1 to 25 lines, each of another product".to_owned()));
        }
        Ok(Self(lines))
    }
}

impl From<Lines> for Vec<Line> {
    fn from(lines: Lines) -> Self {
        lines.0
    }
}

/// A hash of an order's lines. The table keeps it beside the order, so that a repeated request and
/// a message can be told from one that bears the same id by mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The hash in hexadecimal.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Fingerprint {
    fn from(stored: String) -> Self {
        Self(stored)
    }
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Accepted; nobody has taken its stock yet.
    Pending,
    /// Its stock is taken. Final.
    Fulfilled,
    /// It cannot be fulfilled, and took no stock. Final.
    Rejected,
}

impl Status {
    /// As it stands in the table and in answers.
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
            .ok_or_else(|| Invalid("must be a status".to_owned()))
    }
}

/// A line of an order, at the price that it was ordered for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PricedLine {
    /// Which product.
    pub product_id: ProductId,
    /// How many pieces.
    pub quantity: Quantity,
    /// What one piece cost when the order was placed, in cents.
    pub unit_price_cents: PriceCents,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// How far it has come.
    pub status: Status,
    /// What was ordered.
    pub lines: Vec<PricedLine>,
    /// What it costs, in cents.
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
    /// 422 if a product has no price, since then it is not sold, or the total is beyond
    /// [`TotalCents::MAX`].
    pub fn place(
        id: OrderId,
        lines: &Lines,
        prices: &HashMap<ProductId, PriceCents>,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let mut priced = Vec::with_capacity(lines.0.len());
        let mut unknown = Vec::new();
        for (index, line) in lines.0.iter().enumerate() {
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
            return Err(Problem::invalid(unknown));
        }
        let total_cents = total(&priced).ok_or_else(|| {
            let rule = format!("must cost at most {} cents together", TotalCents::MAX);
            Problem::invalid(vec![FieldError::new("/lines", rule)])
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

    /// What the worker must know to settle it.
    pub fn message(&self) -> OrderMessage {
        let line = |line: &PricedLine| Line {
            product_id: line.product_id.clone(),
            quantity: line.quantity,
        };
        OrderMessage {
            order_id: self.id.clone(),
            lines: Lines(self.lines.iter().map(line).collect()),
        }
    }
}

fn total(lines: &[PricedLine]) -> Option<TotalCents> {
    let total = lines.iter().try_fold(0_u64, |total, line| {
        total.checked_add(line.unit_price_cents.get().checked_mul(line.quantity.get())?)
    });
    TotalCents::parse(total?).ok()
}

/// The body of a message in the orders queue. It says all that the worker needs, so that the worker
/// reads nothing before it writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderMessage {
    /// Which order.
    pub order_id: OrderId,
    /// What it takes from stock.
    pub lines: Lines,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn lines(body: &serde_json::Value) -> Result<Lines, Problem> {
        Lines::from_body(body.to_string().as_bytes())
    }

    fn line(id: &str, quantity: u64) -> Line {
        Line {
            product_id: ProductId::parse(id).unwrap(),
            quantity: Quantity::parse(quantity).unwrap(),
        }
    }

    proptest! {
        #[test]
        fn the_fingerprint_does_not_depend_on_the_order_of_lines(
            quantities in proptest::collection::vec(1..=10_000_u64, 2..=25),
            turn in 0..25_usize,
        ) {
            let mut all: Vec<_> =
                (0..).zip(quantities).map(|(id, n): (u32, u64)| line(&id.to_string(), n)).collect();
            let before = Lines::try_from(all.clone()).unwrap().fingerprint();
            let turn = turn % all.len();
            all.rotate_left(turn);

            prop_assert_eq!(Lines::try_from(all).unwrap().fingerprint(), before);
        }

        #[test]
        fn other_lines_have_another_fingerprint(
            a in "[a-z0-9]{1,3}", n in 1..=99_u64, b in "[a-z0-9]{1,3}", m in 1..=99_u64,
        ) {
            let fingerprint = |id: &str, n| Lines(vec![line(id, n)]).fingerprint();

            prop_assert_eq!(fingerprint(&a, n) == fingerprint(&b, m), (&a, n) == (&b, m));
        }

        #[test]
        fn a_message_is_read_as_it_was_written(quantity in 1..=10_000_u64, id in "[A-Za-z0-9_-]{1,64}") {
            let message =
                OrderMessage { order_id: OrderId::random(), lines: Lines(vec![line(&id, quantity)]) };

            let text = serde_json::to_string(&message).unwrap();

            prop_assert_eq!(serde_json::from_str::<OrderMessage>(&text).unwrap(), message);
        }

        #[test]
        fn no_message_is_fatal(text in ".{0,100}") {
            let _ = serde_json::from_str::<OrderMessage>(&text);
        }
    }

    #[test]
    fn every_wrong_line_is_reported_with_its_pointer() {
        let body = json!({"lines": [
            {"product_id": "a", "quantity": 0},
            {"product_id": "a/b", "quantity": 1},
            {"product_id": "c", "quantity": 1},
            {"product_id": "c", "quantity": 2},
            {"product_id": "d", "quantity": "1"},
            {"quantity": 10_001, "price": 1},
            7,
        ]});

        let problem = lines(&body).unwrap_err();

        let pointers: Vec<_> =
            problem.errors().iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(problem.status(), 422);
        assert_eq!(
            pointers,
            [
                "/lines/0/quantity",
                "/lines/1/product_id",
                "/lines/3/product_id",
                "/lines/4/quantity",
                "/lines/5/product_id",
                "/lines/5/quantity",
                "/lines/5/price",
                "/lines/6",
            ]
        );
    }

    #[test]
    fn an_order_has_1_to_25_lines() {
        let body = |count: usize| {
            let line = |id| json!({"product_id": format!("p-{id}"), "quantity": 1});
            json!({"lines": (0..count).map(line).collect::<Vec<_>>()})
        };

        assert!(lines(&body(1)).is_ok());
        assert!(lines(&body(25)).is_ok());
        for wrong in [body(0), body(26), json!({}), json!({"lines": {}}), json!({"lines": null})] {
            assert_eq!(lines(&wrong).unwrap_err().errors()[0].pointer, "/lines", "{wrong}");
        }
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
            assert!(serde_json::from_value::<OrderMessage>(message.clone()).is_err(), "{message}");
        }
    }

    #[test]
    fn a_key_always_stands_for_the_same_order_and_no_key_for_none() {
        let key = |text| IdempotencyKey::parse(text).unwrap();

        let id = OrderId::derived_from(&key("0123456789abcdef"));

        assert_eq!(id, OrderId::derived_from(&key("0123456789abcdef")));
        assert_ne!(id, OrderId::derived_from(&key("0123456789abcdeg")));
        assert_ne!(OrderId::random(), OrderId::random());
        for id in [id, OrderId::random()] {
            assert_eq!(OrderId::parse(id.as_str()), Ok(id));
        }
    }

    #[test]
    fn a_key_is_16_to_255_visible_ascii_characters() {
        for wrong in ["", &"x".repeat(15), &"x".repeat(256), "0123456789 abcdef", "0123456789abcdeé"] {
            assert!(IdempotencyKey::parse(wrong).is_err(), "{wrong}");
        }
        assert!(IdempotencyKey::parse(&"x".repeat(16)).is_ok());
        assert!(IdempotencyKey::parse(&"~".repeat(255)).is_ok());
    }

    #[test]
    fn the_present_is_a_time_that_can_be_read() {
        let now = Timestamp::now();

        assert_eq!(Timestamp::parse(now.as_str()), Ok(now));
    }
}
