//! Builds the event of
//! [payload format 2.0](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html)
//! from an HTTP request.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{
    CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING, USER_AGENT,
};
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use time::OffsetDateTime;

/// The parts of the event that are not in the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) account_id: &'a str,
    pub(super) request_id: &'a str,
    pub(super) source_ip: IpAddr,
    /// The port that the client called.
    pub(super) port: u16,
    pub(super) route_key: &'a str,
    pub(super) trace_id: &'a str,
    pub(super) now: OffsetDateTime,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: &'static str,
    route_key: &'a str,
    raw_path: &'a str,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    headers: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query_string_parameters: BTreeMap<String, String>,
    request_context: RequestContext<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    path_parameters: &'a BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    is_base64_encoded: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    account_id: &'a str,
    api_id: &'static str,
    domain_name: &'a str,
    domain_prefix: &'a str,
    http: Http<'a>,
    request_id: &'a str,
    route_key: &'a str,
    stage: &'static str,
    time: String,
    time_epoch: i128,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    method: &'a str,
    path: &'a str,
    protocol: String,
    source_ip: IpAddr,
    user_agent: String,
}

/// The decoded path, which API Gateway matches with routes and passes on. `%2F` becomes an ordinary
/// slash. The path ends at a decoded question mark, as on AWS.
pub(super) fn decoded_path(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    decoded.split('?').next().unwrap_or_default().to_owned()
}

/// The event as JSON.
pub(super) fn encode(
    request: &Parts,
    body: &Bytes,
    path: &str,
    path_parameters: &BTreeMap<&str, String>,
    context: Context<'_>,
) -> Result<Vec<u8>, serde_json::Error> {
    let query = request.uri.query().unwrap_or_default();
    let domain_name = request
        .headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .map_or("localhost", hostname);
    let headers = headers(&request.headers, body.len(), context);
    let (body, is_base64_encoded) = body_text(request.headers.get(CONTENT_TYPE), body);
    let Context {
        account_id,
        request_id,
        source_ip,
        route_key,
        now,
        ..
    } = context;
    serde_json::to_vec(&Event {
        version: "2.0",
        route_key,
        raw_path: path,
        raw_query_string: query,
        cookies: cookies(&request.headers),
        headers,
        query_string_parameters: query_parameters(query),
        request_context: RequestContext {
            account_id,
            api_id: "local",
            domain_name,
            domain_prefix: domain_name.split('.').next().unwrap_or_default(),
            http: Http {
                method: request.method.as_str(),
                path,
                protocol: format!("{:?}", request.version),
                source_ip,
                user_agent: request
                    .headers
                    .get(USER_AGENT)
                    .map(text)
                    .unwrap_or_default(),
            },
            request_id,
            route_key,
            stage: "$default",
            time: access_log_time(now),
            time_epoch: now.unix_timestamp_nanos() / 1_000_000,
        },
        path_parameters,
        body,
        is_base64_encoded,
    })
}

/// All headers: names in lower case, values of one name joined by commas, with those that API
/// Gateway adds. Cookies are kept apart.
fn headers<'a>(
    headers: &'a HeaderMap,
    content_length: usize,
    context: Context<'_>,
) -> BTreeMap<&'a str, String> {
    let mut joined: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers {
        if *name == COOKIE || *name == TRANSFER_ENCODING {
            continue;
        }
        let value = text(value);
        joined
            .entry(name.as_str())
            .and_modify(|present| *present = format!("{present},{value}"))
            .or_insert(value);
    }
    let source_ip = context.source_ip.to_string();
    joined
        .entry("x-forwarded-for")
        .and_modify(|present| *present = format!("{present}, {source_ip}"))
        .or_insert(source_ip);
    joined.insert("x-forwarded-port", context.port.to_string());
    joined.insert("x-forwarded-proto", "http".to_owned());
    joined.insert("x-amzn-trace-id", context.trace_id.to_owned());
    joined.insert("content-length", content_length.to_string());
    joined
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|value| {
            text(value)
                .split(';')
                .map(|cookie| cookie.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .filter(|cookie| !cookie.is_empty())
        .collect()
}

/// Decoded, with values of one name joined by commas.
fn query_parameters(query: &str) -> BTreeMap<String, String> {
    let mut parameters: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        parameters
            .entry(name.into_owned())
            .and_modify(|present| *present = format!("{present},{value}"))
            .or_insert_with(|| value.into_owned());
    }
    parameters
}

/// The body as a JSON value: text if the content type says so and it is UTF-8, else base64. A form
/// is base64 on AWS too.
fn body_text(content_type: Option<&HeaderValue>, body: &Bytes) -> (Option<String>, bool) {
    if body.is_empty() {
        return (None, false);
    }
    let essence = content_type.map(|value| {
        text(value)
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    });
    let is_text = essence.is_none_or(|essence| {
        essence.is_empty()
            || essence.starts_with("text/")
            || matches!(
                essence.as_str(),
                "application/json" | "application/javascript" | "application/xml"
            )
            || essence.ends_with("+json")
            || essence.ends_with("+xml")
    });
    match std::str::from_utf8(body) {
        Ok(text) if is_text => (Some(text.to_owned()), false),
        _ => (Some(BASE64_STANDARD.encode(body)), true),
    }
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// A `Host` without its port.
fn hostname(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

/// `12/Mar/2020:19:03:58 +0000`.
fn access_log_time(now: OffsetDateTime) -> String {
    let month = now.month().to_string();
    let (hour, minute, second) = now.to_hms();
    format!(
        "{:02}/{}/{}:{hour:02}:{minute:02}:{second:02} +0000",
        now.day(),
        &month[..3],
        now.year()
    )
}
