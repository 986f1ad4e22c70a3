// A gate that cannot fail is a defect: the whole load test runs against stacks that are each broken in one way.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { evaluate, evaluateLogged } from '../gates.mjs';
import { CREDENTIALS, startStandIn } from './stand-in.mjs';

const out = mkdtempSync(path.join(tmpdir(), 'load-test-'));
after(() => rmSync(out, { recursive: true }));

const RUN = path.resolve(import.meta.dirname, '../run.mjs');
const LOCAL = path.resolve(import.meta.dirname, 'stand-in-local.mjs');

/** Credentials for runs with --sign-region only; no other credentials of this machine are used. */
const ENVIRONMENT = {
  ...process.env,
  AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
  AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
  AWS_SESSION_TOKEN: '',
};

/** Starts run.mjs; `ended` resolves with its exit code and output, and with the summary if it wrote one. */
function startRun(...args) {
  const child = spawn(process.execPath, [RUN, '--profile', 'gate-test', '--out', out, ...args], { env: ENVIRONMENT });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output += chunk;
    });
  const ended = once(child, 'close').then(([code]) => {
    const file = path.join(out, 'summary.json');
    return { code, output, summary: existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null };
  });
  return { child, ended, output: () => output };
}

async function runToEnd(...args) {
  const result = await startRun(...args).ended;
  return { ...result, failed: result.summary?.gates.filter(({ pass }) => !pass).map(({ name }) => name) };
}

async function runAgainst(fault) {
  const stack = await startStandIn(fault);
  try {
    return await runToEnd('--api-url', stack.url);
  } finally {
    await stack.close();
  }
}

/**
 * The result of a run that this machine did not spoil. With so few requests one stall of 100 ms breaks a latency gate, so
 * a run in which only such gates broke is repeated. A defect of the stack breaks other gates, every time.
 */
async function unspoilt(run) {
  for (let attempt = 1; ; attempt += 1) {
    const result = await run();
    const stalled =
      result.failed?.some(isLatency) &&
      result.failed.every((name) => isLatency(name) || name === "Artillery's exit code");
    if (!stalled || attempt === 3) return result;
  }
}

const isLatency = (name) => name.startsWith('http.response_time.');

const ROUTES = [
  'GET /products',
  'GET /products/{id}',
  'PUT /products/{id}',
  'DELETE /products/{id}',
  'POST /products/batch-get',
  'POST /orders',
  'GET /orders/{id}',
];

test('a stack that is right and fast passes every gate', async () => {
  const { code, output, summary, failed } = await unspoilt(() => runAgainst());
  assert.deepEqual(failed, [], output);
  assert.equal(code, 0, output);
  assert.match(output, /Passed: all \d+ gates/);
  assert.deepEqual(
    summary.routes.map(({ route }) => route),
    ROUTES.toSorted(),
  );
  assert.ok(summary.orders.accepted > 0 && summary.orders.rejected > 0);
});

test('a stack that wants signed writes gets them, in the catalogue and under load', async () => {
  const stack = await startStandIn('iam');
  const run = () => runToEnd('--api-url', stack.url, '--sign-region', 'eu-west-1');
  const { code, output, failed } = await unspoilt(run).finally(() => stack.close());
  assert.deepEqual(failed, [], output);
  assert.equal(code, 0, output);
});

test('a stack that wants signed writes and gets none fails before any load, and says how to sign', async () => {
  const { code, output } = await runAgainst('iam');
  assert.equal(code, 1);
  assert.match(output, /^load test failed: PUT .* answered 403: the stack wants signed writes; SIGN_REGION=/m);
});

test('a signature for another region is refused, in one line', async () => {
  const stack = await startStandIn('iam');
  const { code, output } = await runToEnd('--api-url', stack.url, '--sign-region', 'us-east-1').finally(() => stack.close());
  assert.equal(code, 1);
  assert.match(output, /^load test failed: PUT .* answered 403: these AWS credentials may not write to the catalogue/m);
});

test('a stack that answers 500 fails before any load, in one line', async () => {
  const { code, output, summary } = await runAgainst('errors');
  assert.equal(code, 1);
  assert.match(output, /^load test failed: the stack is broken: PUT .* answered 500 instead of 200 or 201/m);
  assert.equal(summary, null);
});

test('a stack that is down fails before any load, in one line', async () => {
  const stack = await startStandIn();
  await stack.close();
  const { code, output } = await startRun('--api-url', stack.url).ended;
  assert.equal(code, 1);
  assert.match(output, /^load test failed: the stack is down: PUT .*: ECONNREFUSED$/m);
});

