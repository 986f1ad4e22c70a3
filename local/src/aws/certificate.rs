//! The endpoint's certificate: a certificate authority that lives as long as the process.

use std::sync::Arc;

use getrandom::SysRng;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256,
};
use rsa::pkcs8::EncodePrivateKey;
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use time::{Duration, OffsetDateTime};

/// A certificate that cannot be made; no input of a person is among the causes.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// The names that clients connect to.
const NAMES: [&str; 3] = ["127.0.0.1", "::1", "localhost"];

/// Makes a certificate authority for this run, in about 0.1 s: its certificate as PEM, which clients
/// have to trust, and TLS 1.3 and 1.2 with a certificate that it signed; HTTP/1.1 only, like DynamoDB
/// and SQS. Its key never leaves memory, so that trusting it means trusting this process alone.
pub(super) fn authority() -> Result<(String, Arc<ServerConfig>), Error> {
    let mut root = params(&[], "local AWS endpoint CA")?;
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root_key = key()?;
    let pem = root.self_signed(&root_key)?.pem();

    let mut params = params(&NAMES, "127.0.0.1")?;
    // OpenSSL in strict mode (Python 3.13) requires this extension.
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = key()?;
    let certificate = params.signed_by(&key, &Issuer::new(root, root_key))?;
    let key_der = PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key_der.into())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((pem, Arc::new(config)))
}

/// RSA with 2048 bits, as [Amazon's authorities](https://www.amazontrust.com/repository/) sign for
/// the endpoints of AWS, so that a handshake costs a client as much here as on AWS. (AWS has one
/// authority more between the root and the endpoint.)
fn key() -> Result<KeyPair, Error> {
    let pkcs8 = rsa::PrivateKey::new(&mut SysRng, 2048)?.to_pkcs8_der()?;
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(
        &pkcs8.as_bytes().into(),
        &PKCS_RSA_SHA256,
    )?)
}

/// Valid from yesterday, in case a clock is behind, and for longer than any run.
fn params(names: &[&str], common_name: &str) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(365);
    Ok(params)
}
