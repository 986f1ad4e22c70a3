// Instructions of init, of the first and of a warm invocation, counted by valgrind. Unlike times, they are the same on
// every run.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { text } from 'node:stream/consumers';

/** The average is over so many warm invocations. */
const WARM = 10;

/** Limit for all of them, in ms; valgrind is about 50 times slower than the machine. */
const TIMEOUT_MS = 120_000;

/** Instructions of a native function in millions, or why they are not known. */
export async function count(stack, { name, ...target }) {
  if (!target.binary) return { absent: 'not a native program' };
  if (!hasValgrind()) return { absent: 'valgrind is not installed' };
  try {
    // One after another: on a busy machine valgrind is slow enough for a timeout of the function's own to strike.
    const init = await callgrind(stack, target, 0);
    const first = await callgrind(stack, target, 1);
    const warm = await callgrind(stack, target, 1 + WARM);
    return { init: init / 1e6, first: (first - init) / 1e6, warm: (warm - first) / WARM / 1e6 };
  } catch (error) {
    return { absent: `${name}: ${error.message}` };
  }
}

export const hasValgrind = () => process.env.PATH.split(path.delimiter).some((folder) => existsSync(path.join(folder, 'valgrind')));

/**
 * Runs `binary` under valgrind until it has asked for an event once more than it got, and ends it.
 *
 * @param {Record<string, any>} stack
 * @param {Record<string, any>} target
 * @param {number} invocations
 */
async function callgrind(stack, { binary, event, ...target }, invocations) {
  let child;
  let asked = 0;
  // A minimal Runtime API, because the host would end so slow a function. Times under valgrind do not matter.
  const api = http.createServer((request, response) => {
    if (!request.url.endsWith('/invocation/next')) {
      request.resume().on('end', () => response.writeHead(202).end());
    } else if (asked++ < invocations) {
      const headers = { 'lambda-runtime-aws-request-id': `request-${asked}`, 'lambda-runtime-deadline-ms': String(Date.now() + TIMEOUT_MS) };
      response.writeHead(200, { ...headers, 'lambda-runtime-invoked-function-arn': 'arn:aws:lambda:us-east-1:000000000000:function:f' });
      response.end(JSON.stringify(event));
    } else {
      child.kill('SIGTERM'); // valgrind then writes its counts
    }
  });
  await new Promise((resolve) => api.listen(0, '127.0.0.1', () => resolve(null)));
  const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS);
  try {
    const options = ['--tool=callgrind', '--callgrind-out-file=/dev/null', binary];
    const { port } = /** @type {import('node:net').AddressInfo} */ (api.address());
    child = spawn('valgrind', options, { env: environment(stack, target, port), stdio: ['ignore', 'ignore', 'pipe'] });
    const output = await text(child.stderr);
    const collected = /Collected : (\d+)/.exec(output);
    if (!collected || asked !== invocations + 1) throw new Error(output.trim().split('\n').at(-1));
    return Number(collected[1]);
  } finally {
    clearTimeout(timer);
    api.closeAllConnections();
    api.close();
  }
}

/**
 * What the host sets for a function and a benchmark of one needs.
 *
 * @param {Record<string, any>} stack
 * @param {Record<string, any>} target
 * @param {number} port
 */
function environment({ aws_endpoint_url, ca_file }, { functionId, environment: own }, port) {
  return {
    PATH: process.env.PATH,
    AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${port}`,
    AWS_LAMBDA_FUNCTION_NAME: functionId,
    AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '256',
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: `${functionId}Valgrind`,
    AWS_SECRET_ACCESS_KEY: 'local',
    AWS_ENDPOINT_URL: aws_endpoint_url,
    SSL_CERT_FILE: ca_file,
    PRODUCTS_TABLE: 'local-ProductsTable', // as the host names what the template does not
    ...own,
  };
}
