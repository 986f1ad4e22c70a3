//! The table of products.
//!
//! Reads are eventually consistent, at half the price, unless money depends on them.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure,
};
use enumset::enum_set;
use serde::Serialize;

use super::attribute::{self, Item, Malformed, number_value, text_value};
use super::condition::Condition;
use super::conflict::retry_conflicts;
use super::product_item::{self, WRITTEN_BY, WRITTEN_VERSION};
use super::projection::{names, projection};
use crate::domain::{
    Field, Fields, Limit, Listing, NewProduct, Precondition, PriceCents, Problem, Product,
    ProductId, Revision, Version, WriteId,
};
use crate::time::{Backoff, Deadline};

/// Attempts to read every key of a batch. Their pauses add up to 0.8 s on average, so a request
/// seldom has the time for the last. Throttling leaves keys unprocessed, and so does a page of more
/// than 16 MB; each attempt then gets further.
const BATCH_ATTEMPTS: u32 = 8;

/// The table of products and its index `by-category`.
#[derive(Clone, Debug)]
pub struct Catalog {
    client: Client,
    table: String,
}

impl Catalog {
    /// The catalogue in `table`.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Creates or replaces a product, in one `UpdateItem`: the version counts up in the table
    /// itself, so two writers never get the same one.
    ///
    /// The SDK repeats a call whose answer was lost. The repeat finds the id of its own write in
    /// the table and returns what that write made. A write that conflicts with a sale of the
    /// product is retried until `deadline`.
    ///
    /// One case gets a wrong answer: if the answer was lost and another PUT came before the repeat,
    /// the id is gone. A write with a precondition is then answered 412, although it succeeded and
    /// was replaced within some 50 ms.
    ///
    /// # Errors
    /// 412 if `precondition` does not hold; 503 or 500 if DynamoDB fails.
    pub async fn put(
        &self,
        id: &ProductId,
        new: NewProduct,
        precondition: &Precondition,
        deadline: Deadline,
    ) -> Result<Written, Problem> {
        const SET: &str = "SET #name = :name, #category = :category, \
             #price_cents = :price_cents, #stock = :stock, written_by = :write, \
             #version = if_not_exists(#version, :zero) + :one, \
             written_version = if_not_exists(#version, :zero) + :one";
        let write = WriteId::random();
        let mut condition = Condition::of(precondition);
        condition.clauses.push("NOT written_by = :write".to_owned());
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("id", text_value(id))
            .set_expression_attribute_names(Some(names(Fields::all() - Field::Id)))
            .set_expression_attribute_values(Some(condition.values))
            .expression_attribute_values(":name", text_value(&new.name))
            .expression_attribute_values(":category", text_value(&new.category))
            .expression_attribute_values(":price_cents", number_value(&new.price_cents))
            .expression_attribute_values(":stock", number_value(&new.stock))
            .expression_attribute_values(":write", text_value(&write))
            .expression_attribute_values(":zero", number_value(&0))
            .expression_attribute_values(":one", number_value(&1))
            .condition_expression(condition.clauses.join(" AND "))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        update = match &new.description {
            Some(description) => update
                .update_expression(format!("{SET}, #description = :description"))
                .expression_attribute_values(":description", text_value(description)),
            None => update.update_expression(format!("{SET} REMOVE #description")),
        };
        let item = match retry_conflicts(deadline, || update.clone().send()).await {
            Ok(answer) => answer.attributes,
            Err(error) => match error.as_service_error() {
                // The item as it is: perhaps our own write, whose answer was lost.
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => failed
                    .item()
                    .filter(|item| attribute::text(item, WRITTEN_BY).as_ref() == Ok(&write))
                    .cloned()
                    .ok_or(Problem::PreconditionFailed)
                    .map(Some)?,
                _ => return Err(error.into()),
            },
        };
        let item = item.ok_or_else(|| Problem::internal("DynamoDB did not return the product"))?;
        let malformed = |error| malformed(id.as_str(), &error);
        let made: Version = attribute::number(&item, WRITTEN_VERSION).map_err(malformed)?;
        Ok(Written {
            product: product_item::product(&item, Fields::all()).map_err(malformed)?,
            revision: product_item::revision(&item).map_err(malformed)?,
            created: made.get() == Version::MIN,
        })
    }