test('a stack that answers 500 under load fails the error rate, and every route whose successes never occurred', async () => {
  const { code, failed, summary, output } = await runAgainst('errors-under-load');
  assert.equal(code, 1, output);
  assert.deepEqual(Object.keys(summary.routes.find(({ route }) => route === 'GET /products').statuses), [
    '500',
  ]);
  assert.match(output, /Failed expectations for request GET \/products$/m);
  assert.ok(failed.includes('maxErrorRate'));
  assert.ok(failed.includes("Artillery's exit code"));
  for (const route of ROUTES) assert.ok(failed.includes(`http.response_time.2xx.${route}.p99`), route);
});

test('a stack that is right but slow fails every latency gate and nothing else', async () => {
  const { code, failed } = await runAgainst('slow');
  assert.equal(code, 1);
  const latency = ['', ...ROUTES.map((route) => `.${route}`)].flatMap((route) => [
    `http.response_time.2xx${route}.p95`,
    `http.response_time.2xx${route}.p99`,
  ]);
  assert.deepEqual(failed.toSorted(), [...latency, "Artillery's exit code"].toSorted());
});

/** An `aws` that knows one stack: its access log is the file, and its one function has run once for each line of it. */
function fakeAws(accessLog) {
  const file = path.join(out, 'aws');
  writeFileSync(
    file,
    `#!${process.execPath}
    const { existsSync, readFileSync } = require('node:fs');
    const call = process.argv.slice(2).join(' ');
    const lines = existsSync(${JSON.stringify(accessLog)}) ? readFileSync(${JSON.stringify(accessLog)}, 'utf8').trim().split('\\n') : [];
    const timestamp = Date.now();
    const REPORT = 'REPORT RequestId: 1\\tDuration: 1.50 ms\\tBilled Duration: 2 ms\\tMemory Size: 256 MB\\tMax Memory Used: 8 MB\\t';
    const resource = (type, name) => ({ ResourceType: type, LogicalResourceId: name, PhysicalResourceId: name });
    const answers = {
      'cloudformation describe-stacks': { Stacks: [{ StackStatus: 'UPDATE_COMPLETE' }] },
      'cloudformation list-stack-resources': {
        StackResourceSummaries: [resource('AWS::Lambda::Function', 'GetProduct'), resource('AWS::Logs::LogGroup', 'ApiLogs')],
      },
      'lambda get-function-configuration': { LoggingConfig: { LogGroup: 'GetProductLogs' } },
      'logs filter-log-events --log-group-name GetProductLogs': { events: lines.map(() => ({ timestamp, message: REPORT })) },
      'logs filter-log-events --log-group-name ApiLogs': { events: lines.map((message) => ({ timestamp, message })) },
    };
    console.log(JSON.stringify(Object.entries(answers).find(([start]) => call.startsWith(start))[1]));
    `,
  );
  chmodSync(file, 0o755);
  return { PATH: `${out}${path.delimiter}${process.env.PATH}`, AWS_REGION: 'eu-west-1' };
}

/** A run against a stack that is named, whose API logs that each answer took so many ms. */
async function runAgainstStack(fault, loggedMs) {
  const accessLog = path.join(out, 'access.log');
  rmSync(accessLog, { force: true });
  const stack = await startStandIn(fault, { accessLog, loggedMs });
  Object.assign(ENVIRONMENT, fakeAws(accessLog));
  return runToEnd('--api-url', stack.url, '--stack', 'shop-dev').finally(() => stack.close());
}

test('of a stack that is named the latency is judged that its API logged, and both are shown', async () => {
  const { code, output, summary, failed } = await runAgainstStack('slow', 7);
  assert.deepEqual(failed, [], output);
  assert.equal(code, 0, output);
  const row = summary.routes.find(({ route }) => route === 'POST /products/batch-get');
  assert.ok(row.p50_ms > 100, `over a line of 150 ms it took ${row.p50_ms}`);
  assert.deepEqual([row.logged_p50_ms, row.logged_p99_ms], [7, 7]);
  assert.match(output, /^ {2}route +requests +p50 +p95 +p99 +API p50 +p95 +p99 +statuses$/m);
  assert.match(output, /^Gates \[measured here; response times: as API Gateway logged them\]$/m);
});

test('a named stack whose API was slow fails every latency gate and nothing else, however near it is', async () => {
  const { code, failed } = await runAgainstStack(undefined, 150);
  assert.equal(code, 1);
  const latency = ['', ...ROUTES.map((route) => `.${route}`)].flatMap((route) => [
    `http.response_time.2xx${route}.p95`,
    `http.response_time.2xx${route}.p99`,
  ]);
  assert.deepEqual(failed.toSorted(), latency.toSorted());
});

