//! The way of the libraries works as well: nothing that a function links, but what a reader may copy.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod common;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Credentials, Region};
use common::{Shop, product_id};
use shop::cold_start::library_defaults::aws_config;
use shop::domain::Fields;
use shop::dynamodb::Catalog;

async fn client(endpoint: &str) -> Client {
    let config = aws_config()
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::from_keys("test", "test", None))
        .endpoint_url(endpoint)
        .load()
        .await;
    Client::new(&config)
}

#[tokio::test]
async fn a_client_made_by_the_sdk_reads_what_one_made_by_hand_has_written() {
    let shop = Shop::open().await;
    shop.stock("mug", 1450, 3).await;

    let catalog = Catalog::new(client(&shop.endpoint).await, common::PRODUCTS.to_owned());
    let (product, _) = catalog
        .get(&product_id("mug"), Fields::all())
        .await
        .unwrap();

    assert_eq!(product.stock.unwrap().get(), 3);
}
