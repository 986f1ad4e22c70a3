//! Handshakes in memory, with servers of every kind that a function may meet.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, SignatureAlgorithm,
    date_time_ymd,
};
use rsa::pkcs8::EncodePrivateKey;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion,
};
use sha2::{Digest, Sha256};

use super::*;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// A certificate authority.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: Certificate,
}

impl Authority {
    fn new(algorithm: &'static SignatureAlgorithm) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self::named(&format!("root {number}"), algorithm)
    }

    fn named(name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let (params, key) = (authority(name), key(algorithm));
        let certificate = params.self_signed(&key).unwrap();
        Self {
            params,
            key,
            certificate,
        }
    }

    fn usual() -> Self {
        Self::new(&PKCS_ECDSA_P256_SHA256)
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }

    /// A server for `localhost`, with an authority between it and this one.
    fn server(&self) -> Server {
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        self.server_with(&params)
    }

    fn expired_server(&self) -> Server {
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        self.server_with(&expired(params))
    }

    fn server_with(&self, params: &CertificateParams) -> Server {
        let algorithm = self.key.algorithm();
        let (between, key_between) = (authority("between"), key(algorithm));
        let certificate = between.signed_by(&key_between, &self.issuer()).unwrap();
        let issuer = Issuer::new(between, key_between);
        let own_key = key(algorithm);
        let own = params.signed_by(&own_key, &issuer).unwrap();
        Server {
            chain: vec![own.into(), certificate.into()],
            key: own_key,
            ciphers: default_provider().cipher_suites,
        }
    }
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    if algorithm != &PKCS_RSA_SHA256 {
        return KeyPair::generate_for(algorithm).unwrap();
    }
    let key = rsa::PrivateKey::new(&mut getrandom::SysRng, 2048).unwrap();
    let pkcs8 = key.to_pkcs8_der().unwrap();
    KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.as_bytes().into(), algorithm).unwrap()
}

struct Server {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    ciphers: Vec<SupportedCipherSuite>,
}

impl Server {
    fn config(&self, version: &'static SupportedProtocolVersion) -> ServerConfig {
        let provider = CryptoProvider {
            cipher_suites: self.ciphers.clone(),
            ..default_provider()
        };
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let certified = CertifiedKey::new(self.chain.clone(), any_supported_type(&key).unwrap());
        // Not `with_single_cert`, which would see that a key is not the certificate's.
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(certified));
        ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(resolver)
    }
}

/// The version and the cipher that both come to, or why the client gives up.
fn handshake(
    client: &Arc<ClientConfig>,
    server: ServerConfig,
) -> Result<(ProtocolVersion, SupportedCipherSuite), Error> {
    handshake_as("localhost", client, server)
}

