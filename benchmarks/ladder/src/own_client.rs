//! The SDK's HTTP client made of hyper and rustls alone: HTTP/1.1, no proxies, no HTTP/2.

use std::time::Duration;

use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, Error, connect};
use hyper_util::rt::{TokioExecutor, TokioTimer};

#[derive(Clone, Debug)]
struct Hyper(Client<HttpsConnector<connect::HttpConnector>, SdkBody>);

pub async fn client() -> Result<SharedHttpClient, lambda_http::Error> {
    let tls = crate::tls::config(crate::tls::Trust::from_env()?)?;
    let mut tcp = connect::HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(Duration::from_secs(1)));
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector);
    // What is asked does not matter: the first call finds the connection in the pool.
    #[cfg(feature = "prime-connection")]
    let _ = client
        .request(
            lambda_http::http::Request::get(format!("{}/ping", std::env::var("AWS_ENDPOINT_URL")?))
                .body(SdkBody::empty())?,
        )
        .await;
    Ok(SharedHttpClient::new(Hyper(client)))
}

impl HttpClient for Hyper {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Hyper {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(error.into()))?;
            let response = client.request(request).await.map_err(failed)?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn failed(error: Error) -> ConnectorError {
    ConnectorError::io(error.into())
}
