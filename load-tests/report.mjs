// The report of a run: the parts of summary.json, and the printed table.
//
// Run as a program, it adds a deployed stack's functions to the last summary, from exports of CloudWatch Logs:
//   aws logs filter-log-events --log-group-name /aws/lambda/… --filter-pattern REPORT --start-time … > GetProduct.json
//   node load-tests/report.mjs GetProduct.json PlaceOrder.json …
// The log group names a row if the export has it (Logs Insights' @log), else the file does.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseLog, parseReports, summariseFunction } from './report-lines.mjs';

export const SUMMARY_FILE = path.resolve(import.meta.dirname, '../target/load-test/summary.json');

/** The source of a number. */
export const MEASURED = 'measured here';
export const SIMULATED = 'simulated here';
export const NEEDS_AWS = 'needs AWS';
export const MEASURED_ON_AWS = 'measured on AWS';
export const LATENCY_LOGGED = 'measured here; response times: as API Gateway logged them';

/** Columns of the terminal. summary.json has the full values of lines that are cut. */
const WIDTH = 100;

/** Requests of an Artillery report that got a status, whichever. */
export const answeredIn = ({ counters = {} }) =>
  Object.entries(counters).reduce((sum, [name, count]) => sum + (/^routes\..+\.codes\.\d+$/.test(name) ? count : 0), 0);

/**
 * One row a route, from the totals of an Artillery report, whose percentiles are within 1 % (DDSketch) and 0.1 ms; beside
 * them those that API Gateway has logged, where they are given by the same names.
 */
export function routesOf({ counters = {}, summaries = {} }, logged = null) {
  const routes = new Map();
  for (const [name, count] of Object.entries(counters)) {
    const [, route, what] = /^routes\.(.+)\.(?:codes|errors)\.([^.]+)$/.exec(name) ?? [];
    if (!route) continue;
    const row = routes.get(route) ?? { requests: 0, statuses: {} };
    routes.set(route, row);
    row.requests += count;
    // A request without any response is counted under its error (ECONNREFUSED, ETIMEDOUT).
    row.statuses[what] = count;
  }
  return [...routes]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([route, { requests, statuses }]) => {
      const times = summaries[`http.response_time.2xx.${route}`] ?? {};
      const { p50: p50_ms = null, p95: p95_ms = null, p99: p99_ms = null } = times;
      const row = { route, requests, p50_ms, p95_ms, p99_ms, statuses };
      if (!logged) return row;
      const { p50 = null, p95 = null, p99 = null } = logged[`http.response_time.2xx.${route}`] ?? {};
      return { ...row, logged_p50_ms: p50, logged_p95_ms: p95, logged_p99_ms: p99 };
    });
}

export function ordersOf({ counters = {}, summaries = {} }) {
  return {
    accepted: counters['orders.accepted'] ?? 0,
    fulfilled: counters['orders.fulfilled'] ?? 0,
    rejected: counters['orders.rejected'] ?? 0,
    unfinished: counters['orders.unfinished'] ?? 0,
    p50_ms: summaries['orders.placed_to_final']?.p50 ?? null,
    p99_ms: summaries['orders.placed_to_final']?.p99 ?? null,
  };
}

/** The errors that users saw, most frequent first. */
export function errorsOf({ counters = {} }) {
  return Object.entries(counters)
    .filter(([name]) => name.startsWith('errors.'))
    .map(([name, count]) => ({ error: name.slice('errors.'.length), count }))
    .sort((a, b) => b.count - a.count);
}

/** Bytes in each log file now: all later lines belong to the load. */
export function logSizes(directory) {
  return new Map(logFiles(directory).map((file) => [file, readFileSync(file).length]));
}

/**
 * One row for each function that ran, from the log files of `local`; `sizesBefore` (see `logSizes`) is where the load
 * begins. Other logs in the folder have no REPORT line.
 */
