//! Compares the tables with the accepted orders.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use shop_tests::Item;

use crate::orders::{Product, Wish};

/// The contents of the tables at the end.
pub(crate) struct Stored {
    pub(crate) orders: Vec<Item>,
    pub(crate) products: Vec<Item>,
}

impl Stored {
    /// Everything that is not as it should be.
    pub(crate) fn differences(
        &self,
        products: &[Product],
        wishes: &[Wish],
        accepted: &[(usize, String)],
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let orders: HashMap<&str, &Item> = self
            .orders
            .iter()
            .map(|order| (text(order, "id"), order))
            .collect();
        let ids: BTreeSet<&str> = accepted.iter().map(|(_, id)| id.as_str()).collect();
        if accepted.len() != wishes.len() || ids.len() != wishes.len() {
            let (count, wanted) = (accepted.len(), wishes.len());
            wrong.push(format!(
                "{wanted} were ordered, {count} accepted under {} ids",
                ids.len()
            ));
        }
        if self.orders.len() != ids.len() {
            wrong.push(format!(
                "{} are stored, {} accepted",
                self.orders.len(),
                ids.len()
            ));
        }

        let stock: HashMap<&str, &Item> = self
            .products
            .iter()
            .map(|item| (text(item, "id"), item))
            .collect();
        let mut taken = vec![(0, 0); products.len()];
        for (number, id) in accepted {
            let wish = &wishes[*number];
            let Some(order) = orders.get(id.as_str()) else {
                wrong.push(format!("{id} was accepted and is not stored"));
                continue;
            };
            if lines(order) != wish_lines(wish, products) {
                wrong.push(format!("{id} has other lines than were ordered: {order:?}"));
            }
            if numeric::<u64>(order, "total_cents") != Some(wish.total_cents(products)) {
                wrong.push(format!("{id} has a wrong total: {order:?}"));
            }
            match text(order, "status") {
                "FULFILLED" => {
                    for (product, quantity) in &wish.lines {
                        taken[*product].0 += quantity;
                        taken[*product].1 += 1;
                    }
                }
                // Stock only ever becomes less: what was short then is short now.
                "REJECTED" => {
                    let short = wish.lines.iter().any(|(product, quantity)| {
                        let left = stock.get(products[*product].id.as_str());
                        left.and_then(|item| numeric::<u64>(item, "stock")) < Some(*quantity)
                    });
                    if !short {
                        wrong.push(format!(
                            "{id} was rejected though there is enough: {order:?}"
                        ));
                    }
                }
                status => wrong.push(format!("{id} is {status}")),
            }
        }
        for (product, (quantity, times)) in products.iter().zip(taken) {
            let Some(item) = stock.get(product.id.as_str()) else {
                wrong.push(format!("{} is gone", product.id));
                continue;
            };
            let left = numeric::<i64>(item, "stock").unwrap_or(i64::MIN);
            let expected = i64::try_from(product.stock).unwrap() - i64::try_from(quantity).unwrap();
            if left != expected || left < 0 {
                let (id, before) = (&product.id, product.stock);
                wrong.push(format!("{id} had {before}, sold {quantity} and has {left}"));
            }
            // Each take counts the version up, so that two mistakes cannot make up for each other.
            if numeric::<u64>(item, "version") != Some(1 + times) {
                wrong.push(format!(
                    "{} was not taken {times} times: {item:?}",
                    product.id
                ));
            }
        }
        wrong
    }
}

/// A text attribute; empty where there is none.
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    let value = item.get(name).and_then(|value| value.as_s().ok());
    value.map(String::as_str).unwrap_or_default()
}

fn numeric<T: FromStr>(item: &Item, name: &str) -> Option<T> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Product, quantity and price of each line as it is stored.
fn lines(order: &Item) -> Vec<(String, Option<u64>, Option<u64>)> {
    let lines = order.get("lines").and_then(|lines| lines.as_l().ok());
    let line = |line: &AttributeValue| {
        let line = line.as_m().ok()?;
        let product = text(line, "product_id").to_owned();
        Some((
            product,
            numeric(line, "quantity"),
            numeric(line, "unit_price_cents"),
        ))
    };
    lines.into_iter().flatten().filter_map(line).collect()
}

