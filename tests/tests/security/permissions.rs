//! Least privilege: what `template.yaml` allows a function is what the function does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Value, json};
use shop_tests::{PATIENCE, Reply, Shop};

/// The permissions of one function's role, and the resources that the template tells it of.
#[derive(Debug, Default)]
struct Allowed {
    /// Such as `dynamodb:GetItem`.
    actions: BTreeSet<String>,
    /// Logical ids of tables, queues and log groups.
    resources: BTreeSet<String>,
    /// Logical ids that its environment variables hold, of its log group and of the queue that
    /// triggers it.
    known: BTreeSet<String>,
    /// Actions that Lambda takes under the role by itself, and no meter sees: it writes the
    /// function's log, and polls the queue of a trigger.
    by_lambda: BTreeSet<&'static str>,
}

/// [Lines of a log](https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html),
/// in a group that the template makes.
const LOGGING: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];

/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions>
const POLLING: [&str; 3] = [
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
];

/// A scalar, with or without a tag such as `!GetAtt`.
fn text<'a>(yaml: &'a Yaml<'static>) -> &'a str {
    yaml.get_tagged_node().unwrap_or(yaml).as_str().unwrap()
}

/// One value, or a list of them.
fn texts<'a>(yaml: &'a Yaml<'static>) -> Vec<&'a str> {
    match yaml.as_vec() {
        Some(list) => list.iter().map(text).collect(),
        None => vec![text(yaml)],
    }
}

fn list<'a>(yaml: &'a Yaml<'static>, name: &str) -> &'a [Yaml<'static>] {
    let list = yaml.as_mapping_get(name).and_then(Yaml::as_vec);
    list.map(Vec::as_slice).unwrap_or_default()
}

/// `ProductsTable.Arn` and `${ProductsTable.Arn}/index/by-category` are both of `ProductsTable`.
fn logical_id(arn: &str) -> &str {
    let (id, _) = arn.trim_start_matches("${").split_once(".Arn").unwrap();
    id
}

fn template() -> String {
    let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml");
    fs::read_to_string(template).unwrap()
}

/// The permissions of the roles of a template, by function.
fn roles(template: String) -> BTreeMap<String, Allowed> {
    let template = Yaml::load_from_str(template.leak()).unwrap().remove(0);
    let mut roles = BTreeMap::new();
    let resources = &template["Resources"];
    for (id, resource) in resources.as_mapping().unwrap() {
        if resource["Type"].as_str() != Some("AWS::Serverless::Function") {
            continue;
        }
        let properties = &resource["Properties"];
        let mut allowed = Allowed::default();
        let role = &resources[logical_id(text(&properties["Role"]))]["Properties"];
        let policies = list(role, "Policies").iter();
        for statement in policies.flat_map(|it| list(&it["PolicyDocument"], "Statement")) {
            assert_eq!(statement["Effect"].as_str(), Some("Allow"));
            let actions = texts(&statement["Action"]).into_iter().map(str::to_owned);
            allowed.actions.extend(actions);
            let resources = texts(&statement["Resource"]).into_iter().map(logical_id);
            allowed.resources.extend(resources.map(str::to_owned));
        }
        let variables = properties["Environment"]["Variables"].as_mapping().unwrap();
        // The name of the stack, say, is no resource.
        let resources = variables
            .values()
            .map(text)
            .filter(|it| !it.starts_with("AWS::"));
        allowed.known.extend(resources.map(str::to_owned));
        let log = text(&properties["LoggingConfig"]["LogGroup"]).to_owned();
        allowed.known.insert(log);
        allowed.by_lambda.extend(LOGGING);
        for event in properties["Events"].as_mapping().unwrap().values() {
            if event["Type"].as_str() == Some("SQS") {
                let queue = logical_id(text(&event["Properties"]["Queue"])).to_owned();
                allowed.known.insert(queue);
                allowed.by_lambda.extend(POLLING);
            }
        }
        roles.insert(id.as_str().unwrap().to_owned(), allowed);
    }
    roles
}

/// The permission that a metered operation needs.
fn action(operation: &str) -> String {
    let (service, name) = operation.split_once('.').unwrap();
    // A transaction has no permission of its own; it needs those of what it does, here updates.
    // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
    let name = name.replace("TransactWriteItems", "UpdateItem");
    format!("{}:{name}", service.to_lowercase())
}