fn handshake_as(
    name: &'static str,
    client: &Arc<ClientConfig>,
    server: ServerConfig,
) -> Result<(ProtocolVersion, SupportedCipherSuite), Error> {
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut unread = &wire[..];
        while !unread.is_empty() {
            server.read_tls(&mut unread).unwrap();
            server.process_new_packets().unwrap();
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut unread = &wire[..];
        while !unread.is_empty() {
            client.read_tls(&mut unread).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok((
        client.protocol_version().unwrap(),
        client.negotiated_cipher_suite().unwrap(),
    ))
}

fn trusting(trust: Trust) -> Arc<ClientConfig> {
    Arc::new(config(trust).unwrap())
}

thread_local! {
    /// The system's store as a test has it, and how often it was read.
    static SYSTEM: RefCell<(RootCertStore, usize)> = RefCell::new((RootCertStore::empty(), 0));
}

/// Trusts `first`, and `system` like the system's store.
fn with_fallback(first: &Authority, system: Option<&Authority>) -> Trust {
    let store = system.map_or_else(RootCertStore::empty, Authority::roots);
    SYSTEM.set((store, 0));
    Trust::WithFallback {
        roots: first.roots(),
        system: || {
            SYSTEM.with_borrow_mut(|(store, reads)| {
                *reads += 1;
                store.clone()
            })
        },
    }
}

fn reads() -> usize {
    SYSTEM.with_borrow(|(_, reads)| *reads)
}

#[test]
fn each_usual_key_is_verified_by_tls_1_3_and_by_tls_1_2_alone() {
    for algorithm in [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_RSA_SHA256,
    ] {
        let authority = Authority::new(algorithm);
        let client = trusting(Trust::Given(authority.roots()));
        for version in VERSIONS {
            let outcome = handshake(&client, authority.server().config(version));

            let (agreed, _) = outcome.unwrap();
            assert_eq!(agreed, version.version, "{algorithm:?}");
        }
    }
}

#[test]
fn a_server_that_speaks_but_one_cipher_with_aes_is_reached() {
    let (rsa, ecdsa) = (Authority::new(&PKCS_RSA_SHA256), Authority::usual());
    let ciphers = default_provider().cipher_suites.into_iter();
    for cipher in ciphers.filter(|it| format!("{it:?}").contains("AES")) {
        let by_ecdsa = format!("{cipher:?}").contains("ECDSA");
        let authority = if by_ecdsa { &ecdsa } else { &rsa };
        let client = trusting(Trust::Given(authority.roots()));
        let server = Server {
            ciphers: vec![cipher],
            ..authority.server()
        };

        let outcome = handshake(&client, server.config(cipher.version()));

        assert_eq!(outcome.unwrap().1, cipher);
    }
}

#[test]
fn no_signature_that_rustls_knows_is_missing_but_ed25519() {
    let list = |provider: CryptoProvider| -> Vec<_> {
        let known = provider.signature_verification_algorithms.mapping.iter();
        let mut list: Vec<_> = known
            .filter(|(scheme, _)| *scheme != SignatureScheme::ED25519)
            .map(|(scheme, ways)| (format!("{scheme:?}"), format!("{ways:?}")))
            .collect();
        list.sort();
        list
    };
    assert_eq!(list(crypto::provider()), list(default_provider()));
}

#[test]
fn the_roots_are_those_whose_keys_amazon_publishes() {
    // https://www.amazontrust.com/repository/: Amazon Root CA 1 to 4, Starfield Services Root
    // Certificate Authority - G2.
    const PUBLISHED: [&str; 5] = [
        "fbe3018031f9586bcbf41727e417b7d1c45c2f47f93be372a17b96b50757d5a2",
        "7f4296fc5b6a4e3b35d3c369623e364ab1af381d8fa7121533c9d6c633ea2461",
        "36abc32656acfc645c61b71613c4bf21c787f5cabbee48348d58597803d7abc9",
        "f7ecded5c66047d28ed6466b543c40e0743abe81d109254dcf845d4c2c7853c5",
        "2b071c59a0a0ae76b0eadb2bad23bad4580b69c3601b630c2eaf0613afa83f92",
    ];
    let Trust::WithFallback { roots, .. } = Trust::default() else {
        panic!("without a variable Amazon's roots are trusted");
    };

    let keys = roots.roots.iter().map(|root| {
        let key = sequence(&root.subject_public_key_info);
        let hash = Sha256::digest(key);
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    });

    assert_eq!(keys.collect::<Vec<String>>(), PUBLISHED);
}

/// A root's key is kept without the header that its hash is over.
fn sequence(content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let header: &[u8] = match content.len() {
        0..128 => &[0x30, low],
        128..256 => &[0x30, 0x81, low],
        _ => &[0x30, 0x82, high, low],
    };
    [header, content].concat()
}

#[test]
fn the_system_s_store_is_not_read_for_a_chain_that_leads_to_amazon() {
    let amazon = Authority::usual();
    let client = trusting(with_fallback(&amazon, None));
    for version in VERSIONS {
        let outcome = handshake(&client, amazon.server().config(version));

        assert!(outcome.is_ok(), "{outcome:?}");
    }
    assert_eq!(reads(), 0);
}

#[test]
fn the_system_s_store_is_read_once_for_the_chains_that_lead_there() {
    let (amazon, other) = (Authority::usual(), Authority::usual());
    let client = trusting(with_fallback(&amazon, Some(&other)));
    assert_eq!(reads(), 0);
    for version in VERSIONS {
        let outcome = handshake(&client, other.server().config(version));

        assert!(outcome.is_ok(), "{outcome:?}");
        assert_eq!(reads(), 1);
    }
}

#[test]
fn a_root_of_amazon_s_name_with_a_new_key_is_looked_for_in_the_system_s_store() {
    let [old, new] = ["same", "same"].map(|name| Authority::named(name, &PKCS_ECDSA_P256_SHA256));
    let client = trusting(with_fallback(&old, Some(&new)));

    let outcome = handshake(&client, new.server().config(&TLS13));

    assert!(outcome.is_ok(), "{outcome:?}");
}

#[test]
fn an_expired_certificate_beside_the_way_to_the_system_s_store_is_no_hindrance() {
    let (amazon, system, before) = (Authority::usual(), Authority::usual(), Authority::usual());
    let cross = expired(system.params.clone()).signed_by(&system.key, &before.issuer());
    let mut server = system.server();
    server.chain.push(cross.unwrap().into());
    let client = trusting(with_fallback(&amazon, Some(&system)));

    let outcome = handshake(&client, server.config(&TLS13));

    assert!(outcome.is_ok(), "{outcome:?}");
}

#[test]
fn whatever_is_trusted_what_is_not_to_be_is_refused() {
    let (amazon, system) = (Authority::usual(), Authority::usual());
    let of_nobody = Authority::usual();
    for version in VERSIONS {
        let every_trust = [
            trusting(Trust::Given(amazon.roots())),
            trusting(with_fallback(&amazon, None)),
            trusting(with_fallback(&amazon, Some(&system))),
            trusting(Trust::default()),
        ];
        for client in &every_trust {
            let outcome = handshake(client, of_nobody.server().config(version));

            assert_eq!(refusal(outcome), CertificateError::UnknownIssuer);
        }
        let client = trusting(with_fallback(&amazon, Some(&system)));
        for authority in [&amazon, &system] {
            let server = authority.server().config(version);
            let outcome = handshake_as("127.0.0.1", &client, server);
            assert!(
                matches!(
                    refusal(outcome),
                    CertificateError::NotValidForNameContext { .. }
                ),
                "another name"
            );

            let outcome = handshake(&client, authority.expired_server().config(version));
            assert!(
                matches!(refusal(outcome), CertificateError::ExpiredContext { .. }),
                "an expired certificate"
            );
        }
    }
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, Error>) -> CertificateError {
    match outcome {
        Err(Error::InvalidCertificate(reason)) => reason,
        other => panic!("no certificate is refused: {other:?}"),
    }
}

#[test]
fn a_server_without_the_key_of_its_certificate_is_refused() {
    let (amazon, system) = (Authority::usual(), Authority::usual());
    for version in VERSIONS {
        for authority in [&amazon, &system] {
            let client = trusting(with_fallback(&amazon, Some(&system)));
            let server = Server {
                key: key(&PKCS_ECDSA_P256_SHA256),
                ..authority.server()
            };

            let outcome = handshake(&client, server.config(version));

            assert_eq!(refusal(outcome), CertificateError::BadSignature);
        }
    }
}

#[test]
fn a_file_or_folder_that_the_environment_names_decides_alone() {
    let (given, other) = (Authority::usual(), Authority::usual());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("root.pem");
    fs::write(&file, given.certificate.pem()).unwrap();
    let no_folder = folder.path().join("none");
    let folders = std::env::join_paths([no_folder.as_path(), folder.path()]).unwrap();
    for (file, folders) in [
        (Some(file.clone().into_os_string()), None),
        (None, Some(folders.clone())),
        (Some(file.into_os_string()), Some(folders)),
        (Some(OsString::new()), Some(folder.path().into())),
    ] {
        let trust = Trust::from_paths(file, folders).unwrap();

        assert!(matches!(trust, Trust::Given(_)), "{trust:?}");
        let client = trusting(trust);
        let outcome = handshake(&client, given.server().config(&TLS13));
        assert!(outcome.is_ok(), "{outcome:?}");
        let outcome = handshake(&client, other.server().config(&TLS13));
        assert_eq!(refusal(outcome), CertificateError::UnknownIssuer);
    }
}

#[test]
fn a_file_without_certificates_is_an_error_that_names_it() {
    let missing = Trust::from_paths(Some("no/such.pem".into()), None);

    let reason = missing.unwrap_err();
    assert!(reason.contains("no/such.pem"), "{reason}");
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    for empty in [None, Some(OsString::new())] {
        let trust = Trust::from_paths(empty.clone(), empty).unwrap();

        assert!(matches!(trust, Trust::WithFallback { .. }), "{trust:?}");
    }
}