    /// Reads the `fields` of a product, and its revision.
    ///
    /// # Errors
    /// 404 if there is no such product; 503 or 500 if DynamoDB fails or the stored item is not a
    /// product.
    pub async fn get(
        &self,
        id: &ProductId,
        fields: Fields,
    ) -> Result<(Product, Revision), Problem> {
        let read = fields | Field::Version;
        let call = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("id", text_value(id))
            .set_projection_expression(
                projection(read).map(|names| format!("{names}, {WRITTEN_BY}")),
            )
            .set_expression_attribute_names(projection(read).map(|_| names(read)));
        let answer = call.send().await?;
        let item = answer
            .item()
            .ok_or(Problem::NotFound("There is no such product."))?;
        let malformed = |error| malformed(id.as_str(), &error);
        let product = product_item::product(item, fields).map_err(malformed)?;
        let revision = product_item::revision(item).map_err(malformed)?;
        Ok((product, revision))
    }

    /// Deletes a product, if there is one and `precondition` holds. A deletion that conflicts with
    /// a sale of the product is retried until `deadline`.
    ///
    /// A product that is gone counts as deleted, even if `If-Match` names a state of it: the
    /// request may be the repeat of one whose answer was lost
    /// ([RFC 9110, section 13.1.1](https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1)).
    ///
    /// # Errors
    /// 412 if the product is there and `precondition` does not hold; 503 or 500 if DynamoDB fails.
    pub async fn delete(
        &self,
        id: &ProductId,
        precondition: &Precondition,
        deadline: Deadline,
    ) -> Result<(), Problem> {
        let condition = Condition::of(precondition);
        let mut delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("id", text_value(id));
        if !condition.clauses.is_empty() {
            delete = delete
                .condition_expression(condition.clauses.join(" AND "))
                // `*` has no values, and DynamoDB refuses an empty set of them.
                .set_expression_attribute_values(
                    Some(condition.values).filter(|values| !values.is_empty()),
                )
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                );
        }
        let Err(error) = retry_conflicts(deadline, || delete.clone().send()).await else {
            return Ok(());
        };
        match error.as_service_error() {
            Some(DeleteItemError::ConditionalCheckFailedException(failed)) => match failed.item() {
                Some(_) => Err(Problem::PreconditionFailed),
                None => Ok(()),
            },
            _ => Err(error.into()),
        }
    }

    /// Reads a page of `listing`, starting after the key `after` of the page before, if there was
    /// one.
    ///
    /// A category is a `Query` on the index. All products are a `Scan` without a filter, so every
    /// item that is paid for is returned.
    ///
    /// # Errors
    /// 503 or 500 if DynamoDB fails.
    pub async fn list(
        &self,
        listing: &Listing,
        limit: Limit,
        after: Option<&str>,
        fields: Fields,
    ) -> Result<Page, Problem> {
        // The id is always read, so that the log can name an item that cannot be parsed.
        let read = fields | Field::Id;
        let mut names = projection(read).map(|_| names(read)).unwrap_or_default();
        let mut start = after.map(|id| Item::from([("id".to_owned(), text_value(id))]));
        // At most 100, so it fits any integer.
        let limit = i32::try_from(limit.get()).ok();
        let (items, last) = match listing {
            Listing::Category(category) => {
                names.insert("#category".to_owned(), "category".to_owned());
                if let Some(start) = &mut start {
                    start.insert("category".to_owned(), text_value(category));
                }
                let call = self
                    .client
                    .query()
                    .table_name(&self.table)
                    .index_name("by-category")
                    .key_condition_expression("#category = :category")
                    .expression_attribute_values(":category", text_value(category))
                    .set_expression_attribute_names(Some(names))
                    .set_projection_expression(projection(read))
                    .set_exclusive_start_key(start)
                    .set_limit(limit);
                let answer = call.send().await?;
                (answer.items, answer.last_evaluated_key)
            }
            Listing::All => {
                let call = self
                    .client
                    .scan()
                    .table_name(&self.table)
                    .set_expression_attribute_names(Some(names).filter(|names| !names.is_empty()))
                    .set_projection_expression(projection(read))
                    .set_exclusive_start_key(start)
                    .set_limit(limit);
                let answer = call.send().await?;
                (answer.items, answer.last_evaluated_key)
            }
        };
        let items = items.unwrap_or_default();
        let next_cursor = match last {
            Some(key) => {
                // The key need not be a product's id: a page may end at an item that is not a
                // product.
                let last: String = attribute::text(&key, "id").map_err(|error| {
                    Problem::internal(format!("the last key of a page: {error}"))
                })?;
                Some(listing.cursor_after(&last))
            }
            None => None,
        };
        let products = items
            .iter()
            .filter_map(|item| readable(item, fields))
            .collect();
        Ok(Page {
            products,
            next_cursor,
        })
    }

    /// Reads the `fields` of many products: 1 to 100 ids, all different, as `BatchGetItem` wants.
    ///
    /// # Errors
    /// 503 if keys are still unprocessed when the attempts or the time are used up; 503 or 500 if
    /// DynamoDB fails.
    pub async fn batch_get(
        &self,
        ids: &[ProductId],
        fields: Fields,
        deadline: Deadline,
    ) -> Result<Batch, Problem> {
        let items = self
            .read_batch(ids, fields | Field::Id, false, deadline)
            .await?;
        let mut batch = Batch {
            products: Vec::with_capacity(items.len()),
            missing: Vec::new(),
        };
        for id in ids {
            match items.get(id).and_then(|item| readable(item, fields)) {
                Some(product) => batch.products.push(product),
                None => batch.missing.push(id.clone()),
            }
        }
        Ok(batch)
    }

    /// The current prices of products: 1 to 100 ids, all different. An id without a product that
    /// can be sold has no entry. The read is strongly consistent, because an order is priced only
    /// once.
    ///
    /// A product can be sold if it has everything that
    /// [`Settlements`](super::Settlements) change in a sale: a stock and a version that
    /// are whole numbers.
    ///
    /// # Errors
    /// As [`Self::batch_get`].
    pub async fn prices(
        &self,
        ids: &[ProductId],
        deadline: Deadline,
    ) -> Result<HashMap<ProductId, PriceCents>, Problem> {
        const FIELDS: Fields =
            enum_set!(Field::Id | Field::PriceCents | Field::Stock | Field::Version);
        let items = self.read_batch(ids, FIELDS, true, deadline).await?;
        let prices = items.into_iter().filter_map(|(id, item)| {
            readable(&item, FIELDS).and_then(|product| Some((id, product.price_cents?)))
        });
        Ok(prices.collect())
    }

    async fn read_batch(
        &self,
        ids: &[ProductId],
        fields: Fields,
        consistent: bool,
        deadline: Deadline,
    ) -> Result<HashMap<ProductId, Item>, Problem> {
        let keys = ids
            .iter()
            .map(|id| Item::from([("id".to_owned(), text_value(id))]))
            .collect();
        let request = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .set_projection_expression(projection(fields))
            .set_expression_attribute_names(projection(fields).map(|_| names(fields)))
            .consistent_read(consistent)
            .build()
            .map_err(|error| Problem::internal(error.to_string()))?;
        let mut pending = HashMap::from([(self.table.clone(), request)]);
        let mut items = HashMap::with_capacity(ids.len());
        let mut backoff = Backoff::new(BATCH_ATTEMPTS, deadline);
        loop {
            let request = self
                .client
                .batch_get_item()
                .set_request_items(Some(pending));
            let answer = request.send().await?;
            let found = answer.responses.unwrap_or_default().into_values().flatten();
            items.extend(found.filter_map(|item| Some((attribute::text(&item, "id").ok()?, item))));
            // The keys that DynamoDB left out are the request for the next attempt.
            pending = answer.unprocessed_keys.unwrap_or_default();
            if pending.is_empty() {
                return Ok(items);
            }
            if !backoff.pause().await {
                return Err(Problem::unavailable(
                    "keys of a batch read stayed unprocessed",
                ));
            }
        }
    }
}