/// The calls so far, by function. Other callers have lower-case access keys.
async fn called(shop: &Shop) -> BTreeMap<String, BTreeSet<String>> {
    let meter = shop.meter().await;
    let callers = meter["functions"].as_object().unwrap().iter();
    let called = callers.map(|(caller, counts)| {
        let operations = counts["operations"].as_object().unwrap();
        (
            caller.clone(),
            operations
                .keys()
                .map(|operation| action(operation))
                .collect(),
        )
    });
    called.collect()
}

async fn place(shop: &Shop, key: &str, order: &Value) -> Reply {
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    let body = Some(order.to_string().into_bytes());
    shop.send_with(Method::POST, "/orders", &headers, body)
        .await
}

/// Takes every way through every function that differs in what it asks of AWS.
async fn use_everything(shop: &Shop) {
    let order = |product: &str, quantity: u64| json!({"lines": [{"product_id": product, "quantity": quantity}]});
    for id in ["kept", "gone"] {
        shop.has_product(id, "permissions", 100, 5).await;
        shop.has_product(id, "permissions", 100, 5).await;
    }
    let headers = [("content-type", "application/json"), ("if-none-match", "*")];
    let product = json!({"name": "n", "category": "c", "price_cents": 1, "stock": 1});
    let product = Some(product.to_string().into_bytes());
    let refused = shop
        .send_with(Method::PUT, "/products/kept", &headers, product)
        .await;
    refused.expect_problem(412);
    for path in ["/products/kept?fields=name", "/products/kept"] {
        shop.get(path).await.expect(StatusCode::OK);
    }
    shop.get("/products/nobody").await.expect_problem(404);
    for listing in [
        "/products?limit=1",
        "/products?category=permissions&limit=1",
    ] {
        let page = shop.get(listing).await.expect(StatusCode::OK);
        let cursor = page.body["next_cursor"].as_str().unwrap();
        let next = shop.get(&format!("{listing}&cursor={cursor}")).await;
        next.expect(StatusCode::OK);
    }
    let batch = json!({"ids": ["kept", "nobody"]});
    shop.post("/products/batch-get", &batch)
        .await
        .expect(StatusCode::OK);

    let fulfilled = place(shop, "permissions-fulfilled", &order("gone", 1)).await;
    let fulfilled = fulfilled.expect(StatusCode::ACCEPTED);
    let rejected = shop
        .post("/orders", &order("kept", 6))
        .await
        .expect(StatusCode::ACCEPTED);
    for (placed, status) in [(&fulfilled, "FULFILLED"), (&rejected, "REJECTED")] {
        let id = placed.body["id"].as_str().unwrap();
        assert_eq!(shop.final_order(id).await["status"], status);
    }
    shop.get("/orders/nobody").await.expect_problem(404);
    shop.post("/orders", &order("nobody", 1))
        .await
        .expect_problem(422);
    let again = place(shop, "permissions-fulfilled", &order("gone", 1)).await;
    again.expect(StatusCode::ACCEPTED);
    let other = place(shop, "permissions-fulfilled", &order("gone", 2)).await;
    other.expect_problem(422);
    // A message that comes twice.
    let message = json!({"order_id": fulfilled.body["id"], "lines": order("gone", 1)["lines"]});
    shop.send_message("OrdersQueue", &message.to_string()).await;
    shop.drained("OrdersQueue").await;

    for _ in 0..2 {
        let deleted = shop.send(Method::DELETE, "/products/gone", None).await;
        deleted.expect(StatusCode::NO_CONTENT);
    }
    // The product has gone: now the order can only be found by its key.
    let again = place(shop, "permissions-fulfilled", &order("gone", 1)).await;
    again.expect(StatusCode::ACCEPTED);
}

/// Where what is allowed is not what is called, a sentence each.
fn differences(
    allowed: &BTreeMap<String, Allowed>,
    called: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let none = BTreeSet::new();
    let functions: BTreeSet<_> = allowed.keys().chain(called.keys()).collect();
    let mut differences = Vec::new();
    for function in functions {
        let mut called = called.get(function).unwrap_or(&none).clone();
        let by_lambda = allowed.get(function).map(|it| it.by_lambda.iter());
        called.extend(by_lambda.into_iter().flatten().map(|it| (*it).to_owned()));
        let allowed = allowed.get(function).map_or(&none, |it| &it.actions);
        let unused = allowed.difference(&called);
        differences.extend(unused.map(|it| format!("{function} may call {it} and does not")));
        let denied = called.difference(allowed);
        differences.extend(denied.map(|it| format!("{function} calls {it} and may not")));
    }
    differences
}

