import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseReports, percentile, summariseFunction } from '../report-lines.mjs';

const WARM =
  'REPORT RequestId: 3604209a-e9a3-11e6-939a-754dd98c7be3\tDuration: 12.34 ms\tBilled Duration: 13 ms\tMemory Size: 128 MB\tMax Memory Used: 18 MB\t';
const COLD =
  'REPORT RequestId: 7b2d1f5c-8f0e-4c3a-9f57-2d2b1c9b6a10\tDuration: 1.44 ms\tBilled Duration: 20 ms\tMemory Size: 512 MB\tMax Memory Used: 15 MB\tInit Duration: 18.45 ms\t';

const some = (reports, ...keys) =>
  reports.map((report) => Object.fromEntries(keys.map((key) => [key, report[key]])));

test('a warm line of AWS is read in full', () => {
  assert.deepEqual(parseReports(WARM), [
    {
      function: null,
      request_id: '3604209a-e9a3-11e6-939a-754dd98c7be3',
      status: null,
      error_type: null,
      duration_ms: 12.34,
      billed_ms: 13,
      memory_mb: 128,
      peak_memory_mb: 18,
      init_ms: null,
      cpu_ms: null,
      init_cpu_ms: null,
    },
  ]);
});

test('a log file of local is read: other lines are skipped, CPU times are found', () => {
  const log = [
    'INIT_START Runtime Version: provided:al2023',
    'START RequestId: 7b2d1f5c Version: $LATEST',
    '{"level":"INFO","message":"REPORT follows"}',
    'END RequestId: 7b2d1f5c',
    `${COLD}CPU Time: 0.44 ms\tInit CPU Time: 1.90 ms\t`,
    `${WARM}CPU Time: 0.41 ms\t`,
    '',
  ].join('\n');
  assert.deepEqual(some(parseReports(log), 'init_ms', 'cpu_ms', 'init_cpu_ms', 'peak_memory_mb'), [
    { init_ms: 18.45, cpu_ms: 0.44, init_cpu_ms: 1.9, peak_memory_mb: 15 },
    { init_ms: null, cpu_ms: 0.41, init_cpu_ms: null, peak_memory_mb: 18 },
  ]);
});

test('timeouts, errors and the fields of X-Ray are told apart', () => {
  const timeout =
    'REPORT RequestId: 1\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB\tMax Memory Used: 30 MB\tStatus: timeout\n';
  const error =
    'REPORT RequestId: 2\tDuration: 9.11 ms\tBilled Duration: 160 ms\tMemory Size: 128 MB\tMax Memory Used: 31 MB\tInit Duration: 150.20 ms\tStatus: error\tError Type: Runtime.ExitError\n';
  const traced = `${WARM}\nXRAY TraceId: 1-5e34a614-10bdxmplf1fb44f07bc535a1\tSegmentId: 07f5xmpl2d1f6f85\tSampled: true\t\n`;
  assert.deepEqual(some(parseReports(timeout + error + traced), 'status', 'error_type', 'duration_ms'), [
    { status: 'timeout', error_type: null, duration_ms: 3000 },
    { status: 'error', error_type: 'Runtime.ExitError', duration_ms: 9.11 },
    { status: null, error_type: null, duration_ms: 12.34 },
  ]);
});

test('the JSON of `aws logs filter-log-events` is read', () => {
  const json = JSON.stringify(
    {
      events: [
        {
          logStreamName: '2025/03/01/[$LATEST]8c1f',
          timestamp: 1740823200000,
          message: 'START RequestId: 1 Version: $LATEST\n',
          ingestionTime: 1740823201000,
          eventId: '1',
        },
        {
          logStreamName: '2025/03/01/[$LATEST]8c1f',
          timestamp: 1740823200100,
          message: `${COLD}\n`,
          ingestionTime: 1740823201000,
          eventId: '2',
        },
      ],
      searchedLogStreams: [],
    },
    null,
    4,
  );
  assert.deepEqual(some(parseReports(json), 'duration_ms', 'init_ms'), [
    { duration_ms: 1.44, init_ms: 18.45 },
  ]);
});