/// A product after a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The product.
    pub product: Product,
    /// Its revision.
    pub revision: Revision,
    /// True if the write created it, false if it replaced an earlier one.
    pub created: bool,
}

/// A page of a listing, the answer of `GET /products`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// The products, ordered by id in a category, unordered otherwise. There can be fewer than the
    /// limit, even none, while more follow: DynamoDB ends a page at 1 MB.
    pub products: Vec<Product>,
    /// The cursor that continues the listing; `None` on the last page.
    pub next_cursor: Option<String>,
}

/// The result of a batch read, the answer of `POST /products/batch-get`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Batch {
    /// The products found, in the order asked for.
    pub products: Vec<Product>,
    /// The ids without a readable product, in the order asked for.
    pub missing: Vec<ProductId>,
}

/// Another program may have stored an item that is not a product. Listings and batch reads leave it
/// out, so that the other products can still be read. The log names it.
fn readable(item: &Item, fields: Fields) -> Option<Product> {
    let id = item.get(Field::Id.name());
    product_item::product(item, fields)
        .inspect_err(|error| tracing::error!(?id, %error, "a stored product cannot be read"))
        .ok()
}

fn malformed(id: &str, error: &Malformed) -> Problem {
    Problem::internal(format!("product {id}: {error}"))
}
