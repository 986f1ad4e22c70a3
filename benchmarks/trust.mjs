// Whose certificates a function accepts while it is measured.
//
// On AWS nobody hands roots to a function, and reading them is part of its cold start. Here the endpoint's certificate is of
// an authority that the host makes at its start, so that authority has to be where each program looks on AWS.

import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Failure } from './stack.mjs';

const ROOT = path.dirname(import.meta.dirname);

/** Where a system keeps the roots that Mozilla trusts, some 140 on Debian and on Amazon Linux alike. */
const SYSTEM_ROOTS = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt', '/etc/ssl/cert.pem'];

/** The root that the endpoints of AWS lead to, as the functions hold it. */
const AMAZON_ROOT = path.join(ROOT, 'functions/shop/src/cold_start/tls/amazon/AmazonRootCA1.cer');

/** For programs that read the system's roots on AWS: those of this machine, and the authority's. */
export function writeSystemRoots(file, caFile) {
  const system = SYSTEM_ROOTS.find(existsSync);
  if (!system) throw new Failure(`none of ${SYSTEM_ROOTS.join(', ')} is here`);
  writeFileSync(file, `${readFileSync(system, 'utf8')}\n${readFileSync(caFile, 'utf8')}`);
}

/**
 * For functions that have Amazon's roots compiled in: writes the program with the authority in the place of one of them.
 * Not an instruction of it differs, and nothing has to be read.
 */
export function plantRoot(from, to, caFile) {
  const program = readFileSync(from);
  const amazon = readFileSync(AMAZON_ROOT);
  const at = program.indexOf(amazon);
  if (at < 0 || program.includes(amazon, at + 1)) throw new Failure(`${from} does not hold ${AMAZON_ROOT} exactly once`);
  padded(new X509Certificate(readFileSync(caFile)).raw, amazon.length).copy(program, at);
  writeFileSync(to, program, { mode: 0o755 });
}

/**
 * A certificate of `length` bytes: its signature, which comes last and which nobody checks of a root, gets zeros at its end.
 * The header of certificate and signature is a tag and two bytes of length each: 30 82 and 03 82.
 */
function padded(certificate, length) {
  const signature = certificate.lastIndexOf(Buffer.from([0x03, 0x82, 0x01, 0x01, 0x00])); // of RSA with 2048 bits
  const isAsExpected = certificate.readUInt16BE(0) === 0x3082 && signature === certificate.length - 4 - 257;
  if (!isAsExpected || certificate.length > length) throw new Failure("the authority's certificate does not fit in a root's place");
  const longer = Buffer.concat([certificate], length);
  longer.writeUInt16BE(length - 4, 2);
  longer.writeUInt16BE(length - signature - 4, signature + 2);
  return longer;
}
