// Reading the API's access log. `aws` is a script; test/aws has moto in its place.

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { latencyInLogs } from '../cloudwatch.mjs';
import { fakePath } from './verbs.mjs';

const { PATH } = process.env;
const since = new Date(1_000_000);

/** Looks for so many requests in an access log of these lines; resolves with what was found and what was said. */
async function latency(requests, lines, resource = 'ApiLogs') {
  const events = JSON.stringify({ events: lines.map((line) => ({ message: typeof line === 'string' ? line : JSON.stringify(line) })) });
  const resources = { StackResourceSummaries: [{ LogicalResourceId: resource, PhysicalResourceId: '/aws/vendedlogs/apis/shop-dev' }] };
  const aws = `case "$*" in
    "cloudformation list-stack-resources --stack-name shop-dev"*) echo '${JSON.stringify(resources)}';;
    "logs filter-log-events --log-group-name /aws/vendedlogs/apis/shop-dev --start-time 1000000"*) echo '${events}';;
    *) echo "unexpected: aws $*" >&2; exit 99;;
    esac`;
  process.env.PATH = `${fakePath({ aws })}${path.delimiter}${PATH}`;
  const told = [];
  let waited = 0;
  const pause = async (ms) => {
    waited += ms;
  };
  const found = await latencyInLogs('shop-dev', { since, requests, say: (line) => told.push(line), pause });
  return { ...found, told, seconds: waited / 1000 };
}

const line = (route, status, latency, time = 1_000_000) => ({ time: String(time), route, status, latency });

test('the latency of a route is that of its successes since the load began', async () => {
  const { lines, summaries, told } = await latency(4, [
    line('GET /products', '200', '900', 999_999),
    line('GET /products', '200', '5'),
    line('GET /products', '200', '7'),
    line('GET /products', '503', '800'),
    line('PUT /products/{id}', '201', '30'),
    '{"time": "1000000", "error": "a "quote" that breaks a line"}',
  ]);
  assert.equal(lines, 4);
  assert.deepEqual(summaries, {
    'http.response_time.2xx': { p50: 7, p95: 30, p99: 30 },
    'http.response_time.2xx.GET /products': { p50: 5, p95: 7, p99: 7 },
    'http.response_time.2xx.PUT /products/{id}': { p50: 30, p95: 30, p99: 30 },
  });
  assert.deepEqual(told, []);
});

test('lines that never come are waited for as long as they may take, and then missed', async () => {
  const { lines, told, seconds } = await latency(2, [line('GET /products', '200', '5')]);
  assert.equal(lines, 1);
  assert.equal(seconds, 90);
  assert.equal(told.at(-1), 'CloudWatch: only 1 of at least 2 requests have reached the logs');
});

test('a log without a line judges nothing', async () => {
  assert.deepEqual((await latency(0, [])).summaries, {});
});

test('a stack without an access log is refused', async () => {
  await assert.rejects(latency(1, [], 'OtherLogs'), /^Error: the stack shop-dev has no access log/);
});
