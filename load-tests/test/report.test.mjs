import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync, appendFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { gate } from '../gates.mjs';
import * as report from '../report.mjs';

const directory = mkdtempSync(path.join(tmpdir(), 'report-'));
after(() => rmSync(directory, { recursive: true }));

const AGGREGATE = {
  counters: {
    'vusers.created': 9,
    'routes.GET /products.codes.200': 10,
    'routes.GET /products.codes.400': 2,
    'routes.GET /products/{id}.codes.200': 5,
    'routes.GET /products/{id}.errors.ECONNRESET': 1,
    'orders.accepted': 3,
    'orders.unfinished': 1,
    'orders.fulfilled': 2,
    'errors.ECONNRESET': 1,
    'errors.Failed expectations for request GET /products': 4,
  },
  summaries: {
    'http.response_time.2xx.GET /products': { p50: 1.5, p95: 2.5, p99: 3.5, max: 9 },
    'orders.placed_to_final': { p50: 20, p99: 40 },
  },
};

test('routes have their requests, statuses and the latency of their successes', () => {
  assert.deepEqual(report.routesOf(AGGREGATE), [
    {
      route: 'GET /products',
      requests: 12,
      p50_ms: 1.5,
      p95_ms: 2.5,
      p99_ms: 3.5,
      statuses: { 200: 10, 400: 2 },
    },
    {
      route: 'GET /products/{id}',
      requests: 6,
      p50_ms: null,
      p95_ms: null,
      p99_ms: null,
      statuses: { 200: 5, ECONNRESET: 1 },
    },
  ]);
});

test('a request is answered if it has a status, whichever', () => {
  assert.equal(report.answeredIn(AGGREGATE), 17);
});

test('beside the latency of a route stands the one that API Gateway has logged', () => {
  const logged = { 'http.response_time.2xx.GET /products': { p50: 4, p95: 5, p99: 6 } };
  assert.deepEqual(
    report
      .routesOf(AGGREGATE, logged)
      .map(({ p99_ms, logged_p50_ms, logged_p95_ms, logged_p99_ms }) => [p99_ms, logged_p50_ms, logged_p95_ms, logged_p99_ms]),
    [
      [3.5, 4, 5, 6],
      [null, null, null, null],
    ],
  );
});

test('orders and errors are read from the counters', () => {
  assert.deepEqual(report.ordersOf(AGGREGATE), {
    accepted: 3,
    fulfilled: 2,
    rejected: 0,
    unfinished: 1,
    p50_ms: 20,
    p99_ms: 40,
  });
  assert.deepEqual(
    report.errorsOf(AGGREGATE).map(({ count }) => count),
    [4, 1],
  );
});

test('log lines count as under load from where the file ended before it', () => {
  const file = path.join(directory, 'PutProduct.log');
  const line = (init) =>
    `REPORT RequestId: 1\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\tMax Memory Used: 9 MB\t${init}\n`;
  writeFileSync(file, line('Init Duration: 4.00 ms\t'));
  const sizes = report.logSizes(directory);
  appendFileSync(file, line('') + line('') + line('Init Duration: 5.00 ms\t'));
  writeFileSync(path.join(directory, 'other.log'), '{"msg":"not a function"}\n');
  const [{ name, invocations, cold_starts, cold_starts_under_load }, ...others] = report.functionsFromLogs(
    directory,
    sizes,
  );
  assert.deepEqual(others, []);
  assert.deepEqual(
    { name, invocations, cold_starts, cold_starts_under_load },
    { name: 'PutProduct', invocations: 3, cold_starts: 2, cold_starts_under_load: 1 },
  );
});

test('calls, units and GB-seconds are given for each thousand requests', () => {
  const cost = report.perThousandRequests({
    routes: [{ requests: 400 }, { requests: 100 }],
    functions: [{ gb_seconds: 0.5 }, { gb_seconds: 1.5 }],
    aws_calls: {
      A: {
        operations: {
          X: { calls: 1000, read_units: 50, write_units: 0 },
          Y: { calls: 500, read_units: 0, write_units: 5 },
        },
      },
    },
  });
  assert.deepEqual(cost, { aws_calls: 3000, read_units: 100, write_units: 10, gb_seconds: 4 });
  assert.deepEqual(report.perThousandRequests({ routes: [], functions: [], aws_calls: null }), {
    aws_calls: null,
    read_units: null,
    write_units: null,
    gb_seconds: null,
  });
});

test('a thousand requests of a stress run are those of all its steps', () => {
  const { aws_calls } = report.perThousandRequests({
    routes: [{ requests: 100 }],
    functions: [],
    aws_calls: { A: { operations: { X: { calls: 800, read_units: 0, write_units: 0 } } } },
    stress: { steps: [{ requests: 100 }, { requests: 300 }] },
  });
  assert.equal(aws_calls, 2000);
});

