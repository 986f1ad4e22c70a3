//! Products: their values, and what clients send to write or read them.

use serde::Serialize;

use super::checked_value::{FromJson, MAX_SAFE_INTEGER, number, text};
use super::json_object::JsonObject;
use super::problem::Problem;
use super::product_field::{Field, Fields};

/// Whether `text` is one line: 1 to `max` characters, no control character, and no white space at
/// either end.
fn is_line(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
        && text.trim() == text
}

text! {
    /// A product's id: 1 to 64 of `A-Z a-z 0-9 _ -`.
    ProductId,
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'),
    "must be 1 to 64 of A-Z, a-z, 0-9, _ and -"
}

text! {
    /// A product's name. 200 characters fill two lines on a phone; longer text is a description.
    ProductName,
    |text| is_line(text, 200),
    "must be 1 to 200 characters without control characters or white space at either end"
}

text! {
    /// The category that lists a product: the partition key of the index `by-category`.
    ///
    /// 64 characters are at most 256 bytes, well under the 2,048 of a partition key.
    Category,
    |text| is_line(text, 64),
    "must be 1 to 64 characters without control characters or white space at either end"
}

text! {
    /// A product's description.
    ///
    /// 4,000 characters are at most 16 KB. So a hundred products stay well under the 6 MB of a
    /// function's answer, and an item far under DynamoDB's 400 KB.
    Description,
    |text| (1..=4000).contains(&text.chars().count())
        && !text.chars().any(|char| char.is_control() && char != '\n' && char != '\t'),
    "must be 1 to 4000 characters; the only control characters allowed are line feed and tab"
}

number! {
    /// A price in whole cents. 0 is a gift.
    PriceCents, 0, MAX_SAFE_INTEGER
}

number! {
    /// How many pieces can be sold.
    Stock, 0, MAX_SAFE_INTEGER
}

number! {
    /// How often a product has changed, from 1. Part of the product's entity tag.
    Version, 1, MAX_SAFE_INTEGER
}

number! {
    /// The most products on a page.
    ///
    /// A hundred of the largest products are 1.8 MB, within the 6 MB of a function's answer.
    Limit, 1, 100
}

impl Default for Limit {
    /// 20 products fit a screen, and cost one or two read units if they are short.
    fn default() -> Self {
        Self(20)
    }
}

/// A product as a client sends it, without the id, which is in the path, and the version, which the
/// table counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProduct {
    /// Its name.
    pub name: ProductName,
    /// The category that lists it.
    pub category: Category,
    /// Its price in cents.
    pub price_cents: PriceCents,
    /// How many pieces can be sold.
    pub stock: Stock,
    /// A longer text, if there is one.
    pub description: Option<Description>,
}

impl NewProduct {
    /// Reads the body of `PUT /products/{id}`.
    ///
    /// # Errors
    /// [`Problem::Unreadable`] if it is not JSON; [`Problem::Invalid`] with every field that is
    /// missing, wrong or unknown.
    pub fn from_body(body: &[u8]) -> Result<Self, Problem> {
        let mut body = JsonObject::parse(body)?;
        let name = body.required("name");
        let category = body.required("category");
        let price_cents = body.required("price_cents");
        let stock = body.required("stock");
        let description = body.optional("description");
        body.finish()?;
        // `finish` has refused the body if one of them is missing.
        let (Some(name), Some(category), Some(price_cents), Some(stock)) =
            (name, category, price_cents, stock)
        else {
            return Err(Problem::internal("a missing field was not reported"));
        };
        Ok(Self {
            name,
            category,
            price_cents,
            stock,
            description,
        })
    }
}

/// The products that `POST /products/batch-get` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRequest {
    /// 1 to 100 ids, all different.
    pub ids: Vec<ProductId>,
    /// The attributes to read.
    pub fields: Fields,
}

impl BatchRequest {
    /// The most keys that one `BatchGetItem` takes
    /// ([API](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html)).
    pub const MAX_IDS: usize = 100;

