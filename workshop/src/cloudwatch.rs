//! What a deployed stack did, from CloudWatch Logs by the AWS CLI: the REPORT lines of its functions, and the lines of
//! its API's access log.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::process::Command;

use crate::artillery::{Aggregate, Ensure, Histograms};
use crate::functions::Function;
use crate::gates::{Gate, evaluate, gates};
use crate::percentile::figures;
use crate::program;
use crate::report_lines::parse_log;
use crate::session::Session;

/// Until a line that was written can be found: seconds as a rule, a minute and a half at worst.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(90);
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// A stack that is there.
#[derive(Debug)]
pub struct Stack {
    name: String,
    region: String,
    resources: Vec<Resource>,
}

/// As the queries below give it: type, logical id, physical id.
#[derive(Debug, Deserialize)]
struct Resource(String, String, Option<String>);

/// Likewise: milliseconds since 1970, and the message.
#[derive(Deserialize)]
struct Event(u64, String);

/// A line of the access log, as template.yaml has it; all values are texts.
#[derive(Deserialize)]
struct Access {
    time: String,
    route: String,
    status: String,
    latency: String,
    #[serde(rename = "functionLatency", default)]
    function_latency: String,
}

/// Times from the access log, as Artillery's report would say them.
#[derive(Debug, Default)]
pub struct Logged {
    /// Requests in the log.
    lines: u64,
    /// Figures of histograms by Artillery's names.
    pub summaries: Histograms,
}

impl Stack {
    /// Finds the stack of this name in the region in use.
    pub async fn find(name: &str) -> Result<Self> {
        let region = region().await?;
        let query =
            "StackResourceSummaries[].[ResourceType, LogicalResourceId, PhysicalResourceId]";
        let call = format!("cloudformation list-stack-resources --stack-name {name}");
        let listed = aws(&region, &call, &["--query", query]).await;
        let absent = |error: &Error| error.to_string().contains("does not exist");
        if listed.as_ref().is_err_and(absent) {
            bail!("there is no stack \"{name}\" in {region}; `make deploy` makes it");
        }
        if listed
            .as_ref()
            .is_err_and(|error| error.to_string().contains("locate credentials"))
        {
            bail!(
                "there are no AWS credentials: run `aws configure` or `aws sso login`, or set AWS_PROFILE"
            );
        }
        let (name, resources) = (name.to_owned(), listed?);
        Ok(Self {
            name,
            region,
            resources,
        })
    }

    /// The region that it was found in.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The processor of its functions: `arm64` or `x86_64`.
    pub async fn architecture(&self) -> Result<String> {
        let mut resources = self.resources.iter();
        let function = resources.find(|it| it.0 == "AWS::Lambda::Function");
        let Some(Resource(_, _, Some(id))) = function else {
            bail!("the stack {} has no function", self.name);
        };
        let call = format!("lambda get-function-configuration --function-name {id}");
        aws(&self.region, &call, &["--query", "Architectures[0]"]).await
    }

    /// What the API itself took for its answers of functions since `since` (milliseconds since 1970), by its own access
    /// log: ms, one of each line. None of a stack without that log.
    pub async fn front_door(&self, since: u64) -> Result<Vec<f64>> {
        let mut resources = self.resources.iter();
        let group = resources.find(|it| it.1 == "ApiLogs");
        let Some(Resource(_, _, Some(group))) = group else {
            return Ok(Vec::new());
        };
        Ok(front_door(&self.events(group, since, &[]).await?))
    }

    /// One row a function, as from local logs: of its runs since the load began, cold starts since the verb was started
    /// (milliseconds since 1970). Waits until as many runs are there as requests were answered.
    pub async fn functions(
        &self,
        session: &Session,
        [started_at, load_at]: [u64; 2],
        answered: u64,
    ) -> Result<Vec<Function>> {
        let mut groups = Vec::new();
        for Resource(kind, name, id) in &self.resources {
            let ("AWS::Lambda::Function", Some(id)) = (kind.as_str(), id) else {
                continue;
            };
            let call = format!("lambda get-function-configuration --function-name {id}");
            let query = ["--query", "LoggingConfig.LogGroup"];
            let group: Option<String> = aws(&self.region, &call, &query).await?;
            groups.push((name, group.unwrap_or_else(|| format!("/aws/lambda/{id}"))));
        }
        let look = async || {
            let mut rows = Vec::new();
            for (name, group) in &groups {
                let filter = ["--filter-pattern", "\"REPORT RequestId\""];
                let events = self.events(group, started_at, &filter).await?;
                rows.push(function(name, &events, load_at));
            }
            let lines = rows.iter().map(|row| row.invocations).sum();
            Ok((rows, lines))
        };
        let mut rows = arrived(session, answered, "runs", look).await?;
        rows.retain(|row| row.invocations > 0 || row.cold_starts > 0);
        Ok(rows)
    }