test('what the API has not logged is not judged by the client, and a request that is not in its log fails a gate', () => {
  const client = { counters: {}, summaries: { 'http.response_time.2xx': { p99: 5 }, 'http.response_time.2xx.GET /a': { p99: 5 } } };
  const ensure = { thresholds: [{ 'http.response_time.2xx.p99': 100 }, { 'http.response_time.2xx.GET /a.p99': 100 }] };
  const logged = { lines: 9, summaries: { 'http.response_time.2xx': { p99: 7 } } };
  const judged = (requests) =>
    evaluateLogged(ensure, client, requests, logged).map(({ value, pass }) => ({ value, pass }));
  const [all, route] = [{ value: 7, pass: true }, { value: null, pass: false }];
  assert.deepEqual(judged(9), [all, route, { value: 9, pass: true }]);
  assert.deepEqual(judged(10), [all, route, { value: 9, pass: false }]);
});

test('one slow route fails its own gate, though most requests are fast', async () => {
  const { code, failed } = await runAgainst('slow-route');
  assert.equal(code, 1);
  assert.ok(failed.includes('http.response_time.2xx.GET /orders/{id}.p95'));
  assert.ok(!failed.includes('maxErrorRate'));
});

test('accepted orders that never become final fail the run', async () => {
  const { code, failed, summary } = await runAgainst('stuck-orders');
  assert.equal(code, 1);
  assert.ok(failed.includes('orders.unfinished'));
  assert.equal(summary.orders.unfinished, summary.orders.accepted);
});

test('wrong statuses fail the error rate and the gates of the statuses that are missing', async () => {
  const { code, failed } = await runAgainst('wrong-statuses');
  assert.equal(code, 1);
  assert.ok(failed.includes('maxErrorRate'));
  assert.ok(failed.includes('routes.PUT /products/{id}.codes.412'));
});

test('a stack that sells what it does not have fails the run', async () => {
  const { code, failed } = await runAgainst('no-rejections');
  assert.equal(code, 1);
  assert.deepEqual(failed.filter((name) => !isLatency(name)).toSorted(), [
    "Artillery's exit code",
    'orders.rejected',
  ]);
});

test('the stack on this machine is started, metered, and stopped', async () => {
  const { code, output, summary } = await unspoilt(() => runToEnd('--local', LOCAL));
  assert.equal(code, 0, output);
  assert.deepEqual(
    summary.functions.map(({ name, invocations, cold_starts }) => ({ name, invocations, cold_starts })),
    [
      { name: 'GetProduct', invocations: 2, cold_starts: 1 }, // three were logged, one of them before the load
    ],
  );
  assert.equal(summary.aws_calls.GetProduct.operations['DynamoDB.GetItem'].calls, 120);
  assert.ok(!existsSync(path.join(out, 'ready.json')), 'it was still running');
});

test('an interrupted run stops what it started, and says so by its exit code', async () => {
  const { child, ended, output } = startRun('--local', LOCAL);
  while (!output().includes('load: gate-test')) await Promise.race([once(child.stdout, 'data'), ended]);
  const { pid } = JSON.parse(readFileSync(path.join(out, 'ready.json'), 'utf8'));
  child.kill('SIGTERM');
  const { code, output: all } = await ended;
  assert.equal(code, 143);
  assert.match(all, /^load test failed: interrupted by SIGTERM$/m);
  assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
});

test('a stack that cannot be started fails with its own words', async () => {
  const { code, output } = await startRun('--local', LOCAL, '--template', 'missing.yaml').ended;
  assert.equal(code, 1);
  assert.match(output, /ended before it was ready \(exit code 1\)\nmissing\.yaml: no such template/);
});

test('an unknown option is refused in one line', async () => {
  const { code, output } = await startRun('--profil', 'load').ended;
  assert.equal(code, 1);
  assert.match(output, /^load test failed: Unknown option '--profil'/);
  assert.doesNotMatch(output, /at /);
});

test('an unknown profile is refused with the list of known ones', async () => {
  const { code, output } = await startRun('--profile', 'lode').ended;
  assert.equal(code, 1);
  assert.match(output, /there is no profile "lode"; there are: smoke, load, spike, stress, soak/);
});

test('a gate on a metric that never occurred fails', () => {
  const ensure = {
    maxErrorRate: 0,
    thresholds: [{ 'never.p99': 100 }],
    conditions: [{ expression: 'never == 0' }],
  };
  assert.deepEqual(
    evaluate(ensure, {}).map(({ value, pass }) => ({ value, pass })),
    Array(3).fill({ value: null, pass: false }),
  );
});

test('users who were created and never completed are errors, all of them', () => {
  assert.deepEqual(evaluate({ maxErrorRate: 0 }, { counters: { 'vusers.created': 7 } }), [
    { name: 'maxErrorRate', limit: '<= 0', value: 100, pass: false },
  ]);
});

test('a gate that cannot be read is refused, not skipped', () => {
  assert.throws(
    () => evaluate({ conditions: [{ expression: 'orders.unfinished = 0' }] }, {}),
    /a gate must read/,
  );
});