    /// Reads the body `{"ids": [...], "fields": [...]}`. A repeated id is refused, as
    /// `BatchGetItem` refuses it: it is more likely a mistake of the client than intended.
    ///
    /// # Errors
    /// [`Problem::Unreadable`] if it is not JSON; [`Problem::Invalid`] with every element that is
    /// wrong.
    pub fn from_body(body: &[u8]) -> Result<Self, Problem> {
        let mut body = JsonObject::parse(body)?;
        let elements = body.array("ids", 1, Self::MAX_IDS);
        let mut ids = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            match ProductId::from_json(element) {
                Ok(id) if ids.contains(&id) => {
                    body.refuse(&format!("ids/{index}"), "is given twice");
                }
                Ok(id) => ids.push(id),
                Err(reason) => body.refuse(&format!("ids/{index}"), reason),
            }
        }
        let fields = match body.optional_array("fields") {
            None => Fields::all(),
            Some(names) => {
                let read = names.iter().enumerate().filter_map(|(index, name)| {
                    Field::from_json(name)
                        .map_err(|reason| body.refuse(&format!("fields/{index}"), reason))
                        .ok()
                });
                read.collect()
            }
        };
        body.finish()?;
        Ok(Self { ids, fields })
    }
}

/// A product, or the requested part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Product {
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ProductId>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<ProductName>,
    /// The category that lists it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// Its price in cents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_cents: Option<PriceCents>,
    /// How many pieces can be sold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stock: Option<Stock>,
    /// A longer text, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// How often it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::domain::json_object::tests::{Outcome, look_at_bodies_near};

    fn pointers(body: &serde_json::Value) -> Vec<String> {
        let problem = NewProduct::from_body(body.to_string().as_bytes()).unwrap_err();
        assert!(matches!(problem, Problem::Invalid(_)), "{problem:?}");
        problem
            .errors()
            .iter()
            .map(|error| error.pointer.clone())
            .collect()
    }

    fn valid() -> serde_json::Value {
        json!({"name": "Mug", "category": "kitchen", "price_cents": 1450, "stock": 3})
    }

    fn with(field: &str, value: serde_json::Value) -> serde_json::Value {
        let mut body = valid();
        body[field] = value;
        body
    }

    /// The pointers that a refusal names.
    fn named(problem: &Problem) -> BTreeSet<String> {
        let pointers = problem.errors().iter().map(|error| error.pointer.clone());
        pointers.collect()
    }

    /// The pointers of an object's members that have none of these names.
    fn unknown(body: &Map<String, Value>, known: &[&str]) -> BTreeSet<String> {
        let unknown = body.keys().filter(|name| !known.contains(&name.as_str()));
        let escaped = unknown.map(|name| name.replace('~', "~0").replace('/', "~1"));
        escaped.map(|name| format!("/{name}")).collect()
    }

    /// The pointers of all that keeps a body from being a product.
    fn wrong_in_product(body: &Value) -> BTreeSet<String> {
        let Value::Object(members) = body else {
            return BTreeSet::from([String::new()]);
        };
        let description = &body["description"];
        let right = [
            ("name", ProductName::from_json(&body["name"]).is_ok()),
            ("category", Category::from_json(&body["category"]).is_ok()),
            (
                "price_cents",
                PriceCents::from_json(&body["price_cents"]).is_ok(),
            ),
            ("stock", Stock::from_json(&body["stock"]).is_ok()),
            (
                "description",
                description.is_null() || Description::from_json(description).is_ok(),
            ),
        ];
        let wrong = right.iter().filter(|(_, is_right)| !is_right);
        let wrong = wrong.map(|(name, _)| format!("/{name}"));
        wrong
            .chain(unknown(members, &right.map(|(name, _)| name)))
            .collect()
    }

    #[test]
    fn a_body_near_a_product_is_read_whole_or_refused_for_just_what_is_wrong() {
        look_at_bodies_near(&with("description", json!("For tea")), |body| {
            let read = NewProduct::from_body(body);
            let Ok(body) = serde_json::from_slice::<Value>(body) else {
                prop_assert!(matches!(read, Err(Problem::Unreadable(_))), "{:?}", read);
                return Ok(Outcome::NotJson);
            };
            let wrong = wrong_in_product(&body);
            match read {
                Ok(new) => {
                    prop_assert!(wrong.is_empty(), "{} was read", body);
                    prop_assert_eq!(Some(new.name.as_str()), body["name"].as_str());
                    prop_assert_eq!(Some(new.category.as_str()), body["category"].as_str());
                    let description = new.description.as_ref().map(Description::as_str);
                    prop_assert_eq!(description, body["description"].as_str());
                    for (name, number) in [
                        ("price_cents", new.price_cents.get()),
                        ("stock", new.stock.get()),
                    ] {
                        prop_assert_eq!(body[name].as_f64(), Some(number as f64), "{}", name);
                    }
                    Ok(Outcome::Read)
                }
                Err(problem) => {
                    prop_assert!(matches!(problem, Problem::Invalid(_)), "{}", body);
                    prop_assert_eq!(named(&problem), wrong, "{}", body);
                    Ok(Outcome::BrokeTheRules)
                }
            }
        });
    }

    /// The pointers of all that keeps a body from being a batch.
    fn wrong_in_batch(body: &Value) -> BTreeSet<String> {
        let Value::Object(members) = body else {
            return BTreeSet::from([String::new()]);
        };
        let mut wrong = unknown(members, &["ids", "fields"]);
        match body["ids"].as_array() {
            Some(ids) if (1..=100).contains(&ids.len()) => {
                let is_wrong = |at: usize| {
                    ProductId::from_json(&ids[at]).is_err() || ids[..at].contains(&ids[at])
                };
                wrong.extend(
                    (0..ids.len())
                        .filter(|at| is_wrong(*at))
                        .map(|at| format!("/ids/{at}")),
                );
            }
            _ => {
                wrong.insert("/ids".to_owned());
            }
        }
        match &body["fields"] {
            Value::Null => {}
            Value::Array(names) if !names.is_empty() => {
                let known = Fields::all()
                    .iter()
                    .map(|field| json!(field.name()))
                    .collect::<Vec<_>>();
                let is_wrong = |at: usize| !known.contains(&names[at]);
                wrong.extend(
                    (0..names.len())
                        .filter(|at| is_wrong(*at))
                        .map(|at| format!("/fields/{at}")),
                );
            }
            _ => {
                wrong.insert("/fields".to_owned());
            }
        }
        wrong
    }

    #[test]
    fn a_body_near_a_batch_is_read_whole_or_refused_for_just_what_is_wrong() {
        let batch = json!({"ids": ["mug", "lamp", "desk"], "fields": ["name", "stock"]});
        look_at_bodies_near(&batch, |body| {
            let read = BatchRequest::from_body(body);
            let Ok(body) = serde_json::from_slice::<Value>(body) else {
                prop_assert!(matches!(read, Err(Problem::Unreadable(_))), "{:?}", read);
                return Ok(Outcome::NotJson);
            };
            let wrong = wrong_in_batch(&body);
            match read {
                Ok(batch) => {
                    prop_assert!(wrong.is_empty(), "{} was read", body);
                    let ids: Vec<_> = batch.ids.iter().map(ProductId::as_str).collect();
                    prop_assert_eq!(&json!(ids), &body["ids"]);
                    for field in Fields::all() {
                        let asked = body["fields"].as_array();
                        let asked = asked.is_none_or(|names| names.contains(&json!(field.name())));
                        prop_assert_eq!(
                            batch.fields.contains(field),
                            asked,
                            "{:?} of {}",
                            field,
                            body
                        );
                    }
                    Ok(Outcome::Read)
                }
                Err(problem) => {
                    prop_assert!(matches!(problem, Problem::Invalid(_)), "{}", body);
                    prop_assert_eq!(named(&problem), wrong, "{}", body);
                    Ok(Outcome::BrokeTheRules)
                }
            }
        });
    }

    proptest! {
        #[test]
        fn an_id_is_read_exactly_when_it_fits_the_rule(text in ".{0,70}") {
            let fits = (1..=64).contains(&text.len())
                && text.chars().all(|char| char.is_ascii_alphanumeric() || "-_".contains(char));

            prop_assert_eq!(ProductId::parse(&text).is_ok(), fits);
        }

        #[test]
        fn every_id_of_the_alphabet_is_kept_as_it_is(text in "[A-Za-z0-9_-]{1,64}") {
            let id = ProductId::parse(&text).unwrap();

            prop_assert_eq!(id.as_str(), text);
        }

        #[test]
        fn a_number_is_read_exactly_within_its_bounds(number in any::<u64>()) {
            prop_assert_eq!(PriceCents::parse(number).is_ok(), number <= MAX_SAFE_INTEGER);
            prop_assert_eq!(Limit::parse(number).is_ok(), (1..=100).contains(&number));
            let read = number.to_string().parse::<Stock>().ok().map(Stock::get);
            prop_assert_eq!(read, Some(number).filter(|number| *number <= MAX_SAFE_INTEGER));
        }
    }

    #[test]
    fn text_with_control_characters_or_blank_ends_is_refused() {
        for text in ["", " ", " a", "a ", "a\nb", "\u{7f}", &"x".repeat(201)] {
            assert!(ProductName::parse(text).is_err(), "{text:?}");
        }
        // Characters count, not bytes.
        assert!(ProductName::parse(&"é".repeat(200)).is_ok());
    }

    #[test]
    fn every_wrong_field_is_reported_with_its_pointer() {
        let body = json!({
            "name": 7, "price_cents": -1, "stock": 1.5, "description": "", "colour/~": "red",
        });

        let mut pointers = pointers(&body);
        pointers.sort();

        assert_eq!(
            pointers,
            [
                "/category",
                "/colour~1~0",
                "/description",
                "/name",
                "/price_cents",
                "/stock"
            ]
        );
    }

    #[test]
    fn a_number_must_be_whole_and_safe() {
        for value in [
            json!(-1),
            json!(0.5),
            json!(-1.0),
            json!(1e300),
            json!("5"),
            json!(null),
            json!(1_u64 << 53),
        ] {
            assert_eq!(
                pointers(&with("price_cents", value.clone())),
                ["/price_cents"],
                "{value}"
            );
        }
        assert!(
            NewProduct::from_body(with("price_cents", json!(0)).to_string().as_bytes()).is_ok()
        );
    }

    #[test]
    fn a_whole_number_may_be_written_as_a_fraction_or_with_an_exponent() {
        for text in ["1000.0", "1e3", "1E+3", "10000e-1"] {
            let body = valid().to_string().replace("1450", text);
            let new = NewProduct::from_body(body.as_bytes()).unwrap();
            assert_eq!(new.price_cents.get(), 1000, "{text}");
        }
    }

    #[test]
    fn a_description_may_be_null_or_left_out() {
        for body in [valid(), with("description", json!(null))] {
            let new = NewProduct::from_body(body.to_string().as_bytes()).unwrap();
            assert_eq!(new.description, None);
        }
    }

    #[test]
    fn what_is_not_json_cannot_be_read() {
        let deep = "[".repeat(1000);
        let bodies: [&[u8]; 6] = [
            b"",
            b"{",
            b"{\"name\": \"\xff\"}",
            b"{} {}",
            deep.as_bytes(),
            b"NaN",
        ];

        for body in bodies {
            let read = NewProduct::from_body(body);
            assert!(matches!(read, Err(Problem::Unreadable(_))), "{read:?}");
        }
    }

    #[test]
    fn json_that_is_no_object_breaks_the_rules() {
        for body in ["[]", "null", "1", "\"text\""] {
            let read = NewProduct::from_body(body.as_bytes());
            assert!(matches!(read, Err(Problem::Invalid(_))), "{read:?}");
        }
    }

    #[test]
    fn the_largest_valid_product_fits_the_largest_body() {
        let escaped = |count: usize| "\\ud83d\\ude00".repeat(count);
        let body = format!(
            r#"{{"name":"{}","category":"{}","price_cents":{MAX_SAFE_INTEGER},"stock":{MAX_SAFE_INTEGER},"description":"{}"}}"#,
            escaped(200),
            escaped(64),
            escaped(4000),
        );

        assert!(NewProduct::from_body(body.as_bytes()).is_ok());
        assert!(body.len() < 64 * 1024, "{}", body.len());
    }

    #[test]
    fn a_batch_wants_1_to_100_different_ids() {
        let read = |body: serde_json::Value| BatchRequest::from_body(body.to_string().as_bytes());
        let ids = |count: usize| (0..count).map(|id| id.to_string()).collect::<Vec<_>>();

        assert_eq!(
            read(json!({"ids": ids(100)})).unwrap().fields,
            Fields::all()
        );
        for (body, pointer) in [
            (json!({}), "/ids"),
            (json!({"ids": []}), "/ids"),
            (json!({"ids": ids(101)}), "/ids"),
            (json!({"ids": "a"}), "/ids"),
            (json!({"ids": ["a", "b", "a"]}), "/ids/2"),
            (json!({"ids": ["a", 7]}), "/ids/1"),
            (json!({"ids": ["a/b"]}), "/ids/0"),
            (
                json!({"ids": ["a"], "fields": ["name", "colour"]}),
                "/fields/1",
            ),
            (json!({"ids": ["a"], "fields": [7]}), "/fields/0"),
            (json!({"ids": ["a"], "fields": []}), "/fields"),
            (json!({"ids": ["a"], "fields": "name"}), "/fields"),
            (json!({"ids": ["a"], "limit": 1}), "/limit"),
        ] {
            let problem = read(body.clone()).unwrap_err();
            let pointers: Vec<_> = problem.errors().iter().map(|it| &it.pointer).collect();
            assert_eq!(pointers, [pointer], "{body}");
        }
    }
}