export function functionsFromLogs(directory, sizesBefore) {
  return logFiles(directory).flatMap((file) => {
    const log = readFileSync(file);
    const all = parseLog(log.toString());
    const added = log.subarray(sizesBefore.get(file) ?? 0);
    const underLoad = parseLog(added.toString());
    if (all.length === 0) return [];
    return [{ ...summariseFunction(path.basename(file, '.log'), underLoad, all), log_bytes: added.length }];
  });
}

/** The number of custom metrics in the logs of `local` (embedded metric format): CloudWatch bills each by the month. */
export function customMetricsInLogs(directory) {
  const metrics = new Set();
  for (const file of logFiles(directory)) {
    const lines = readFileSync(file, 'utf8').split('\n').filter((line) => line.includes('"_aws"'));
    for (const { Namespace, Dimensions, Metrics } of lines.flatMap((line) => JSON.parse(line)._aws.CloudWatchMetrics)) {
      for (const { Name } of Metrics) metrics.add(JSON.stringify([Namespace, Dimensions, Name]));
    }
  }
  return metrics.size;
}

function logFiles(directory) {
  return readdirSync(directory)
    .filter((file) => file.endsWith('.log'))
    .sort()
    .map((file) => path.join(directory, file));
}

/**
 * The cost of this run for each thousand requests; null if unknown.
 *
 * @param {Record<string, any>} summary
 */
export function perThousandRequests({ routes, functions, aws_calls, stress }) {
  // Functions and calls are counted over the whole run, so under stress the requests of every step count too.
  const requests = (stress?.steps ?? routes).reduce((sum, { requests }) => sum + requests, 0);
  const operations = Object.values(aws_calls ?? {}).flatMap((caller) => Object.values(caller.operations));
  const per = (list, key) =>
    list.length && requests ? (list.reduce((sum, row) => sum + row[key], 0) * 1000) / requests : null;
  return {
    aws_calls: per(operations, 'calls'),
    read_units: per(operations, 'read_units'),
    write_units: per(operations, 'write_units'),
    gb_seconds: per(functions, 'gb_seconds'),
  };
}

export function machine() {
  const { model } = os.cpus()[0] ?? {};
  return {
    cpu: model && model !== 'unknown' ? model : null,
    cores: os.availableParallelism(),
    memory_gb: Math.round(os.totalmem() / 2 ** 30),
    os: `${os.type()} ${os.release()} ${os.machine()}`,
    node: process.version,
  };
}