    /// How long the API took for its answers since `since` (milliseconds since 1970), by its own access log. Waits until
    /// as many lines are there as requests were answered.
    pub async fn latency(&self, session: &Session, since: u64, answered: u64) -> Result<Logged> {
        let mut resources = self.resources.iter();
        let group = resources.find(|Resource(_, name, _)| name == "ApiLogs");
        let Some(Resource(_, _, Some(group))) = group else {
            let name = &self.name;
            bail!("the stack {name} has no access log (ApiLogs), so its latency cannot be judged");
        };
        let look = async || {
            let events = self.events(group, since, &[]).await?;
            let logged = logged(&events, since);
            let lines = logged.lines;
            Ok((logged, lines))
        };
        arrived(session, answered, "requests", look).await
    }

    /// The events of a log group; none if it is not there, as for a function that has not run yet.
    async fn events(&self, group: &str, since: u64, filter: &[&str]) -> Result<Vec<Event>> {
        let call = format!("logs filter-log-events --log-group-name {group} --start-time {since}");
        let query = ["--query", "events[].[timestamp, message]"];
        match aws(&self.region, &call, &[&query, filter].concat()).await {
            Err(error) if error.to_string().contains("ResourceNotFoundException") => Ok(Vec::new()),
            found => found,
        }
    }
}

/// The region in use, in the variables of both versions of the CLI.
async fn region() -> Result<String> {
    let variables = ["AWS_REGION", "AWS_DEFAULT_REGION"];
    let mut set = variables.iter().filter_map(|name| std::env::var(name).ok());
    if let Some(region) = set.find(|region| !region.is_empty()) {
        return Ok(region);
    }
    let mut configured = Command::new("aws");
    configured.args(["configure", "get", "region"]);
    let configured = program::output(&mut configured).await;
    let region = configured.unwrap_or_default().trim().to_owned();
    if region.is_empty() {
        bail!(
            "no region is set: `export AWS_REGION=us-east-1`, or `aws configure set region us-east-1`"
        );
    }
    Ok(region)
}

/// Calls the CLI with these words, and with more arguments that may have spaces.
pub async fn aws<T: DeserializeOwned>(region: &str, words: &str, more: &[&str]) -> Result<T> {
    let mut command = Command::new("aws");
    command.args(words.split(' ')).args(more);
    command.args(["--output", "json"]);
    command.envs([("AWS_REGION", region), ("AWS_DEFAULT_REGION", region)]);
    // A group of its own, so that Ctrl-C does not reach it: what is begun to be removed is removed.
    command.process_group(0);
    let text = program::output(command.env("AWS_PAGER", "")).await?;
    let text = if text.trim().is_empty() {
        "null"
    } else {
        &text
    };
    serde_json::from_str(text).with_context(|| format!("aws {words} answered otherwise"))
}

/// Looks until as many lines are there as are expected, since they arrive late; says so if they do not all arrive.
async fn arrived<T>(
    session: &Session,
    expected: u64,
    what: &str,
    look: impl AsyncFn() -> Result<(T, u64)>,
) -> Result<T> {
    let mut waited = Duration::ZERO;
    loop {
        let (found, lines) = session.or_interrupted(look()).await?;
        if lines >= expected {
            return Ok(found);
        }
        let of = format!("{lines} of at least {expected} {what}");
        if waited >= ARRIVAL_TIMEOUT {
            session.say(format!("CloudWatch: only {of} have reached the logs"));
            return Ok(found);
        }
        session.say(format!("CloudWatch: {of} are in the logs"));
        session.pause(ASK_AGAIN).await?;
        waited += ASK_AGAIN;
    }
}

/// A function's row, from the events of its log. Those before `load_at` count as cold starts alone.
fn function(name: &str, events: &[Event], load_at: u64) -> Function {
    let reports = |since: u64| -> Vec<_> {
        let events = events.iter().filter(|Event(at, _)| *at >= since);
        events
            .flat_map(|Event(_, message)| parse_log(message))
            .collect()
    };
    Function::summarise(name, &reports(load_at), &reports(0))
}

/// The times in the lines of an access log. One that cannot be read is a request that is missed.
fn logged(events: &[Event], since: u64) -> Logged {
    let mut lines = 0;
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for Event(_, message) in events {
        let Ok(line) = serde_json::from_str::<Access>(message) else {
            continue;
        };
        if !line.time.parse::<u64>().is_ok_and(|time| time >= since) {
            continue;
        }
        lines += 1;
        if let (Some(class), Ok(latency)) = (line.status.get(..1), line.latency.parse()) {
            let all = format!("http.response_time.{class}xx");
            let route = format!("{all}.{}", line.route);
            for name in [all, route] {
                times.entry(name).or_default().push(latency);
            }
        }
    }
    let summaries = times
        .into_iter()
        .map(|(name, times)| (name, figures(&times)));
    Logged {
        lines,
        summaries: summaries.collect(),
    }
}

/// The latency of each line beyond that of its function. A request that reached no function has no such line.
fn front_door(events: &[Event]) -> Vec<f64> {
    let beyond = events.iter().filter_map(|Event(_, message)| {
        let line: Access = serde_json::from_str(message).ok()?;
        Some(line.latency.parse::<f64>().ok()? - line.function_latency.parse::<f64>().ok()?)
    });
    beyond.collect()
}

