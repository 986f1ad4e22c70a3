//! The lines of an order: the products, and how many pieces of each.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::checked_value::{Invalid, number};
use super::hex_id::hex;
use super::json_object::JsonObject;
use super::problem::Problem;
use super::product::ProductId;

number! {
    /// How many pieces of a product are ordered. More than ten thousand is a typing mistake.
    Quantity, 1, 10_000
}

/// A product and how many pieces of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The product.
    pub product_id: ProductId,
    /// How many pieces.
    pub quantity: Quantity,
}

/// The lines of an order: 1 to 25, each for another product.
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
    /// [`Problem::Unreadable`] if it is not JSON; [`Problem::Invalid`] with every field that is
    /// missing, wrong or unknown, and every product that is listed twice.
    pub fn from_body(body: &[u8]) -> Result<Self, Problem> {
        let mut body = JsonObject::parse(body)?;
        let mut lines: Vec<Line> = Vec::new();
        for (index, element) in body.array("lines", 1, Self::MAX).into_iter().enumerate() {
            let Some(mut element) = body.element("lines", index, element) else {
                continue;
            };
            let product_id: Option<ProductId> = element.required("product_id");
            let quantity = element.required("quantity");
            if let (Some(product_id), Some(quantity)) = (product_id, quantity) {
                if lines.iter().any(|line| line.product_id == product_id) {
                    element.refuse("product_id", "has a line already");
                }
                lines.push(Line {
                    product_id,
                    quantity,
                });
            }
            body.absorb(element);
        }
        body.finish()?;
        Ok(Self(lines))
    }

    /// Lines of a stored order, which were checked when it was placed.
    pub(crate) fn checked_before(lines: Vec<Line>) -> Self {
        Self(lines)
    }

    /// The lines, in the order in which they were sent.
    pub fn as_slice(&self) -> &[Line] {
        &self.0
    }

    /// The products, one for each line.
    pub fn product_ids(&self) -> Vec<ProductId> {
        self.0.iter().map(|line| line.product_id.clone()).collect()
    }

    /// A hash of the lines, the same in whatever order they were sent.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut sorted: Vec<&Line> = self.0.iter().collect();
        sorted.sort_by(|a, b| a.product_id.cmp(&b.product_id));
        let mut hash = Sha256::new();
        for line in sorted {
            // No id contains a colon and no number a line feed, so no two lists hash the same text.
            hash.update(format!("{}:{}\n", line.product_id, line.quantity));
        }
        Fingerprint(hex(&hash.finalize()))
    }
}

impl TryFrom<Vec<Line>> for Lines {
    type Error = Invalid;

    fn try_from(lines: Vec<Line>) -> Result<Self, Invalid> {
        let repeated = |index: usize| {
            lines[..index]
                .iter()
                .any(|line| line.product_id == lines[index].product_id)
        };
        if !(1..=Self::MAX).contains(&lines.len()) || (0..lines.len()).any(repeated) {
            return Err(Invalid::new(
                "must be 1 to 25 lines, each of another product",
            ));
        }
        Ok(Self(lines))
    }
}

impl From<Lines> for Vec<Line> {
    fn from(lines: Lines) -> Self {
        lines.0
    }
}

/// A hash of an order's lines. The table stores it with the order. It reveals a request or a
/// message that has the same order id by mistake, but other lines.
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

        let pointers: Vec<_> = problem
            .errors()
            .iter()
            .map(|error| error.pointer.as_str())
            .collect();
        assert!(matches!(problem, Problem::Invalid(_)), "{problem:?}");
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
        for wrong in [
            body(0),
            body(26),
            json!({}),
            json!({"lines": {}}),
            json!({"lines": null}),
        ] {
            assert_eq!(
                lines(&wrong).unwrap_err().errors()[0].pointer,
                "/lines",
                "{wrong}"
            );
        }
    }
}
