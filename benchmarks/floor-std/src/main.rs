//! The floor without a crate: a function that does nothing, on `std` alone. It speaks the Runtime API
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>) over one connection, and reads of an event no more
//! than its length. What `floor` costs beyond it is `lambda_http`: tokio, HTTP for every case, the JSON of the event.

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader, Error as IoError, Read, Write};
use std::net::TcpStream;

/// As many bytes as the product that the benchmark reads.
static PRODUCT: &str = include_str!("../../product.json");

fn main() -> Result<(), Box<dyn Error>> {
    let host = &env::var("AWS_LAMBDA_RUNTIME_API")?;
    let mut api = BufReader::new(TcpStream::connect(host)?);
    api.get_ref().set_nodelay(true)?;
    let answer = format!(
        r#"{{"statusCode":200,"headers":{{"content-type":"application/json"}},"body":"{}"}}"#,
        PRODUCT.trim().replace('"', "\\\"")
    );
    let path = "/2018-06-01/runtime/invocation";
    loop {
        let next = format!("GET {path}/next HTTP/1.1\r\nhost: {host}\r\n\r\n");
        api.get_ref().write_all(next.as_bytes())?;
        let id = receive(&mut api)?;
        let (id, length) = (id.ok_or("the event has no request id")?, answer.len());
        let head = format!("POST {path}/{id}/response HTTP/1.1\r\nhost: {host}\r\n");
        let answer = format!("{head}content-length: {length}\r\n\r\n{answer}");
        api.get_ref().write_all(answer.as_bytes())?;
        receive(&mut api)?;
    }
}

/// Reads one response to its end, and returns the request id among its headers. Lambda sends a length, and no chunks.
fn receive(api: &mut impl BufRead) -> Result<Option<String>, Box<dyn Error>> {
    let (mut id, mut length, mut line) = (None, 0, String::new());
    loop {
        line.clear();
        if api.read_line(&mut line)? == 0 {
            return Err(IoError::other("the Runtime API has closed the connection").into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            if line.trim_end().is_empty() {
                break;
            }
            continue; // the status
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse()?,
            "lambda-runtime-aws-request-id" => id = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    api.read_exact(&mut body)?;
    Ok(id)
}
