//! A Lambda function that follows instructions, for the tests of this crate.
//!
//! `INIT` sets what its init phase does, the event's `do` what an invocation does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

/// Invocations of this process.
static INVOCATIONS: AtomicU64 = AtomicU64::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    init(&std::env::var("INIT").unwrap_or_default());
    lambda_runtime::run(service_fn(handle)).await
}

fn init(what: &str) {
    let (what, argument) = what.split_once(':').unwrap_or((what, ""));
    match what {
        "exit" => std::process::exit(argument.parse().unwrap_or(1)),
        "sleep" => sleep(argument),
        // Each process after the first does the work.
        "burn-later" if std::fs::create_dir(argument).is_err() => {
            let _ = burn(100);
        }
        // Each process after the first finds the file.
        "exit-once" | "hang-once" if std::fs::create_dir(argument).is_err() => {}
        "exit-once" => {
            let _ = writeln!(std::io::stderr(), "it fails");
            std::process::exit(1)
        }
        "hang-once" | "hang" => sleep("3600000"),
        "error" => {
            let address = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap_or_default();
            let body = r#"{"errorType":"Config.Missing","errorMessage":"TABLE is not set"}"#;
            let request = format!(
                "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: {address}\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            if let Ok(mut stream) = TcpStream::connect(address) {
                let _ = stream.write_all(request.as_bytes());
                let _ = stream.read(&mut [0; 1024]);
            }
            sleep("3600000");
        }
        _ => {}
    }
}

fn sleep(millis: &str) {
    std::thread::sleep(Duration::from_millis(millis.parse().unwrap_or_default()));
}

/// CPU time of this process so far.
fn cpu_time() -> Result<Duration, Error> {
    let clock = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID;
    Ok(Duration::from(nix::time::clock_gettime(clock)?))
}

/// Works for so many milliseconds of CPU time: others may want the processor too.
fn burn(ms: u64) -> Result<(), Error> {
    let end = cpu_time()? + Duration::from_millis(ms);
    while cpu_time()? < end {
        std::hint::spin_loop();
    }
    Ok(())
}

/// Until the file is there.
async fn wait(gate: &Value) -> Result<(), Error> {
    let gate = gate.as_str().unwrap_or_default();
    // Hundreds may wait at one time.
    let mut pause = Duration::from_millis(2);
    while !std::fs::exists(gate)? {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
    Ok(())
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let invocation = INVOCATIONS.fetch_add(1, Ordering::Relaxed) + 1;
    let (event, context) = event.into_parts();
    // Behind an HTTP API, a body sent to `/do` holds the command; any other event is returned.
    let command = match event["rawPath"].as_str() {
        Some("/do") => event["body"]
            .as_str()
            .and_then(|body| serde_json::from_str(body).ok()),
        Some(_) => None,
        None => Some(event.clone()),
    };
    let Some(command) = command else {
        return Ok(event);
    };
    let number = |name: &str| command[name].as_u64().unwrap_or_default();
    match command["do"].as_str() {
        Some("sleep") => tokio::time::sleep(Duration::from_millis(number("ms"))).await,
        // Until a test lets it go on.
        Some("wait") => wait(&command["file"]).await?,
        // Writes a temporary file, and reads it once it is let go on.
        Some("tmp") => {
            let folder = std::env::temp_dir();
            let file = folder.join(command["name"].as_str().unwrap_or_default());
            let read = || -> Option<u32> { std::fs::read_to_string(&file).ok()?.parse().ok() };
            let before = read();
            std::fs::write(&file, std::process::id().to_string())?;
            writeln!(std::io::stdout(), "written")?;
            wait(&command["file"]).await?;
            return Ok(json!({
                "pid": std::process::id(),
                "folder": folder,
                "before": before,
                "after": read(),
            }));
        }
        Some("exit") => std::process::exit(i32::try_from(number("code"))?),
        Some("abort") => std::process::abort(),
        Some("fail") => return Err("it went wrong".into()),
        Some("print") => {
            std::io::stdout().write_all(command["text"].as_str().unwrap_or_default().as_bytes())?;
            std::io::stdout().flush()?;
        }
        Some("allocate") => {
            // Every page is written, or it would not be resident.
            let memory = vec![1_u8; usize::try_from(number("mb"))? * 1024 * 1024];
            tokio::time::sleep(Duration::from_millis(number("ms"))).await;
            std::hint::black_box(memory);
        }
        Some("burn") => {
            burn(number("ms"))?;
        }
        Some("large") => return Ok("x".repeat(usize::try_from(number("bytes"))?).into()),
        Some("child") => {
            let child = std::process::Command::new("sleep").arg("3600").spawn()?;
            return Ok(json!({"child": child.id()}));
        }
        Some("reply") => return Ok(command["reply"].clone()),
        Some("environment") => {
            let variables: std::collections::BTreeMap<String, String> = std::env::vars().collect();
            return Ok(json!({
                "variables": variables,
                "folder": std::env::current_dir()?,
                "request_id": context.request_id,
                "deadline": context.deadline,
                "arn": context.invoked_function_arn,
                "trace_id": context.xray_trace_id,
            }));
        }
        _ => {}
    }
    Ok(json!({"pid": std::process::id(), "invocation": invocation, "event": event}))
}
