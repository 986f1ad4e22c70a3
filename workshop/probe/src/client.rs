//! Signed requests on a connection that is kept, and the time of each.

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use lambda_runtime::Error;
use nix::time::{ClockId, clock_gettime};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

/// One service, and a connection to it.
pub(crate) struct Client {
    service: &'static str,
    /// Of the service, without a slash at its end.
    endpoint: String,
    region: String,
    credentials: Credentials,
    tls: Arc<ClientConfig>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// An answer, and the time from the sending of its request until all of it was there.
pub(crate) struct Answer {
    pub(crate) body: Value,
    pub(crate) headers: HeaderMap,
    pub(crate) took: Duration,
}

impl Client {
    /// For `dynamodb`, `sqs` or `lambda`, in the function's region, by the function's role.
    pub(crate) fn new(service: &'static str) -> Result<Self, Error> {
        let region = env::var("AWS_REGION")?;
        let (key, secret) = (
            env::var("AWS_ACCESS_KEY_ID")?,
            env::var("AWS_SECRET_ACCESS_KEY")?,
        );
        let token = env::var("AWS_SESSION_TOKEN").ok();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
        // Each connection is a whole handshake, as in a new environment.
        tls.resumption = rustls::client::Resumption::disabled();
        let endpoint = env::var("AWS_ENDPOINT_URL")
            .unwrap_or_else(|_| format!("https://{service}.{region}.{}", suffix(&region)));
        Ok(Self {
            service,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            region,
            credentials: Credentials::new(key, secret, token, None, "environment"),
            tls: Arc::new(tls),
            connection: None,
        })
    }

    /// Opens a new connection, in place of the one before. Gives its time without DNS and without the CPU time of this
    /// process.
    pub(crate) async fn connect(&mut self) -> Result<Duration, Error> {
        let uri: Uri = self.endpoint.parse()?;
        let host = uri.host().ok_or("the endpoint has no host")?;
        let mut found = lookup_host((host, uri.port_u16().unwrap_or(443))).await?;
        let address = found.next().ok_or("the endpoint has no address")?;
        let name = ServerName::try_from(host.to_owned())?;
        let (begin, cpu) = (
            Instant::now(),
            clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?,
        );
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let stream = TlsConnector::from(self.tls.clone())
            .connect(name, tcp)
            .await?;
        let cpu = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)? - cpu;
        let took = begin.elapsed().saturating_sub(Duration::from(cpu));
        let (connection, driver) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        self.connection = Some(connection);
        Ok(took)
    }

    /// Calls an operation of DynamoDB or SQS.
    pub(crate) async fn call(&mut self, operation: &str, body: &Value) -> Result<Answer, Error> {
        let target = match self.service {
            "dynamodb" => format!("DynamoDB_20120810.{operation}"),
            _ => format!("AmazonSQS.{operation}"),
        };
        let headers = [
            ("x-amz-target", &*target),
            ("content-type", "application/x-amz-json-1.0"),
        ];
        self.send(Method::POST, "/", &headers, body).await
    }

    /// Sends a request, on the connection that is there or a new one.
    ///
    /// # Errors
    /// Whatever AWS says, if it is not a success.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Answer, Error> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let kept = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !kept {
            self.connect().await?;
        }
        let request = self.signed(method, path, headers, &body)?;
        let connection = self.connection.as_mut().ok_or("there is no connection")?;
        let begin = Instant::now();
        let (parts, incoming) = connection.send_request(request).await?.into_parts();
        let answer = incoming.collect().await?.to_bytes();
        let took = begin.elapsed();
        if !parts.status.is_success() {
            let text = String::from_utf8_lossy(&answer);
            return Err(format!("{} answered {}: {text}", self.service, parts.status).into());
        }
        let body = serde_json::from_slice(&answer).unwrap_or(Value::Null);
        Ok(Answer {
            body,
            headers: parts.headers,
            took,
        })
    }

    fn signed(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let url = format!("{}{path}", self.endpoint);
        let uri: Uri = url.parse()?;
        let host = uri
            .authority()
            .ok_or("the endpoint has no host")?
            .to_string();
        let headers = headers.iter().copied().chain([("host", &*host)]);
        let identity = self.credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region);
        let params = params.name(self.service).time(SystemTime::now());
        let params = params.settings(SigningSettings::default()).build()?.into();
        let signable = SignableBody::Bytes(body.as_bytes());
        let signable = SignableRequest::new(method.as_str(), &*url, headers.clone(), signable)?;
        let (instructions, _) = sign(signable, &params)?.into_parts();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.header(header::CONTENT_LENGTH, body.len());
        let mut request = request.body(Full::from(body.to_owned()))?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

/// Of the host names of a region's services.
fn suffix(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    }
}