test('the text of `aws logs tail` is read, time and stream before each line', () => {
  const text = `2025-03-01T10:00:00.100000+00:00 2025/03/01/[$LATEST]8c1f START RequestId: 1 Version: $LATEST\n2025-03-01T10:00:00.200000+00:00 2025/03/01/[$LATEST]8c1f ${WARM}\n`;
  assert.deepEqual(some(parseReports(text), 'duration_ms', 'memory_mb'), [
    { duration_ms: 12.34, memory_mb: 128 },
  ]);
});

test('a result of Logs Insights is read: its memory is in bytes, its log group names the function', () => {
  const fields = {
    '@log': '123456789012:/aws/lambda/shop-GetProduct-4x7',
    '@type': 'REPORT',
    '@requestId': '1',
    '@duration': '1.44',
    '@billedDuration': '20.0',
    '@memorySize': '512000000',
    '@maxMemoryUsed': '15000000',
    '@initDuration': '18.45',
  };
  const started = { '@log': fields['@log'], '@type': 'START', '@requestId': '1' };
  const expected = [
    {
      function: 'shop-GetProduct-4x7',
      duration_ms: 1.44,
      billed_ms: 20,
      memory_mb: 512,
      peak_memory_mb: 15,
      init_ms: 18.45,
    },
  ];
  const keys = Object.keys(expected[0]);
  const cli = {
    status: 'Complete',
    results: [started, fields].map((row) => Object.entries(row).map(([field, value]) => ({ field, value }))),
  };
  const csv = [
    Object.keys(fields),
    Object.keys(fields).map((key) => started[key] ?? ''),
    Object.values(fields),
  ]
    .map((row) => row.join(','))
    .join('\n');
  assert.deepEqual(some(parseReports(JSON.stringify(cli)), ...keys), expected);
  assert.deepEqual(some(parseReports(JSON.stringify([started, fields])), ...keys), expected);
  assert.deepEqual(some(parseReports(csv), ...keys), expected);
});

test('a CSV of Logs Insights with whole messages is read', () => {
  const csv = `@timestamp,@message,@log\n2025-03-01 10:00:00.200,"${COLD}\n",123456789012:/aws/lambda/shop-PutProduct\n`;
  assert.deepEqual(some(parseReports(csv), 'function', 'init_ms'), [
    { function: 'shop-PutProduct', init_ms: 18.45 },
  ]);
});

test('JSON that is no export is refused', () => {
  assert.throws(() => parseReports('{"message": "hello"}'), /not an export/);
});

test('percentiles are nearest-rank: values that occurred, none between them', () => {
  const values = [15, 20, 35, 40, 50];
  assert.deepEqual(
    [5, 30, 40, 50, 99, 100].map((percent) => percentile(values, percent)),
    [15, 20, 20, 35, 50, 50],
  );
  assert.equal(percentile([7], 99), 7);
  assert.equal(percentile([], 50), null);
});

test('a function counts its latency under load, and its cold starts from the beginning', () => {
  const before = parseReports(`${COLD}CPU Time: 0.50 ms\tInit CPU Time: 2.00 ms\t`);
  const underLoad = parseReports(`${WARM}CPU Time: 0.40 ms\t\n${WARM}CPU Time: 0.60 ms\tStatus: error\t`);
  assert.deepEqual(summariseFunction('GetProduct', underLoad, [...before, ...underLoad]), {
    name: 'GetProduct',
    invocations: 2,
    cold_starts: 1,
    cold_starts_under_load: 0,
    init_p50_ms: 18.45,
    init_p99_ms: 18.45,
    duration_p50_ms: 12.34,
    duration_p99_ms: 12.34,
    warm_cpu_p50_ms: 0.4,
    cold_cpu_p50_ms: 2.5,
    peak_memory_mb: 18,
    errors: 1,
    timeouts: 0,
    gb_seconds: 2 * 0.013 * 0.125,
  });
});

test('a function without an invocation has zeros for counts and null for what is unknown', () => {
  const { invocations, errors, duration_p99_ms, peak_memory_mb, cold_cpu_p50_ms } = summariseFunction(
    'Idle',
    [],
  );
  assert.deepEqual(
    [invocations, errors, duration_p99_ms, peak_memory_mb, cold_cpu_p50_ms],
    [0, 0, null, null, null],
  );
});
