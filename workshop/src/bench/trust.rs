//! The root certificates of the programs that are measured. On AWS nobody hands roots to a function, and reading them
//! is part of its cold start. Here the endpoint's certificate is of an authority that the host makes at its start, so
//! that authority has to be where each program looks on AWS.

use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fs_err as fs;

use super::peers::{Roots, system_roots, write_program};
use super::targets::Target;

/// Where a system keeps the roots that Mozilla trusts, some 140 on Debian and on Amazon Linux alike.
const SYSTEM_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The root that the endpoints of AWS lead to, as the functions hold it.
const AMAZON_ROOT: &str = "functions/shop/src/cold_start/tls/amazon/AmazonRootCA1.cer";

/// Puts the authority of a host where each of these programs looks on AWS.
pub fn plant_roots<'a>(
    root: &Path,
    targets: impl Iterator<Item = &'a Target>,
    ca_file: &Path,
) -> Result<()> {
    write_system_roots(&system_roots(root), ca_file)?;
    for Target { peer, .. } in targets {
        if let (Roots::Amazon, Some(binary)) = (peer.roots, peer.binary(root)) {
            plant_root(root, &binary, &binary, ca_file)?;
        }
    }
    Ok(())
}

/// For programs that read the system's roots on AWS: those of this machine, and the authority's.
pub fn write_system_roots(file: &Path, ca_file: &Path) -> Result<()> {
    let mut known = SYSTEM_ROOTS.into_iter();
    let system = known.find(|file| Path::new(file).exists());
    let system = system.with_context(|| format!("none of {} is here", SYSTEM_ROOTS.join(", ")))?;
    let roots = [fs::read(system)?, fs::read(ca_file)?].join(&b'\n');
    Ok(fs::write(file, roots)?)
}

/// For functions that have Amazon's roots compiled in: writes the program with the authority in the place of one of
/// them. Not an instruction of it differs, and nothing has to be read.
fn plant_root(root: &Path, from: &Path, to: &Path, ca_file: &Path) -> Result<()> {
    let mut program = fs::read(from)?;
    let amazon = fs::read(root.join(AMAZON_ROOT))?;
    let places = positions(&program, &amazon);
    let [place] = places.as_slice() else {
        let program = from.display();
        bail!("{program} does not hold {AMAZON_ROOT} exactly once");
    };
    let certificate = der(&fs::read_to_string(ca_file)?);
    let authority = certificate.and_then(|certificate| padded(&certificate, amazon.len()));
    let authority =
        authority.context("the authority's certificate does not fit in a root's place")?;
    program[*place..place + authority.len()].copy_from_slice(&authority);
    write_program(to, &program)
}

fn positions(text: &[u8], part: &[u8]) -> Vec<usize> {
    let Some(first) = part.first() else {
        return Vec::new();
    };
    let starts = text.iter().enumerate().filter(|(_, byte)| *byte == first);
    starts
        .map(|(at, _)| at)
        .filter(|at| text[*at..].starts_with(part))
        .collect()
}

/// The first certificate of a PEM file.
fn der(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (text, _) = rest.split_once("-----END CERTIFICATE-----")?;
    STANDARD
        .decode(text.split_whitespace().collect::<String>())
        .ok()
}

/// A certificate of `length` bytes: its signature, which comes last and which nobody checks of a root, gets zeros at
/// its end. The header of certificate and signature is a tag and two bytes of length each: 30 82 and 03 82.
fn padded(certificate: &[u8], length: usize) -> Option<Vec<u8>> {
    let header = [0x03, 0x82, 0x01, 0x01, 0x00]; // of RSA with 2048 bits
    let signature = *positions(certificate, &header).last()?;
    let is_as_expected =
        certificate.starts_with(&[0x30, 0x82]) && signature + 4 + 257 == certificate.len();
    if !is_as_expected || certificate.len() > length {
        return None;
    }
    let mut longer = certificate.to_vec();
    longer.resize(length, 0);
    longer[2..4].copy_from_slice(&u16::try_from(length - 4).ok()?.to_be_bytes());
    let of_signature = u16::try_from(length - signature - 4).ok()?;
    longer[signature + 2..signature + 4].copy_from_slice(&of_signature.to_be_bytes());
    Some(longer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outline of a certificate with a signature of 2048 bits.
    fn certificate() -> Vec<u8> {
        let mut certificate = vec![0x30, 0x82, 0, 0, 1, 2, 3, 0x03, 0x82, 0x01, 0x01, 0x00];
        certificate.extend([7; 256]);
        let length = u16::try_from(certificate.len() - 4).unwrap();
        certificate[2..4].copy_from_slice(&length.to_be_bytes());
        certificate
    }

    #[test]
    fn a_certificate_is_made_longer_by_its_signature() {
        let certificate = certificate();
        let longer = padded(&certificate, 300).unwrap();
        assert_eq!(longer.len(), 300);
        assert_eq!(&longer[2..4], &296_u16.to_be_bytes());
        assert_eq!(&longer[9..11], &(300_u16 - 7 - 4).to_be_bytes());
        assert_eq!(&longer[11..268], &certificate[11..]);
        assert!(longer[268..].iter().all(|byte| *byte == 0));
        assert_eq!(padded(&certificate, certificate.len() - 1), None);
        assert_eq!(padded(&certificate[..200], 300), None);
    }

    #[test]
    fn a_root_is_planted_where_amazon_s_was_and_nowhere_else() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let amazon = fs::read(root.join(AMAZON_ROOT)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let text = STANDARD.encode(certificate());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        fs::write(file("ca.pem"), pem).unwrap();
        fs::write(
            file("program"),
            [b"before", amazon.as_slice(), b"after"].concat(),
        )
        .unwrap();
        let plant = || plant_root(&root, &file("program"), &file("planted"), &file("ca.pem"));
        plant().unwrap();
        let planted = fs::read(file("planted")).unwrap();
        let authority = padded(&certificate(), amazon.len()).unwrap();
        assert_eq!(
            planted,
            [b"before", authority.as_slice(), b"after"].concat()
        );

        fs::write(file("program"), [amazon.clone(), amazon].concat()).unwrap();
        let refused = plant().unwrap_err().to_string();
        assert!(refused.ends_with("exactly once"), "{refused}");
    }
}
