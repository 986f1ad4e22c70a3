// Signs requests that only the deployer may make. If a stack has CatalogueWrites=iam, its PUT and DELETE require AWS's
// signature (version 4, https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html) by credentials that may
// invoke the API.

import { defaultProvider } from '@aws-sdk/credential-provider-node';
import { Sha256Node } from '@smithy/core/checksum';
import { SignatureV4 } from '@smithy/signature-v4';

/** The region in an address of API Gateway; null for any other address, whose requests are not signed. */
export function regionOf(apiUrl) {
  return /\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$/.exec(new URL(apiUrl).hostname)?.[1] ?? null;
}

/**
 * Returns a function `(method, url, body)` that resolves with the headers to add to a request; `body` is the text to
 * send, or undefined. Credentials come from the usual AWS sources: environment, profile, single sign-on, role.
 */
export function signer(region, credentials = defaultProvider()) {
  const signature = new SignatureV4({ service: 'execute-api', region, credentials, sha256: Sha256Node });
  return async (method, url, body) => {
    const { protocol, host, hostname, pathname, searchParams } = new URL(url);
    const { headers } = await signature.sign({
      method,
      protocol,
      hostname,
      path: pathname,
      query: Object.fromEntries(searchParams),
      headers: { host },
      body,
    });
    const { host: _, ...added } = headers;
    return added;
  };
}