#[tokio::test]
async fn each_function_makes_the_calls_that_its_role_allows_and_no_others() {
    let shop = Shop::start("permissions", |template| template);
    use_everything(&shop).await;

    let allowed = roles(template());
    // A call is counted once its answer is through, which may be after the client has its own.
    let patience = tokio::time::Instant::now() + PATIENCE;
    while !differences(&allowed, &called(&shop).await).is_empty()
        && tokio::time::Instant::now() < patience
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(differences(&allowed, &called(&shop).await), [""; 0]);
}

#[test]
fn a_role_with_an_action_more_or_less_than_its_function_needs_is_found() {
    let needed: BTreeMap<_, _> = roles(template())
        .into_iter()
        .map(|(function, allowed)| (function, allowed.actions))
        .collect();
    let altered = |from: &str, to: &str| {
        let template = template();
        assert_eq!(template.matches(from).count(), 1, "{from}");
        differences(&roles(template.replace(from, to)), &needed)
    };

    let scan = r#"Action: "dynamodb:Scan""#;
    let more = altered(scan, r#"Action: ["dynamodb:Scan", "dynamodb:DeleteItem"]"#);
    assert_eq!(
        more,
        ["ListProducts may call dynamodb:DeleteItem and does not"]
    );
    let less = altered(
        r#"["dynamodb:PutItem", "dynamodb:GetItem"]"#,
        "dynamodb:PutItem",
    );
    assert_eq!(less, ["PlaceOrder calls dynamodb:GetItem and may not"]);
    let wider = altered(scan, r#"Action: "dynamodb:*""#);
    assert_eq!(wider.len(), 2, "{wider:?}");
    let stuck = altered(r#", "sqs:DeleteMessage""#, "");
    assert_eq!(stuck, ["ProcessOrders calls sqs:DeleteMessage and may not"]);
    let mute = altered(
        r#"["logs:CreateLogStream", "logs:PutLogEvents"], Resource: !GetAtt GetOrderLogs.Arn"#,
        r#""logs:PutLogEvents", Resource: !GetAtt GetOrderLogs.Arn"#,
    );
    assert_eq!(mute, ["GetOrder calls logs:CreateLogStream and may not"]);
    let purge = altered(
        r#"Action: "sqs:SendMessage""#,
        r#"Action: ["sqs:SendMessage", "sqs:ReceiveMessage"]"#,
    );
    assert_eq!(
        purge,
        ["PlaceOrder may call sqs:ReceiveMessage and does not"]
    );
}

#[test]
fn a_role_on_another_resource_than_its_function_is_told_of_is_found() {
    for (function, resource, other) in [
        (
            "PlaceOrder",
            r#""sqs:SendMessage", Resource: !GetAtt OrdersQueue.Arn"#,
            "OrdersDeadLetterQueue",
        ),
        (
            "ProcessOrders",
            r#""sqs:GetQueueAttributes"], Resource: !GetAtt OrdersQueue.Arn"#,
            "OrdersDeadLetterQueue",
        ),
        (
            "GetOrder",
            "Resource: !GetAtt GetOrderLogs.Arn",
            "PutProductLogs",
        ),
        (
            "PutProduct",
            r#""dynamodb:UpdateItem", Resource: !GetAtt ProductsTable.Arn"#,
            "OrdersTable",
        ),
    ] {
        let template = template();
        assert_eq!(template.matches(resource).count(), 1, "{resource}");
        let (before, _) = resource.split_once("!GetAtt ").unwrap();
        let changed = template.replace(resource, &format!("{before}!GetAtt {other}.Arn"));

        let role = &roles(changed)[function];

        assert_ne!(role.resources, role.known, "{function}");
    }
}

#[test]
fn a_role_names_the_resources_that_its_function_is_told_of_and_no_others() {
    let roles = roles(template());

    assert_eq!(roles.len(), 8);
    for (
        function,
        Allowed {
            actions,
            resources,
            known,
            ..
        },
    ) in roles
    {
        assert_eq!(resources, known, "{function}");
        assert!(
            !actions.iter().any(|action| action.contains('*')),
            "{function}: {actions:?}"
        );
    }
}
