// Latency and throughput of warm functions by oha, compared with the floor and the bare AWS endpoint, at 1 and 32
// connections.

import { execFile } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { parseLog, percentile } from '../load-tests/report-lines.mjs';
import { control, drain, Failure, request } from './stack.mjs';

const run = promisify(execFile);

const CONNECTIONS = [1, 32];

/** Seconds of each measurement, and of the one before it, in which environments start and which is thrown away. */
const MEASURED_S = 5;
const WARM_UP_S = 1;

/** The longest wait for a REPORT line after its response, in ms. */
const REPORT_TIMEOUT_MS = 10_000;

/** The local DynamoDB and SQS check no signature, so one header serves every call. */
const AUTHORIZATION =
  'AWS4-HMAC-SHA256 Credential=WarmPath/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0';

/** One row for each target and number of connections: latency in ms, requests a second. */
export async function measure(stack, oha, targets, say) {
  const rows = [];
  for (const connections of CONNECTIONS) {
    for (const target of targets) {
      say(`warm path: ${target.name}, ${connections} connection${connections > 1 ? 's' : ''}`);
      await attack(stack, oha, target, connections, WARM_UP_S);
      rows.push({ name: target.name, of: target.of, connections, ...(await attack(stack, oha, target, connections, MEASURED_S)) });
      await drain(stack);
    }
  }
  return rows;
}

async function attack({ api_url, aws_endpoint_url, ca_file }, oha, target, connections, seconds) {
  const headers = target.awsTarget
    ? [`authorization: ${AUTHORIZATION}`, 'x-amz-date: 20260101T000000Z', `x-amz-target: ${target.awsTarget}`]
    : [];
  const options = ['--no-tui', '--output-format', 'json', '-z', `${seconds}s`, '-c', connections, '-w', '--cacert', ca_file]
    .concat('-m', target.method, '-T', target.awsTarget ? 'application/x-amz-json-1.0' : 'application/json')
    .concat(headers.flatMap((header) => ['-H', header]))
    .concat(target.body ? ['-d', JSON.stringify(target.body())] : []);
  const url = target.awsTarget ? `${aws_endpoint_url}/` : api_url + target.route;
  const { stdout } = await run(oha, [...options, url].map(String), { maxBuffer: 1e9 });
  const { summary, latencyPercentiles: latency, statusCodeDistribution: statuses } = JSON.parse(stdout);
  if (!Object.keys(statuses).every((status) => status.startsWith('2')) || summary.successRate < 1) {
    throw new Failure(`${target.name}: some answers were not successes: ${JSON.stringify(statuses)}`);
  }
  return { p50_ms: latency.p50 * 1000, p99_ms: latency.p99 * 1000, requests_per_second: summary.requestsPerSec };
}

/**
 * Sends `count` requests at once to a function without environments, `bursts` times. Returns the longest wait of a burst
 * over its slowest cold start, and both in ms: the 10th, 50th and 90th percentile of all bursts.
 */
export async function scaleOut(stack, { method, route, functionId }, count, bursts) {
  const log = path.join(stack.log_dir, `${functionId}.log`);
  const seen = [];
  for (let burst = 0; burst < bursts; burst += 1) {
    await control(stack, 'POST', '/environments/reap');
    const begin = statSync(log).size;
    const waits = await Promise.all(Array.from({ length: count }, () => request(method, stack.api_url + route)));
    const cold = (await reports(log, begin, count)).filter(({ init_ms }) => init_ms !== null);
    const wait = Math.max(...waits.map(({ ms }) => ms));
    const coldStart = Math.max(...cold.map(({ init_ms, duration_ms }) => init_ms + duration_ms));
    seen.push({ environments: cold.length, wait, coldStart, ratio: wait / coldStart });
  }
  const spread = (key) => Object.fromEntries([10, 50, 90].map((percent) => [`p${percent}`, percentile(seen.map((it) => it[key]), percent)]));
  return {
    requests: count,
    bursts,
    most_environments: Math.max(...seen.map(({ environments }) => environments)),
    longest_wait_ms: spread('wait'),
    slowest_cold_start_ms: spread('coldStart'),
    wait_in_cold_starts: spread('ratio'),
  };
}

/** The REPORT lines after `begin`, once there are `expected`. Each is written after its response. */
async function reports(log, begin, expected) {
  const deadline = Date.now() + REPORT_TIMEOUT_MS;
  for (;;) {
    const found = parseLog(readFileSync(log).subarray(begin).toString());
    if (found.length >= expected) return found;
    if (Date.now() > deadline) throw new Failure(`${log}: ${found.length} REPORT lines of ${expected}`);
    await sleep(5);
  }
}
