//! Instructions of init, of the first and of a warm invocation, counted by valgrind. Unlike times, they are the same on
//! every run.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use fs_err as fs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::targets::Target;
use crate::host::Host;
use crate::program::Program;

/// The average is over so many warm invocations.
const WARM: usize = 10;

/// Limit for all of them; valgrind is about 50 times slower than the machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Instructions of a program in millions, or why they are not known.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub init: Option<f64>,
    pub first: Option<f64>,
    pub warm: Option<f64>,
    pub absent: Option<String>,
}

/// Counts the instructions of a target.
pub async fn count(root: &Path, host: &Host, target: &Target) -> Row {
    // One after another: on a busy machine valgrind is slow enough for a timeout of the function's own to strike.
    let counted = async {
        let init = callgrind(root, host, target, 0).await?;
        let first = callgrind(root, host, target, 1).await?;
        let warm = callgrind(root, host, target, 1 + WARM).await?;
        anyhow::Ok([init, first - init, (warm - first) / WARM as f64])
    };
    let mut row = Row {
        name: target.peer.name.clone(),
        ..Row::default()
    };
    match counted.await {
        Ok(counts) => [row.init, row.first, row.warm] = counts.map(|count| Some(count / 1e6)),
        Err(error) => row.absent = Some(format!("{error:#}")),
    }
    row
}

/// A minimal Runtime API, because the host would end so slow a function. Times under valgrind do not matter.
struct RuntimeApi {
    event: String,
    /// Invocations that it hands out.
    invocations: usize,
    /// How often it was asked for one.
    asked: AtomicUsize,
    enough: Notify,
}

async fn next(State(api): State<Arc<RuntimeApi>>) -> impl IntoResponse {
    if api.asked.fetch_add(1, Ordering::SeqCst) >= api.invocations {
        api.enough.notify_one();
        std::future::pending::<()>().await;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let deadline = now.unwrap_or_default() + TIMEOUT;
    let headers = [
        ("lambda-runtime-aws-request-id", "request".to_owned()),
        (
            "lambda-runtime-deadline-ms",
            deadline.as_millis().to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned(),
        ),
    ];
    (headers, api.event.clone())
}

/// Runs a program under valgrind until it has asked for an event once more than it got, and ends it.
async fn callgrind(root: &Path, host: &Host, target: &Target, invocations: usize) -> Result<f64> {
    let binary = target.peer.binary(root).context("not a native program")?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let api = Arc::new(RuntimeApi {
        event: event(&target.request.path).to_string(),
        invocations,
        asked: AtomicUsize::new(0),
        enough: Notify::new(),
    });
    let routes = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .fallback(async || StatusCode::ACCEPTED)
        .with_state(api.clone());
    let mut serving = JoinSet::new(); // until the end of this call
    serving.spawn(axum::serve(listener, routes).into_future());

    let log = root.join("target/bench/valgrind.log");
    let _ = fs::remove_file(&log);
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.arg(binary).env_clear().env("PATH", path);
    command.env("AWS_LAMBDA_RUNTIME_API", address.to_string());
    command.envs(environment(root, host, target));
    let mut program = Program::start(&mut command, &log).context("valgrind is not installed")?;
    let ended = timeout(TIMEOUT, async {
        tokio::select! {
            ended = program.wait() => ended.map(drop),
            () = api.enough.notified() => Ok(()),
        }
    });
    let ended = ended.await;
    program.stop().await; // valgrind then writes its counts
    ended.context("valgrind took too long")??;
    let said = fs::read_to_string(&log)?;
    let last = said.trim().lines().last();
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    match collected.and_then(|(_, count)| count.trim().parse().ok()) {
        Some(count) if api.asked.load(Ordering::SeqCst) == invocations + 1 => Ok(count),
        _ => bail!("{}", last.unwrap_or("valgrind said nothing")),
    }
}

/// What the host sets for a function, and a benchmark of one needs.
fn environment(root: &Path, host: &Host, target: &Target) -> Vec<(&'static str, String)> {
    let id = &target.function_id;
    let mut variables = vec![
        ("AWS_LAMBDA_FUNCTION_NAME", id.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", format!("{id}Valgrind")),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ("AWS_ENDPOINT_URL", host.ready.aws_endpoint_url.clone()),
        ("SSL_CERT_FILE", host.ready.ca_file.display().to_string()),
        ("PRODUCTS_TABLE", "local-ProductsTable".to_owned()), // as the host names what the template does not
    ];
    variables.extend(target.peer.environment(root));
    variables
}

/// An event of the HTTP API, for `GET /products/{id}`.
fn event(path: &str) -> Value {
    let id = path.rsplit('/').next();
    json!({
        "version": "2.0", "routeKey": "GET /products/{id}", "rawPath": path, "rawQueryString": "",
        "headers": {"accept": "*/*", "host": "127.0.0.1:3000"}, "pathParameters": {"id": id},
        "requestContext": {
            "accountId": "000000000000", "apiId": "local", "domainName": "127.0.0.1", "domainPrefix": "127",
            "requestId": "r", "routeKey": "GET /products/{id}", "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000_u64,
            "http": {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "bench"}
        },
        "isBase64Encoded": false
    })
}