/** The measured commit, with `+changes` if the tree differs from it; null outside a repository. */
export function commit() {
  const git = (...args) =>
    execFileSync('git', args, {
      cwd: import.meta.dirname,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  try {
    return git('rev-parse', 'HEAD') + (git('status', '--porcelain') ? '+changes' : '');
  } catch {
    return null;
  }
}

/** The whole summary as text, at most 100 columns wide. */
export function render(summary) {
  const { machine: host, origin } = summary;
  const logged = summary.routes.some((row) => 'logged_p50_ms' in row);
  const blocks = [
    `\n${summary.profile} on ${summary.api_url}, ${summary.started_at}\n` +
      `${host.cpu ?? 'unknown processor'}, ${host.cores} cores, ${host.memory_gb} GB\n` +
      `${host.os}, node ${host.node}\n` +
      `commit ${summary.commit ?? 'unknown'}`,
    block(
      `Routes: ms to the first byte of a success${logged ? ', and by the API\'s log' : ''}; ${format(summary.requests_per_second)} requests/s`,
      origin.routes,
      ['route', 'requests', 'p50', 'p95', 'p99', ...(logged ? ['API p50', 'p95', 'p99'] : []), 'statuses'],
      summary.routes.map((row) => [
        row.route,
        row.requests,
        row.p50_ms,
        row.p95_ms,
        row.p99_ms,
        ...(logged ? [row.logged_p50_ms, row.logged_p95_ms, row.logged_p99_ms] : []),
        statuses(row.statuses),
      ]),
    ),
  ];
  if (summary.errors.length) {
    blocks.push(
      block(
        'What failed',
        MEASURED,
        ['times', 'error'],
        summary.errors.slice(0, 8).map(({ count, error }) => [count, error]),
      ),
    );
  }
  blocks.push(
    block(
      'Functions: ms, p50 and p99; memory in MB',
      origin.functions,
      [
        'function',
        'runs',
        'cold',
        'init',
        'p99',
        'run',
        'p99',
        'CPU',
        'cold CPU',
        'memory',
        'errors',
        'timeouts',
      ],
      summary.functions.map((row) => [
        row.name,
        row.invocations,
        row.cold_starts,
        row.init_p50_ms,
        row.init_p99_ms,
        row.duration_p50_ms,
        row.duration_p99_ms,
        row.warm_cpu_p50_ms,
        row.cold_cpu_p50_ms,
        row.peak_memory_mb,
        row.errors,
        row.timeouts,
      ]),
    ),
    block(
      'AWS calls, counted at the endpoint',
      origin.aws_calls,
      ['function', 'operation', 'calls', 'each run', 'errors', 'throttles', 'connections'],
      callRows(summary),
    ),
    block(
      'Consumed capacity: units',
      origin.consumed_capacity,
      ['function', 'operation', 'read', 'each call', 'write', 'each call'],
      capacityRows(summary),
    ),
    block(
      'For each thousand requests',
      origin.consumed_capacity,
      ['AWS calls', 'read units', 'write units', 'GB-seconds'],
      [Object.values(summary.per_thousand_requests)],
    ),
    block(
      'Queues: ms in the queue',
      origin.queues,
      ['queue', 'received', 'runs', 'p50', 'p95', 'p99', 'max', 'still there'],
      queueRows(summary),
    ),
    block(
      'Orders: ms from placed to final',
      origin.routes,
      ['accepted', 'fulfilled', 'rejected', 'unfinished', 'p50', 'p99'],
      [Object.values(summary.orders)],
    ),
  );
  if (summary.trend) {
    const rows = summary.trend.map(({ name, first, last }) => [name, first, last]);
    blocks.push(block('First minute and last: medians', MEASURED, ['', 'first', 'last'], rows));
  }
  if (summary.stress) blocks.push(renderStress(summary.stress));
  blocks.push(
    block(
      'Gates',
      origin.gates,
      ['gate', 'limit', 'value', ''],
      summary.gates.map(({ name, limit, value, pass }) => [
        name,
        limit,
        format(value),
        pass ? 'pass' : 'FAIL',
      ]),
    ),
  );
  const failed = summary.gates.filter(({ pass }) => !pass);
  blocks.push(
    failed.length
      ? `FAILED: ${failed.length} of ${summary.gates.length} gates.`
      : `Passed: all ${summary.gates.length} gates.`,
  );
  return `${blocks.join('\n\n')}\n`;
}

const statuses = (counts) =>
  Object.entries(counts)
    .map(([status, count]) => `${status}: ${count}`)
    .join(', ');

function callRows({ aws_calls, functions }) {
  return Object.entries(aws_calls ?? {}).flatMap(([caller, { connections, operations }]) => {
    const runs = functions.find(({ name }) => name === caller)?.invocations;
    return Object.entries(operations).map(([operation, { calls, errors, throttles }], index) => [
      caller,
      operation,
      calls,
      runs ? calls / runs : null,
      errors,
      throttles,
      index === 0 ? connections : '',
    ]);
  });
}

function capacityRows({ aws_calls }) {
  return Object.entries(aws_calls ?? {}).flatMap(([caller, { operations }]) =>
    Object.entries(operations)
      .filter(([, { read_units, write_units }]) => read_units || write_units)
      .map(([operation, { calls, read_units, write_units }]) => [
        caller,
        operation,
        read_units,
        read_units / calls,
        write_units,
        write_units / calls,
      ]),
  );
}

function queueRows({ queues }) {
  return Object.entries(queues ?? {}).map(
    ([
      name,
      { received = null, invocations = null, queue_time_ms: time = {}, visible, in_flight, delayed },
    ]) => [
      name,
      received,
      invocations,
      time.p50,
      time.p95,
      time.p99,
      time.max,
      visible + in_flight + delayed,
    ],
  );
}

function renderStress({ steps, knee }) {
  const found = steps.at(-1).broken.length > 0;
  const last = knee
    ? `the last step that held is "${knee}"${found ? '' : ', and none was higher'}`
    : 'not even the first step held';
  return block(
    `Stress: ${last}`,
    MEASURED,
    ['step', 'requests/s', 'p99', 'gates that broke'],
    steps.map(({ name, requests_per_second, p99_ms, broken }) => [
      name,
      requests_per_second,
      p99_ms,
      `${broken.length ? `${broken.length}: ${broken[0]}` : 'none'}`,
    ]),
  );
}

/** A titled table: columns as wide as their widest cell, numbers right with one precision each, text left. */
function block(title, origin, headers, allRows) {
  const heading = `${title} [${origin}]`;
  const rows = allRows.filter((row) => row.some((cell) => cell !== null));
  if (rows.length === 0)
    return `${heading}\n  ${origin === NEEDS_AWS ? 'not known here; see the head of load-tests/report.mjs' : 'nothing'}`;
  const columns = headers.map((header, index) => {
    const values = rows.map((row) => row[index] ?? '-');
    const numeric = values.every((value) => typeof value === 'number' || /^[-\d.]*$/.test(value));
    const decimals = columnDecimals(values.filter((value) => typeof value === 'number'));
    const cells = values.map((value) => (typeof value === 'number' ? value.toFixed(decimals) : value));
    const width = Math.max(...[header, ...cells].map(({ length }) => length));
    return [header, ...cells].map((cell) => (numeric ? cell.padStart(width) : cell.padEnd(width)));
  });
  const lines = columns[0].map((_, line) =>
    clip(`  ${columns.map((column) => column[line]).join('  ')}`.trimEnd()),
  );
  return [heading, ...lines].join('\n');
}

const clip = (line) => (line.length > WIDTH ? `${line.slice(0, WIDTH - 1)}…` : line);

/** Decimals of a column: none for counts or above 100, else one from 10 on, else two. */
function columnDecimals(numbers) {
  const largest = Math.max(...numbers.map(Math.abs));
  if (largest >= 100 || numbers.every(Number.isInteger)) return 0;
  return largest >= 10 || numbers.every((number) => Number.isInteger(number * 10)) ? 1 : 2;
}

const format = (value) => (value === null ? '-' : String(Math.round(value * 100) / 100));

function addCloudWatch(files) {
  const summary = JSON.parse(readFileSync(SUMMARY_FILE, 'utf8'));
  const byFunction = new Map();
  for (const file of files) {
    for (const report of parseReports(readFileSync(file, 'utf8'))) {
      const name = report.function ?? path.parse(file).name;
      byFunction.set(name, [...(byFunction.get(name) ?? []), report]);
    }
  }
  if (byFunction.size === 0) throw new Error(`no REPORT line in ${files.join(', ')}`);
  summary.functions = [...byFunction].map(([name, reports]) => summariseFunction(name, reports));
  summary.origin.functions = MEASURED_ON_AWS;
  summary.per_thousand_requests = perThousandRequests(summary);
  writeFileSync(SUMMARY_FILE, `${JSON.stringify(summary, null, 2)}\n`);
  process.stdout.write(render(summary));
}

if (process.argv[1] === import.meta.filename) {
  const files = process.argv.slice(2);
  if (files.length === 0) {
    console.error(
      'usage: node load-tests/report.mjs EXPORT...   (exports of CloudWatch Logs, after a run with --api-url)',
    );
    process.exit(2);
  }
  addCloudWatch(files);
}