/** A summary with numbers as large as those of a soak. */
const summary = {
  profile: 'soak',
  api_url: 'http://127.0.0.1:40000',
  started_at: '2025-03-01T10:00:00.000Z',
  requests_per_second: 199.4321,
  commit: `${'a'.repeat(40)}+changes`,
  machine: {
    cpu: 'AMD Ryzen Threadripper PRO 7995WX 96-Cores',
    cores: 192,
    memory_gb: 512,
    os: 'Linux 6.18.44-generic x86_64',
    node: 'v24.21.0',
  },
  origin: {
    routes: report.MEASURED,
    gates: report.MEASURED,
    functions: report.MEASURED,
    aws_calls: report.MEASURED,
    consumed_capacity: report.SIMULATED,
    queues: report.SIMULATED,
  },
  routes: [
    {
      route: 'POST /products/batch-get',
      requests: 123456,
      p50_ms: 12.3,
      p95_ms: 45.6,
      p99_ms: 1234.5,
      statuses: { 200: 123456, 503: 12, ERR_SOCKET_TIMEOUT: 12345, ETIMEDOUT: 123 },
    },
  ],
  errors: [{ error: 'Failed expectations for request POST /products/batch-get', count: 123 }],
  functions: [
    {
      name: 'BatchGetProducts',
      invocations: 123456,
      cold_starts: 12,
      init_p50_ms: 12.34,
      init_p99_ms: 23.45,
      duration_p50_ms: 12.34,
      duration_p99_ms: 123.45,
      warm_cpu_p50_ms: 0.54,
      cold_cpu_p50_ms: 12.34,
      peak_memory_mb: 123,
      errors: 12,
      timeouts: 12,
      gb_seconds: 12.5,
    },
  ],
  aws_calls: {
    BatchGetProducts: {
      connections: 12,
      operations: {
        'DynamoDB.TransactWriteItems': {
          calls: 123456,
          errors: 12,
          throttles: 12,
          read_units: 1234567.5,
          write_units: 12345.6,
        },
      },
    },
  },
  queues: {
    OrdersQueue: {
      received: 12345,
      invocations: 1234,
      queue_time_ms: { p50: 1.2, p95: 3.4, p99: 5.6, max: 1234.5 },
      visible: 1,
      in_flight: 2,
      delayed: 3,
    },
    OrdersDeadLetterQueue: { visible: 0, in_flight: 0, delayed: 0 },
  },
  orders: { accepted: 12345, fulfilled: 12345, rejected: 1234, unfinished: 0, p50_ms: 12.3, p99_ms: 123.4 },
  per_thousand_requests: { aws_calls: 1234.5, read_units: 1234.5, write_units: 123.4, gb_seconds: 0.12 },
  gates: [
    gate('http.response_time.2xx.POST /products/batch-get.p99', '<', 100, 1234.5),
    gate('orders.unfinished', '==', 0, 0),
    gate('never', '>', 0, null),
  ],
  stress: {
    knee: null,
    steps: [
      {
        name: '100 requests a second',
        requests_per_second: 99.5,
        p99_ms: 1234.5,
        broken: ['http.response_time.2xx.POST /orders.p99'],
      },
    ],
  },
};

test('the table fits in 100 columns', () => {
  for (const line of report.render(summary).split('\n'))
    assert.ok(line.length <= 100, `${line.length}: ${line}`);
});

test('the table names the origin of each block and the gates that failed', () => {
  const text = report.render(summary);
  for (const label of [
    'Routes: .* \\[measured here\\]',
    'Consumed capacity.* \\[simulated here\\]',
    'batch-get.p99 +< 100 +1234.5 +FAIL',
    'unfinished +== 0 +0 +pass',
    'FAILED: 2 of 3 gates',
  ]) {
    assert.match(text, new RegExp(label));
  }
  const deployed = report.render({
    ...summary,
    functions: [],
    aws_calls: null,
    queues: null,
    origin: { ...summary.origin, functions: report.NEEDS_AWS },
  });
  assert.match(deployed, /Functions.* \[needs AWS\]\n {2}not known here/);
});

test('the machine is described, with null for what is unknown', () => {
  assert.deepEqual(Object.keys(report.machine()), ['cpu', 'cores', 'memory_gb', 'os', 'node']);
});

test('the bytes that a function logged under load are counted, and each custom metric once', () => {
  const folder = mkdtempSync(path.join(directory, 'logs-'));
  const file = path.join(folder, 'PlaceOrder.log');
  const report_line = 'REPORT RequestId: 1\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\tMax Memory Used: 9 MB\t\n';
  const metrics = (...names) =>
    `${JSON.stringify({ _aws: { CloudWatchMetrics: [{ Namespace: 'shop', Dimensions: [[]], Metrics: names.map((Name) => ({ Name })) }] } })}\n`;
  writeFileSync(file, metrics('OrdersPlaced') + report_line);
  const sizes = report.logSizes(folder);
  const added = metrics('OrdersPlaced', 'OrdersReplayed') + report_line;
  appendFileSync(file, added);
  assert.equal(report.functionsFromLogs(folder, sizes)[0].log_bytes, Buffer.byteLength(added));
  assert.equal(report.customMetricsInLogs(folder), 2);
});