fn wish_lines(wish: &Wish, products: &[Product]) -> Vec<(String, Option<u64>, Option<u64>)> {
    let line = |(product, quantity): &(usize, u64)| {
        let Product {
            id, price_cents, ..
        } = &products[*product];
        (id.clone(), Some(*quantity), Some(*price_cents))
    };
    wish.lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    //! The comparison itself: it has to see each thing that can be wrong.

    use serde_json::{Value, json};

    use super::*;

    fn item(json: &Value) -> Item {
        let value = |value: &Value| match value {
            Value::Array(lines) => {
                let line = |line| AttributeValue::M(item(line));
                AttributeValue::L(lines.iter().map(line).collect())
            }
            Value::Number(number) => AttributeValue::N(number.to_string()),
            other => AttributeValue::S(other.as_str().unwrap_or_default().to_owned()),
        };
        let members = json.as_object().unwrap().iter();
        members
            .map(|(name, it)| (name.clone(), value(it)))
            .collect()
    }

    /// Two orders of two products, one of them for more than there was.
    fn differences(change: impl Fn(&mut Value, &mut Vec<(usize, String)>)) -> Vec<String> {
        let product = |id: &str, price_cents, stock| Product {
            id: id.to_owned(),
            price_cents,
            stock,
        };
        let products = [product("mug", 250, 9), product("lamp", 900, 1)];
        let wish = |key: &str, lines| Wish {
            key: key.to_owned(),
            lines,
        };
        let wishes = [wish("a", vec![(0, 2), (1, 1)]), wish("b", vec![(1, 3)])];
        let mut stored = json!({
            "orders": [
                {"id": "1", "status": "FULFILLED", "total_cents": 1400, "lines": [
                    {"product_id": "mug", "quantity": 2, "unit_price_cents": 250},
                    {"product_id": "lamp", "quantity": 1, "unit_price_cents": 900},
                ]},
                {"id": "2", "status": "REJECTED", "total_cents": 2700, "lines": [
                    {"product_id": "lamp", "quantity": 3, "unit_price_cents": 900},
                ]},
            ],
            "products": [
                {"id": "mug", "stock": 7, "version": 2},
                {"id": "lamp", "stock": 0, "version": 2},
            ],
        });
        let mut accepted = vec![(0, "1".to_owned()), (1, "2".to_owned())];
        change(&mut stored, &mut accepted);
        let items = |of: &str| stored[of].as_array().unwrap().iter().map(item).collect();
        let stored = Stored {
            orders: items("orders"),
            products: items("products"),
        };
        stored.differences(&products, &wishes, &accepted)
    }

    #[test]
    fn where_all_is_well_nothing_is_found() {
        assert_eq!(differences(|_, _| ()), [""; 0]);
    }

    #[test]
    fn each_thing_that_is_wrong_is_found() {
        type Change = fn(&mut Value, &mut Vec<(usize, String)>);
        let changes: [(&str, Change); 11] = [
            ("is not stored", |stored, _| {
                stored["orders"].as_array_mut().unwrap().remove(0);
            }),
            ("3 are stored", |stored, _| {
                let twin = json!({"id": "3", "status": "FULFILLED"});
                stored["orders"].as_array_mut().unwrap().push(twin);
            }),
            ("under 1 ids", |_, accepted| accepted[1].1 = "1".to_owned()),
            ("1 accepted", |_, accepted| accepted.truncate(1)),
            ("1 is PENDING", |stored, _| {
                stored["orders"][0]["status"] = json!("PENDING");
            }),
            ("other lines", |stored, _| {
                stored["orders"][0]["lines"][0]["quantity"] = json!(1);
            }),
            ("wrong total", |stored, _| {
                stored["orders"][0]["total_cents"] = json!(1401);
            }),
            ("though there is enough", |stored, _| {
                stored["products"][1]["stock"] = json!(3);
            }),
            ("had 9, sold 2", |stored, _| {
                stored["products"][0]["stock"] = json!(5);
            }),
            ("sold 1 and has -1", |stored, _| {
                stored["products"][1]["stock"] = json!(-1);
            }),
            ("not taken 1 times", |stored, _| {
                stored["products"][0]["version"] = json!(3);
            }),
        ];
        for (expected, change) in changes {
            let found = differences(change);
            assert!(
                found.iter().any(|it| it.contains(expected)),
                "{expected}: {found:?}"
            );
        }
    }
}