/// The gates of `ensure` against the latency that API Gateway logged, in place of the client's own, none of which
/// counts; and one that all requests that were answered are in that log.
pub fn evaluate_logged(
    ensure: &Ensure,
    aggregate: &Aggregate,
    logged: &Logged,
) -> Result<Vec<Gate>> {
    let mut judged = aggregate.clone();
    let of_client = |name: &str| name.starts_with("http.response_time.");
    judged.summaries.retain(|name, _| !of_client(name));
    judged.summaries.extend(logged.summaries.clone());
    let mut gates = evaluate(ensure, &judged)?;
    let (answered, lines) = (aggregate.answered() as f64, logged.lines as f64);
    gates.extend(gates! { "requests in the API's log": lines, >= answered; });
    Ok(gates)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SINCE: u64 = 1_000_000;

    fn event(timestamp: u64, message: impl Into<String>) -> Event {
        Event(timestamp, message.into())
    }

    fn line(route: &str, status: &str, latency: &str, time: u64) -> Event {
        let line =
            json!({"time": time.to_string(), "route": route, "status": status, "latency": latency});
        event(time, line.to_string())
    }

    #[test]
    fn the_latency_of_a_route_is_that_of_its_answers_since_the_load_began_by_class() {
        let lines = [
            line("GET /products", "200", "900", SINCE - 1),
            line("GET /products", "200", "5", SINCE),
            line("GET /products", "200", "7", SINCE),
            line("GET /products", "404", "800", SINCE),
            line("PUT /products/{id}", "201", "30", SINCE),
            event(
                SINCE,
                r#"{"time": "1000000", "error": "a "quote" that breaks a line"}"#,
            ),
        ];
        let found = logged(&lines, SINCE);
        assert_eq!(found.lines, 4);
        let told = found
            .summaries
            .iter()
            .map(|(name, it)| (name.as_str(), it["p50"], it["p95"], it["max"]));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                ("http.response_time.2xx", 7.0, 30.0, 30.0),
                ("http.response_time.2xx.GET /products", 5.0, 7.0, 7.0),
                (
                    "http.response_time.2xx.PUT /products/{id}",
                    30.0,
                    30.0,
                    30.0
                ),
                ("http.response_time.4xx", 800.0, 800.0, 800.0),
                ("http.response_time.4xx.GET /products", 800.0, 800.0, 800.0),
            ]
        );
        assert!(logged(&[], SINCE).summaries.is_empty());
    }

    #[test]
    fn what_the_api_has_not_logged_is_not_judged_by_the_client_and_a_missing_request_fails_a_gate()
    {
        let judged = |answered: u64| -> Vec<_> {
            let client = json!({
                "counters": {"routes.GET /a.codes.200": answered},
                "summaries": {"http.response_time.2xx": {"p99": 5}, "http.response_time.2xx.GET /a": {"p99": 5}}
            });
            let ensure = json!({"thresholds": [
                {"http.response_time.2xx.p99": 100}, {"http.response_time.2xx.GET /a.p99": 100}
            ]});
            let summaries =
                BTreeMap::from([("http.response_time.2xx".to_owned(), figures(&[7.0]))]);
            let gates = evaluate_logged(
                &serde_json::from_value(ensure).unwrap(),
                &serde_json::from_value(client).unwrap(),
                &Logged {
                    lines: 9,
                    summaries,
                },
            );
            gates
                .unwrap()
                .into_iter()
                .map(|gate| (gate.value, gate.pass))
                .collect()
        };
        let [all, route] = [(Some(7.0), true), (None, false)];
        assert_eq!(judged(9), [all, route, (Some(9.0), true)]);
        assert_eq!(judged(10), [all, route, (Some(9.0), false)]);
    }

    #[test]
    fn lines_from_before_the_load_count_as_cold_starts_alone() {
        let report = |init: &str| {
            format!("REPORT RequestId: 1\tDuration: 2.00 ms\tBilled Duration: 3 ms\t{init}")
        };
        let events = [
            event(SINCE - 1, report("Init Duration: 15.00 ms\t")),
            event(SINCE, "START RequestId: 1"),
            event(SINCE, report("")),
            event(SINCE + 1, report("")),
        ];
        let row = function("GetProduct", &events, SINCE);
        assert_eq!(
            (row.invocations, row.cold_starts, row.cold_starts_under_load),
            (2, 1, 0)
        );
        assert_eq!(row.init_p50_ms, Some(15.0));
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_never_come_are_waited_for_as_long_as_they_may_take_and_then_missed() {
        let session = Session::in_folder(".".into());
        let begin = tokio::time::Instant::now();
        let found = arrived(&session, 2, "requests", async || Ok(("one", 1))).await;
        assert_eq!(found.unwrap(), "one");
        assert_eq!(begin.elapsed(), ARRIVAL_TIMEOUT);
    }
}
