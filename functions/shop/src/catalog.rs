//! The table of products.
//!
//! Reads are eventually consistent, at half the price, unless money depends on them.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{KeysAndAttributes, ReturnValue};
use serde::Serialize;

use crate::aws::on_heap;
use crate::backoff::{Backoff, past_transactions};
use crate::cursor::Listing;
use crate::deadline::Deadline;
use crate::item::{self, Item, n, s};
use crate::precondition::Precondition;
use crate::problem::Problem;
use crate::product::{Field, Fields, Limit, NewProduct, PriceCents, Product, ProductId, Version};

/// Attempts to get every key of a batch read, with pauses of 0.8 s in all on average: a request seldom
/// has the time for the last. Keys are left unprocessed by throttling, or by a page of more than 16 MB,
/// and then each attempt gets further.
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
    /// Deleting a product also deletes its count; a product that is put again starts at 1.
    ///
    /// The SDK repeats a call whose answer was lost. With a precondition the repeat can meet the
    /// write of its own first attempt and answer 412; a client that reads the product then sees
    /// that its write was made. A write that meets the sale of the product is made again until
    /// `deadline`.
    ///
    /// # Errors
    /// 412 if `precondition` does not hold; 503 or 500 if DynamoDB fails.
    pub async fn put(
        &self,
        id: &ProductId,
        new: NewProduct,
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<(Product, Version), Problem> {
        const SET: &str = "SET #name = :name, #category = :category, \
             #price_cents = :price_cents, #stock = :stock, \
             #version = if_not_exists(#version, :zero) + :one";
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("id", s(id))
            .set_expression_attribute_names(Some(names(Fields::ALL.without(Field::Id))))
            .expression_attribute_values(":name", s(&new.name))
            .expression_attribute_values(":category", s(&new.category))
            .expression_attribute_values(":price_cents", n(&new.price_cents))
            .expression_attribute_values(":stock", n(&new.stock))
            .expression_attribute_values(":zero", n(&0))
            .expression_attribute_values(":one", n(&1))
            .return_values(ReturnValue::UpdatedNew);
        update = match &new.description {
            Some(description) => update
                .update_expression(format!("{SET}, #description = :description"))
                .expression_attribute_values(":description", s(description)),
            None => update.update_expression(format!("{SET} REMOVE #description")),
        };
        update = match precondition {
            Precondition::None => update,
            Precondition::Absent => update.condition_expression("attribute_not_exists(id)"),
            Precondition::Present => update.condition_expression("attribute_exists(id)"),
            Precondition::Version(version) => update
                .condition_expression("#version = :expected")
                .expression_attribute_values(":expected", n(&version)),
        };
        let written = past_transactions(deadline, || update.clone().send())
            .await
            .map_err(refused_write)?;
        let version = written
            .attributes()
            .and_then(|item| item::number(item, Field::Version.name()).ok())
            .ok_or_else(|| Problem::internal("DynamoDB did not return the new version"))?;
        let product = Product {
            id: Some(id.clone()),
            name: Some(new.name),
            category: Some(new.category),
            price_cents: Some(new.price_cents),
            stock: Some(new.stock),
            description: new.description,
            version: Some(version),
        };
        Ok((product, version))
    }

    /// Reads the `fields` of a product, and its version.
    ///
    /// # Errors
    /// 404 if there is no such product; 503 or 500 if DynamoDB fails or the stored item is not a
    /// product.
    pub async fn get(&self, id: &ProductId, fields: Fields) -> Result<(Product, Version), Problem> {
        let read = fields.with(Field::Version);
        let call = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("id", s(id))
            .set_projection_expression(projection(read))
            .set_expression_attribute_names(projection(read).map(|_| names(read)));
        let answer = on_heap(|| call.send()).await?;
        let item = answer
            .item()
            .ok_or_else(|| Problem::not_found("There is no such product."))?;
        let malformed =
            |error: item::Malformed| Problem::internal(format!("product {id}: {error}"));
        let product = item::product(item, fields).map_err(malformed)?;
        let version = item::number(item, Field::Version.name()).map_err(malformed)?;
        Ok((product, version))
    }

    /// Deletes a product, if there is one. If it is being sold, until `deadline` the deletion is made
    /// again.
    ///
    /// # Errors
    /// 503 or 500 if DynamoDB fails.
    pub async fn delete(&self, id: &ProductId, deadline: Deadline) -> Result<(), Problem> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("id", s(id));
        past_transactions(deadline, || delete.clone().send()).await?;
        Ok(())
    }

    /// Reads a page of `listing`, after the product `after` if there was a page before.
    ///
    /// A category is a `Query` on the index. All products are a `Scan` without a filter, so each
    /// item that is paid for is answered.
    ///
    /// # Errors
    /// 503 or 500 if DynamoDB fails.
    pub async fn list(
        &self,
        listing: &Listing,
        limit: Limit,
        after: Option<&ProductId>,
        fields: Fields,
    ) -> Result<Page, Problem> {
        // The id is read in any case: the log must be able to name an item that cannot be read.
        let read = fields.with(Field::Id);
        let mut names = projection(read).map(|_| names(read)).unwrap_or_default();
        let mut start = after.map(|id| Item::from([("id".to_owned(), s(id))]));
        // At most 100, so it fits any integer.
        let limit = i32::try_from(limit.get()).ok();
        let (items, last) = match listing {
            Listing::Category(category) => {
                names.insert("#category".to_owned(), "category".to_owned());
                if let Some(start) = &mut start {
                    start.insert("category".to_owned(), s(category));
                }
                let call = self
                    .client
                    .query()
                    .table_name(&self.table)
                    .index_name("by-category")
                    .key_condition_expression("#category = :category")
                    .expression_attribute_values(":category", s(category))
                    .set_expression_attribute_names(Some(names))
                    .set_projection_expression(projection(read))
                    .set_exclusive_start_key(start)
                    .set_limit(limit);
                let answer = on_heap(|| call.send()).await?;
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
                let answer = on_heap(|| call.send()).await?;
                (answer.items, answer.last_evaluated_key)
            }
        };
        let items = items.unwrap_or_default();
        let next_cursor = match last {
            Some(key) => {
                let last = item::text(&key, "id").map_err(|error| {
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
    /// 503 if DynamoDB leaves keys unprocessed until the attempts or the time are used up; 503 or
    /// 500 if it fails.
    pub async fn batch_get(
        &self,
        ids: &[ProductId],
        fields: Fields,
        deadline: Deadline,
    ) -> Result<Batch, Problem> {
        let items = self
            .read_batch(ids, fields.with(Field::Id), false, deadline)
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

    /// The present prices of products: 1 to 100 ids, all different. Ids without a product have no
    /// entry. The read is strongly consistent: an order is priced once and for all.
    ///
    /// # Errors
    /// As [`Self::batch_get`].
    pub async fn prices(
        &self,
        ids: &[ProductId],
        deadline: Deadline,
    ) -> Result<HashMap<ProductId, PriceCents>, Problem> {
        const FIELDS: Fields = Fields::of(&[Field::Id, Field::PriceCents]);
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
            .map(|id| Item::from([("id".to_owned(), s(id))]))
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
            let answer = on_heap(|| request.send()).await?;
            let found = answer.responses.unwrap_or_default().into_values().flatten();
            items.extend(found.filter_map(|item| Some((item::text(&item, "id").ok()?, item))));
            // What DynamoDB left out comes back as the request for the next attempt.
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

/// A page of a listing, as `GET /products` answers it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// The products, by id in a category and in no order otherwise. There can be fewer than the
    /// limit, even none, while more follow: DynamoDB ends a page at 1 MB.
    pub products: Vec<Product>,
    /// What continues the listing; `None` at its end.
    pub next_cursor: Option<String>,
}

/// What a batch read found, as `POST /products/batch-get` answers it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Batch {
    /// The products found, in the order asked for.
    pub products: Vec<Product>,
    /// The ids without a product, or without one that can be read, in the order asked for.
    pub missing: Vec<ProductId>,
}

/// A stored item that is no product (another program wrote it) is left out of listings and batch
/// reads, so that it cannot take the others with it. The log says which.
fn readable(item: &Item, fields: Fields) -> Option<Product> {
    let id = item.get(Field::Id.name());
    item::product(item, fields)
        .inspect_err(|error| tracing::error!(?id, %error, "a stored product cannot be read"))
        .ok()
}

/// The one place where a failed condition of a write to the catalogue becomes a refusal.
fn refused_write(error: SdkError<UpdateItemError>) -> Problem {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(_)) => Problem::precondition_failed(),
        _ => error.into(),
    }
}

/// What to ask DynamoDB for, or nothing where all of the item is wanted. A projection saves bytes
/// on the wire and work here; the capacity consumed is that of the whole item.
fn projection(fields: Fields) -> Option<String> {
    let join = |fields: Fields| {
        fields
            .iter()
            .map(|field| format!("#{}", field.name()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    (fields != Fields::ALL).then(|| join(fields))
}

/// Placeholders for the attributes: `name` and others are reserved words of DynamoDB.
fn names(fields: Fields) -> HashMap<String, String> {
    fields
        .iter()
        .map(|field| (format!("#{}", field.name()), field.name().to_owned()))
        .collect()
}
