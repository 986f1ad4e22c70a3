//! The AWS endpoint as the AWS SDK sees it, with DynamoDB behind it.

#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod aws_support;

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, Put, PutRequest, ReturnConsumedCapacity, TransactWriteItem,
    WriteRequest,
};
use aws_smithy_http_client::tls::TrustStore;
use aws_support::{Host, dynamodb, dynamodb_trusting, queues, request, send, sqs, start, table};
use bytes::Bytes;
use http_body_util::Full;
use local::events::Event;
use local::template::{Queue, Table};
use rustls::version::{TLS12, TLS13};
use serde_json::json;

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

async fn put(client: &Client, table: &str, id: &str, payload: &str) {
    client
        .put_item()
        .table_name(table)
        .item("id", text(id))
        .item("kind", text("thing"))
        .item("payload", text(payload))
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn calls_are_metered_by_caller_operation_and_capacity() {
    let host = Host::start(&[table("Things"), table("Others")], &[]).await;
    let writer = dynamodb(&host.aws, "Writer");
    let reader = dynamodb(&host.aws, "Reader");

    // 1.5 KB: two write units for the table and two for its index.
    put(&writer, "local-Things", "one", &"x".repeat(1_500)).await;
    let item = |id: &str| {
        PutRequest::builder()
            .item("id", text(id))
            .item("kind", text("thing"))
            .build()
            .unwrap()
    };
    let write = |id| WriteRequest::builder().put_request(item(id)).build();
    writer
        .batch_write_item()
        .request_items("local-Things", vec![write("two")])
        .request_items("local-Others", vec![write("two")])
        .send()
        .await
        .unwrap();
    let transact = Put::builder()
        .table_name("local-Things")
        .item("id", text("three"))
        .item("kind", text("thing"))
        .build()
        .unwrap();
    writer
        .transact_write_items()
        .transact_items(TransactWriteItem::builder().put(transact).build())
        .send()
        .await
        .unwrap();

    let get = |consistent| {
        reader
            .get_item()
            .table_name("local-Things")
            .key("id", text("one"))
            .consistent_read(consistent)
            .send()
    };
    get(false).await.unwrap();
    get(true).await.unwrap();
    let keys = || {
        KeysAndAttributes::builder()
            .keys([("id".to_owned(), text("two"))].into())
            .build()
            .unwrap()
    };
    reader
        .batch_get_item()
        .request_items("local-Things", keys())
        .request_items("local-Others", keys())
        .send()
        .await
        .unwrap();
    let page = reader
        .query()
        .table_name("local-Things")
        .index_name("by-kind")
        .key_condition_expression("kind = :kind")
        .expression_attribute_values(":kind", text("thing"))
        .send()
        .await
        .unwrap();
    assert_eq!(page.count(), 3);

    let snapshot = host.aws.measured();
    let writer = &snapshot.functions["Writer"];
    assert_eq!((writer.connections, writer.tls_handshakes), (1, 1));
    let (_, entries) = host.aws.services.log.since(0, usize::MAX);
    let handshakes = entries.iter().filter_map(|entry| match &entry.event {
        Event::Call(call) if call.function == "Writer" => Some(call.handshake),
        _ => None,
    });
    let handshakes: Vec<_> = handshakes.collect();
    // The first call on a connection says what opening it took.
    assert!(handshakes[0] > Some(Duration::ZERO), "{handshakes:?}");
    assert!(
        handshakes[1..].iter().all(Option::is_none),
        "{handshakes:?}"
    );
    let fingerprints = |caller: &str| {
        let all = entries.iter().filter_map(|entry| match &entry.event {
            Event::Call(call) if call.function == caller => call.fingerprint,
            _ => None,
        });
        all.collect::<BTreeSet<_>>().len()
    };
    assert_eq!((fingerprints("Writer"), fingerprints("Reader")), (0, 4));
    let write_units = |operation: &str| {
        (
            writer.operations[operation].calls,
            writer.operations[operation].write_units,
        )
    };
    assert_eq!(write_units("DynamoDB.PutItem"), (1, 4.0));
    assert_eq!(write_units("DynamoDB.BatchWriteItem"), (1, 4.0));
    // Twice for the table, once for the index, which does not take part in the transaction.
    assert_eq!(write_units("DynamoDB.TransactWriteItems"), (1, 3.0));
    assert!(writer.operations["DynamoDB.PutItem"].request_bytes > 1_500);

    let reader = &snapshot.functions["Reader"];
    assert_eq!((reader.connections, reader.tls_handshakes), (1, 1));
    let read_units = |operation: &str| {
        (
            reader.operations[operation].calls,
            reader.operations[operation].read_units,
        )
    };
    assert_eq!(read_units("DynamoDB.GetItem"), (2, 1.5));
    assert_eq!(read_units("DynamoDB.BatchGetItem"), (1, 1.0));
    assert_eq!(read_units("DynamoDB.Query"), (1, 0.5));
    assert!(reader.operations["DynamoDB.GetItem"].response_bytes > 3_000);
    for operation in reader.operations.values().chain(writer.operations.values()) {
        assert_eq!(
            (
                operation.errors,
                operation.throttles,
                operation.conditional_failures
            ),
            (0, 0, 0)
        );
    }

    host.aws.services.log.reset_sums();
    assert!(host.aws.measured().functions.is_empty());
}

#[tokio::test]
async fn the_snapshot_has_the_fields_that_reports_read() {
    let host = Host::start(&[table("Things")], &[]).await;
    put(&dynamodb(&host.aws, "Writer"), "local-Things", "one", "x").await;
    let snapshot = serde_json::to_value(host.aws.measured()).unwrap();
    let mut operation = snapshot["functions"]["Writer"]["operations"]["DynamoDB.PutItem"].clone();
    assert!(operation["request_bytes"].take().as_u64().unwrap() > 0);
    assert!(operation["response_bytes"].take().as_u64().unwrap() > 0);
    assert_eq!(
        operation,
        json!({
            "calls": 1, "errors": 0, "throttles": 0, "conditional_failures": 0,
            "read_units": 0.0, "write_units": 2.0, "request_bytes": null, "response_bytes": null,
        })
    );
}

#[tokio::test]
async fn capacity_is_shown_only_to_a_caller_who_asks() {
    let host = Host::start(&[table("Things")], &[]).await;
    let client = dynamodb(&host.aws, "Client");
    put(&client, "local-Things", "one", "x").await;
    let get = |asked: Option<ReturnConsumedCapacity>| {
        client
            .get_item()
            .table_name("local-Things")
            .key("id", text("one"))
            .set_return_consumed_capacity(asked)
            .send()
    };
    assert!(get(None).await.unwrap().consumed_capacity().is_none());
    assert!(
        get(Some(ReturnConsumedCapacity::None))
            .await
            .unwrap()
            .consumed_capacity()
            .is_none()
    );
    let asked = get(Some(ReturnConsumedCapacity::Total)).await.unwrap();
    assert_eq!(
        asked.consumed_capacity().unwrap().capacity_units(),
        Some(0.5)
    );
    let asked = get(Some(ReturnConsumedCapacity::Indexes)).await.unwrap();
    assert!(asked.consumed_capacity().unwrap().table().is_some());
    let counted = &host.aws.measured().functions["Client"].operations["DynamoDB.GetItem"];
    assert_eq!((counted.calls, counted.read_units), (4, 2.0));
}

#[tokio::test]
async fn no_operation_shows_capacity_unasked_and_every_checksum_fits() {
    let host = Host::start(&[table("Things")], &[]).await;
    let table = "local-Things";
    let key = json!({"id": {"S": "one"}});
    let item = json!({"id": {"S": "one"}, "kind": {"S": "thing"}});
    let query = json!({
        "TableName": table, "KeyConditionExpression": "id = :id",
        "ExpressionAttributeValues": {":id": {"S": "one"}},
    });
    let transact_write = json!({"TransactItems": [{"Put": {"TableName": table, "Item": item}}]});
    let transact_get = json!({"TransactItems": [{"Get": {"TableName": table, "Key": key}}]});
    for (operation, body) in [
        ("PutItem", json!({"TableName": table, "Item": item})),
        ("UpdateItem", json!({"TableName": table, "Key": key})),
        ("GetItem", json!({"TableName": table, "Key": key})),
        ("Query", query),
        ("Scan", json!({"TableName": table})),
        (
            "BatchGetItem",
            json!({"RequestItems": {table: {"Keys": [key]}}}),
        ),
        (
            "BatchWriteItem",
            json!({"RequestItems": {table: [{"PutRequest": {"Item": item}}]}}),
        ),
        ("TransactWriteItems", transact_write),
        ("TransactGetItems", transact_get),
        ("DeleteItem", json!({"TableName": table, "Key": key})),
    ] {
        let target = format!("DynamoDB_20120810.{operation}");
        let answer = request(
            &host.aws,
            "127.0.0.1",
            &TLS13,
            &target,
            body.to_string().into(),
        )
        .await;
        assert_eq!(answer.status, 200, "{operation}: {:?}", answer.body);
        assert_eq!(answer.json().get("ConsumedCapacity"), None, "{operation}");
        assert_eq!(
            answer.headers["x-amz-crc32"],
            crc32fast::hash(&answer.body).to_string(),
            "{operation}"
        );
        assert_eq!(
            answer.headers["content-length"],
            answer.body.len().to_string()
        );
        let counted =
            &host.aws.measured().functions["Raw"].operations[&format!("DynamoDB.{operation}")];
        assert!(
            counted.read_units + counted.write_units > 0.0,
            "{operation}: {counted:?}"
        );
    }
}

#[tokio::test]
async fn both_versions_of_tls_and_both_names_are_served() {
    let host = Host::start(&[table("Things")], &[]).await;
    for (name, version) in [
        ("127.0.0.1", &TLS12),
        ("localhost", &TLS13),
        ("::1", &TLS13),
    ] {
        let target = "DynamoDB_20120810.ListTables";
        let answer = request(&host.aws, name, version, target, Bytes::from_static(b"{}")).await;
        assert_eq!(
            answer.json(),
            json!({"TableNames": ["local-Things"]}),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_ca_gets_no_answer() {
    let host = Host::start(&[table("Things")], &[]).await;
    // Another run has another authority.
    let other = Host::start(&[], &[]).await;
    let pem = std::fs::read(&other.aws.ca_file).unwrap();
    for trust in [
        TrustStore::default(),
        TrustStore::empty().with_pem_certificate(pem),
    ] {
        let stranger = dynamodb_trusting(&host.aws, "Stranger", trust);
        let refused = stranger.list_tables().send().await.unwrap_err();
        assert!(
            format!("{}", DisplayErrorContext(&refused)).contains("certificate"),
            "{}",
            DisplayErrorContext(&refused)
        );
    }
    assert!(host.aws.measured().functions.is_empty());
}

#[tokio::test]
async fn refusals_reach_the_sdk_and_are_counted_by_kind() {
    let host = Host::start(&[table("Things")], &[]).await;
    let client = dynamodb(&host.aws, "Client");
    put(&client, "local-Things", "one", "x").await;

    let again = client
        .put_item()
        .table_name("local-Things")
        .item("id", text("one"))
        .condition_expression("attribute_not_exists(id)")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(again.is_conditional_check_failed_exception(), "{again:?}");
    let missing = client
        .get_item()
        .table_name("local-Missing")
        .key("id", text("one"))
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(missing.is_resource_not_found_exception(), "{missing:?}");

    let operations = &host.aws.measured().functions["Client"].operations;
    let put = &operations["DynamoDB.PutItem"];
    assert_eq!((put.calls, put.errors, put.conditional_failures), (2, 0, 1));
    let get = &operations["DynamoDB.GetItem"];
    assert_eq!((get.calls, get.errors, get.conditional_failures), (1, 1, 0));
}

#[tokio::test]
async fn a_body_above_16_mb_is_refused() {
    let host = Host::start(&[table("Things")], &[]).await;
    let body = Bytes::from(vec![b' '; 16 * 1024 * 1024 + 1]);
    let target = "DynamoDB_20120810.PutItem";
    let answer = request(&host.aws, "127.0.0.1", &TLS13, target, body).await;
    assert_eq!(answer.status, 413);
    assert_eq!(
        answer.json()["__type"],
        "com.amazon.coral.service#RequestEntityTooLargeException"
    );
}

#[tokio::test]
async fn a_body_that_is_not_json_is_for_the_service_to_refuse() {
    let host = Host::start(&[table("Things")], &[]).await;
    for body in ["", "{", "[]", "\u{0}"] {
        let target = "DynamoDB_20120810.GetItem";
        let answer = request(&host.aws, "127.0.0.1", &TLS13, target, body.into()).await;
        assert_eq!(answer.status, 400, "{body:?}");
        let kind = answer.json()["__type"].as_str().unwrap().to_owned();
        assert!(kind.ends_with("Exception"), "{body:?}: {kind}");
    }
}

/// A browser sends a page's request with the page's origin, or with a host that the page's own name
/// server has pointed to 127.0.0.1. It signs nothing, but a request here has a signature, so that it
/// would pass otherwise.
#[tokio::test]
async fn a_page_of_another_site_gets_nothing_and_changes_nothing() {
    let host = Host::start(&[table("Things")], &[]).await;
    let credential = "AWS4-HMAC-SHA256 Credential=Page/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";
    let create = json!({
        "TableName": "created", "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    });
    let page = |name: &'static str, value: &'static str, method: &str| {
        http::Request::builder()
            .method(method)
            .uri("/")
            .header("x-amz-target", "DynamoDB_20120810.CreateTable")
            .header("authorization", credential)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,x-amz-target",
            )
            .header(name, value)
            .header(if name == "host" { "accept" } else { "host" }, "127.0.0.1")
            .body(Full::new(Bytes::from(create.to_string())))
            .unwrap()
    };
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("host", "evil.example"),
        ("host", "evil.example:443"),
    ] {
        for method in ["OPTIONS", "POST"] {
            let request = page(name, value, method);
            let answer = send(&host.aws, "127.0.0.1", &TLS13, request).await;
            assert_eq!(answer.status, 403, "{method} {name} {value}");
            let allows = answer
                .headers
                .keys()
                .find(|name| name.starts_with("access-control"));
            assert_eq!(allows, None, "{method} {name} {value}");
            assert!(!String::from_utf8_lossy(&answer.body).contains("Things"));
        }
    }
    let tables = dynamodb(&host.aws, "Client")
        .list_tables()
        .send()
        .await
        .unwrap();
    assert_eq!(tables.table_names(), ["local-Things"]);
}

#[tokio::test]
async fn a_request_without_a_signature_is_refused() {
    let host = Host::start(&[table("Things")], &[]).await;
    let request = http::Request::post("/")
        .header("host", "127.0.0.1")
        .header("x-amz-target", "DynamoDB_20120810.ListTables")
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap();
    let answer = send(&host.aws, "127.0.0.1", &TLS13, request).await;
    assert_eq!(answer.status, 400);
    let kind = "com.amazon.coral.service#MissingAuthenticationTokenException";
    assert_eq!(answer.json()["__type"], kind);
}

#[tokio::test]
async fn a_service_or_an_operation_that_is_not_hosted_is_refused_by_name() {
    let host = Host::start(&[], &[]).await;
    for (target, name) in [
        ("AWSEvents.PutEvents", "AWSEvents.PutEvents is not hosted"),
        (
            "DynamoDB_20120810.CreateBackup",
            "DynamoDB.CreateBackup is not hosted",
        ),
        ("", "this service is not hosted"),
    ] {
        let answer = request(
            &host.aws,
            "127.0.0.1",
            &TLS13,
            target,
            Bytes::from_static(b"{}"),
        )
        .await;
        assert_eq!(answer.status, 400, "{target}");
        let kind = "com.amazon.coral.service#UnknownOperationException";
        assert_eq!(answer.json()["__type"], kind, "{target}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(name), "{target}: {message}");
    }
}

#[tokio::test]
async fn only_the_certificate_is_on_disk_and_only_while_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let aws = start(dir.path(), None, &[], &[]).await.unwrap();
    let files = || {
        std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    assert_eq!(files(), [aws.ca_file.as_path()]);
    let pem = std::fs::read_to_string(&aws.ca_file).unwrap();
    assert_eq!(pem.matches("-----BEGIN").count(), 1);
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
    drop(aws);
    assert!(files().is_empty());
}

#[tokio::test]
async fn tables_and_queues_in_a_data_folder_are_there_the_next_time() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let start = async |tables: &[Table], queues: &[Queue]| {
        start(dir.path(), Some(&data_dir), tables, queues).await
    };
    let tables = [table("Things")];

    let first = start(&tables, &queues("30")).await.unwrap();
    put(&dynamodb(&first, "Client"), "local-Things", "one", "kept").await;
    let client = sqs(&first, "Client");
    let url = format!("{}/000000000000/local-OrdersQueue", first.endpoint_url);
    let sent = client.send_message().queue_url(url).message_body("kept");
    sent.send().await.unwrap();
    drop(first);

    let second = start(&tables, &queues("60")).await.unwrap();
    let item = dynamodb(&second, "Client")
        .get_item()
        .table_name("local-Things")
        .key("id", text("one"))
        .send()
        .await
        .unwrap();
    assert_eq!(item.item().unwrap()["payload"], text("kept"));
    let client = sqs(&second, "Client");
    let url = client
        .get_queue_url()
        .queue_name("local-OrdersQueue")
        .send()
        .await
        .unwrap();
    let url = url.queue_url().unwrap();
    assert!(url.starts_with(&second.endpoint_url), "{url}");
    // The template's new setting applies to the old queue.
    let visibility = second.services.sqs.visibility_timeout("local-OrdersQueue");
    assert_eq!(visibility, Ok(Duration::from_secs(60)));
    let received = client
        .receive_message()
        .queue_url(url)
        .send()
        .await
        .unwrap();
    assert_eq!(received.messages()[0].body(), Some("kept"));
    // With state on disk too, a visibility of zero gives the message back.
    let handle = received.messages()[0].receipt_handle().unwrap();
    client
        .change_message_visibility()
        .queue_url(url)
        .receipt_handle(handle)
        .visibility_timeout(0)
        .send()
        .await
        .unwrap();
    let received = client
        .receive_message()
        .queue_url(url)
        .send()
        .await
        .unwrap();
    assert_eq!(received.messages()[0].body(), Some("kept"));
    let ttl = dynamodb(&second, "Client")
        .describe_time_to_live()
        .table_name("local-Things")
        .send()
        .await
        .unwrap();
    assert_eq!(
        ttl.time_to_live_description().unwrap().attribute_name(),
        Some("expires_at")
    );
    drop(second);

    let mut changed = table("Things");
    changed.create["KeySchema"] = json!([{"AttributeName": "kind", "KeyType": "HASH"}]);
    let refused = start(&[changed], &[]).await.unwrap_err();
    assert!(
        refused.contains("table Things: local-Things exists"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_table_that_dynamodb_refuses_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut broken = table("Things");
    broken.create["KeySchema"] = json!([{"AttributeName": "unknown", "KeyType": "HASH"}]);
    let refused = start(dir.path(), None, &[broken], &[]).await.unwrap_err();
    let expected = "table Things: ValidationException";
    assert!(refused.starts_with(expected), "{refused}");
}
