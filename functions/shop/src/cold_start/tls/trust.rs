//! The certificates that a function trusts.
//!
//! 1. Where `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, the certificates there decide alone.
//! 2. Otherwise Amazon's five roots decide. They are compiled in, and the endpoints of AWS lead to them.
//! 3. A certificate that those do not verify is left to the system's store, which is read then and not
//!    before: 0.6 ms of CPU that a cold start on AWS does not pay.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_native_certs::{CertificateResult, load_certs_from_paths};

/// Amazon's roots, as the files that [Amazon publishes](https://www.amazontrust.com/repository/). It asks
/// clients with a trust store of their own to hold all five.
const AMAZON: [&[u8]; 5] = [
    include_bytes!("amazon/AmazonRootCA1.cer"),
    include_bytes!("amazon/AmazonRootCA2.cer"),
    include_bytes!("amazon/AmazonRootCA3.cer"),
    include_bytes!("amazon/AmazonRootCA4.cer"),
    include_bytes!("amazon/SFSRootCAG2.cer"),
];

/// The certificates that are accepted.
#[derive(Debug)]
pub(crate) enum Trust {
    /// Those that lead to these roots.
    Given(RootCertStore),
    /// Those that lead to `roots`, or else to what `system` reads.
    WithFallback {
        roots: RootCertStore,
        system: fn() -> RootCertStore,
    },
}

/// Amazon's roots, or else the system's.
impl Default for Trust {
    fn default() -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(AMAZON.map(CertificateDer::from_slice));
        Self::WithFallback { roots, system }
    }
}

impl Trust {
    /// As the environment variables say, or else the default.
    ///
    /// # Errors
    /// The reason, if no certificate is found where the variables say.
    pub(crate) fn from_env() -> Result<Self, String> {
        Self::from_paths(env::var_os("SSL_CERT_FILE"), env::var_os("SSL_CERT_DIR"))
    }

    /// `file` may hold many certificates, and `dirs` name many folders. Empty is as good as not set.
    pub(super) fn from_paths(
        file: Option<OsString>,
        dirs: Option<OsString>,
    ) -> Result<Self, String> {
        let file = file.filter(|name| !name.is_empty());
        let dirs = dirs.filter(|names| !names.is_empty());
        if file.is_none() && dirs.is_none() {
            return Ok(Self::default());
        }
        let mut found = load_certs_from_paths(file.as_ref().map(Path::new), None);
        for dir in dirs.iter().flat_map(env::split_paths) {
            let more = load_certs_from_paths(None, Some(&dir));
            found.certs.extend(more.certs);
            found.errors.extend(more.errors);
        }
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        let roots = store(found);
        if roots.is_empty() {
            return Err(reasons.join("; "));
        }
        Ok(Self::Given(roots))
    }

    /// The verifier that accepts these certificates.
    ///
    /// # Errors
    /// If there is no root at all.
    pub(super) fn verifier(
        self,
        crypto: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        match self {
            Self::Given(roots) => Ok(webpki(roots, crypto)?),
            Self::WithFallback { roots, system } => Ok(Arc::new(WithFallback {
                first: webpki(roots, crypto)?,
                read: system,
                second: OnceLock::new(),
                crypto: crypto.clone(),
            })),
        }
    }
}

/// The system's store: on Amazon Linux and on Debian one file with the roots that Mozilla trusts. There are
/// folders with one file a certificate too; they would only take longer to read.
fn system() -> RootCertStore {
    let file = openssl_probe::probe().cert_file;
    store(load_certs_from_paths(file.as_deref(), None))
}

fn store(found: CertificateResult) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

/// The verifier that rustls itself uses: it checks chain, dates, purpose and name.
fn webpki(
    roots: RootCertStore,
    crypto: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto.clone())
        .build()
        .map_err(|error| Error::General(error.to_string()))
}

/// Two verifiers. The second is made when the first refuses a certificate for the first time.
#[derive(Debug)]
struct WithFallback {
    first: Arc<WebPkiServerVerifier>,
    read: fn() -> RootCertStore,
    /// None if there is no root to be read.
    second: OnceLock<Option<Arc<WebPkiServerVerifier>>>,
    crypto: Arc<CryptoProvider>,
}

impl WithFallback {
    /// Reading holds up the function's only thread, once in the life of an environment.
    fn second(&self) -> Option<&WebPkiServerVerifier> {
        let made = self.second.get_or_init(|| {
            tracing::warn!(
                "a certificate is not of Amazon's authorities: reading the system's store"
            );
            webpki((self.read)(), &self.crypto).ok()
        });
        made.as_deref()
    }
}

impl ServerCertVerifier for WithFallback {
    /// The second is asked for any reason of a refusal, so a function reaches every server that it would reach with
    /// the system's store alone. A chain may bear the name of one of Amazon's roots but not its key, for example, or
    /// hold an expired certificate beside a path that the system knows.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |verifier: &WebPkiServerVerifier| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        let refusal = match verify(&self.first) {
            Ok(verified) => return Ok(verified),
            Err(refusal) => refusal,
        };
        match self.second().map(verify) {
            // The second does not know the chain, so the reason of the first is the better one.
            None | Some(Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))) => {
                Err(refusal)
            }
            Some(decided) => decided,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.first
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.first
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.first.supported_verify_schemes()
    }
}
