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
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::aws_json::ACCOUNT;

/// `12/Mar/2020:19:03:58 +0000`.
const ACCESS_LOG: &[BorrowedFormatItem<'_>] =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");

/// The parts of the event that are not in the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) request_id: &'a str,
    pub(super) source_ip: IpAddr,
    /// The port that the client called.
    pub(super) port: u16,
    pub(super) route_key: &'a str,
    pub(super) trace_id: &'a str,
    pub(super) now: OffsetDateTime,
}

/// The decoded path, which API Gateway matches with routes and passes on. `%2F` becomes an ordinary
/// slash. The path ends at a decoded question mark, as on AWS.
pub(super) fn decoded_path(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    decoded.split('?').next().unwrap_or_default().to_owned()
}

/// The event as JSON. What a request does not have is absent.
pub(super) fn encode(
    request: &Parts,
    body: &Bytes,
    path: &str,
    path_parameters: &BTreeMap<&str, String>,
    context: Context<'_>,
) -> Vec<u8> {
    let query = request.uri.query().unwrap_or_default();
    let host = request.headers.get(HOST).map(text).unwrap_or_default();
    let user_agent = request.headers.get(USER_AGENT).map(text);
    let domain_name = hostname(&host);
    let (body_text, is_base64_encoded) = body_text(request.headers.get(CONTENT_TYPE), body);
    let mut event = json!({
        "version": "2.0",
        "routeKey": context.route_key,
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers(&request.headers, body.len(), context),
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "domainName": domain_name,
            "domainPrefix": domain_name.split('.').next(),
            "http": {
                "method": request.method.as_str(),
                "path": path,
                "protocol": format!("{:?}", request.version),
                "sourceIp": context.source_ip,
                "userAgent": user_agent.unwrap_or_default(),
            },
            "requestId": context.request_id,
            "routeKey": context.route_key,
            "stage": "$default",
            "time": context.now.format(ACCESS_LOG).unwrap_or_default(),
            "timeEpoch": context.now.unix_timestamp_nanos() / 1_000_000,
        },
        "isBase64Encoded": is_base64_encoded,
    });
    let cookies = cookies(&request.headers);
    let query_parameters = query_parameters(query);
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if !query_parameters.is_empty() {
        event["queryStringParameters"] = json!(query_parameters);
    }
    if !path_parameters.is_empty() {
        event["pathParameters"] = json!(path_parameters);
    }
    if let Some(body) = body_text {
        event["body"] = body.into();
    }
    event.to_string().into_bytes()
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
    let all: Vec<String> = headers.get_all(COOKIE).iter().map(text).collect();
    let all = all.join(";");
    let cookies = all.split(';').map(str::trim);
    let cookies = cookies.filter(|cookie| !cookie.is_empty());
    cookies.map(str::to_owned).collect()
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
    let content_type = content_type.map(text).unwrap_or_default();
    let content_type = content_type.to_ascii_lowercase();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let is_text = essence.is_empty()
        || essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence,
            "application/json" | "application/javascript" | "application/xml"
        );
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
