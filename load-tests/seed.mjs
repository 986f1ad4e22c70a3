// Writes the catalogue to a stack through its API: `make seed API_URL=https://…`.
//
//   node load-tests/seed.mjs --api-url https://… [--sign-region us-east-1]
//
// On API Gateway each request is signed with your AWS credentials, as CatalogueWrites=iam requires. A custom domain does
// not name its region: set it with --sign-region.

import { parseArgs } from 'node:util';
import { products } from './catalogue.mjs';
import { Failure } from './failure.mjs';
import { regionOf, signer } from './sign.mjs';

/** How many products are written at once: fewer than the ten concurrent runs of a new AWS account. */
const SEED_CONCURRENCY = 8;

/** Limit of one request, in ms: longer than a function's 5 s, shorter than the API's 30 s. */
const REQUEST_TIMEOUT_MS = 10_000;

/**
 * Writes the catalogue through the API, the first product alone, so that a stack that is down or broken fails at once.
 *
 * @param {string} apiUrl
 * @param {{ signRegion?: string, signal?: AbortSignal, say: (line: string) => void }} how
 */
export async function seed(apiUrl, { signRegion = regionOf(apiUrl), signal, say }) {
  const sign = signRegion ? signer(signRegion) : async () => ({});
  const queue = products.values();
  let done = 0;
  let shown = 0;
  const write = async ({ id, body }) => {
    const url = `${apiUrl}/products/${id}`;
    const { status, text } = await request('PUT', url, { body, signal, headers: (text) => sign('PUT', url, text) });
    if (status === 401 || status === 403) {
      throw new Failure(`PUT ${url} answered ${status}: ${refused(signRegion, text)}`);
    }
    if (status !== 200 && status !== 201) {
      throw new Failure(
        `the stack is broken: PUT ${url} answered ${status} instead of 200 or 201: ${text.slice(0, 200)}`,
      );
    }
    done += 1;
    if (done === products.length || Date.now() - shown > 1000) {
      shown = Date.now();
      say(`catalogue: ${done} of ${products.length} products`);
    }
  };
  const writer = async () => {
    for (const product of queue) await write(product);
  };
  await write(queue.next().value);
  await Promise.all(Array.from({ length: SEED_CONCURRENCY }, writer));
}

const refused = (signRegion, text) =>
  signRegion
    ? `these AWS credentials may not write to the catalogue: ${text.slice(0, 200)}`
    : 'the stack wants signed writes; SIGN_REGION=us-east-1 (its region) signs them with your AWS credentials';

/**
 * One request; resolves with its status and text. `headers` may return more headers, given the text of the body.
 *
 * @param {string} method
 * @param {string} url
 * @param {{ body?: unknown, signal?: AbortSignal, headers?: (text: string) => object | Promise<object> }} [more]
 */
export async function request(method, url, { body, signal, headers = () => ({}) } = {}) {
  const text = body && JSON.stringify(body);
  let added;
  try {
    added = await headers(text);
  } catch (error) {
    throw new Failure(`the request cannot be signed: ${error.message}`);
  }
  try {
    const response = await fetch(url, {
      method,
      body: text,
      headers: { ...(text && { 'content-type': 'application/json' }), ...added },
      signal: AbortSignal.any([AbortSignal.timeout(REQUEST_TIMEOUT_MS), ...(signal ? [signal] : [])]),
    });
    return { status: response.status, text: await response.text() };
  } catch (error) {
    signal?.throwIfAborted();
    throw new Failure(
      `the stack is down: ${method} ${url}: ${error.cause?.code ?? error.cause?.message ?? error.message}`,
    );
  }
}

/** The base address of an API, without a slash at its end. Throws if it is not an address. */
export function apiUrlOf(text) {
  if (!text || !/^https?:$/.test(URL.parse(text)?.protocol ?? '')) {
    throw new Failure(
      `API_URL must be the address of a stack, https://…, but is "${text ?? ''}"; \`make outputs\` shows it`,
    );
  }
  return text.replace(/\/+$/, '');
}

async function main() {
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'])
    process.on(signal, () => interrupted.abort(new Failure(`interrupted by ${signal}`)));
  try {
    const { values } = parseArgs({ options: { 'api-url': { type: 'string' }, 'sign-region': { type: 'string' } } });
    await seed(apiUrlOf(values['api-url']), {
      signRegion: values['sign-region'] || undefined,
      signal: interrupted.signal,
      say: (line) => process.stdout.write(`${line}\n`),
    });
  } catch (error) {
    const known = error instanceof Failure || error.code?.startsWith('ERR_PARSE_ARGS');
    console.error(`seed failed: ${known ? error.message : error.stack}`);
    process.exitCode = 1;
  }
}

// Not awaited: Artillery's own search for what a worker needs cannot read an `await` outside of a function.
if (process.argv[1] === import.meta.filename) main();
