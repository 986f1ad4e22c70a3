// Latency and throughput of warm functions by oha, beside the floor and the bare AWS endpoint, at 1 and 32 connections.

import { execFile } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { parseLog } from '../load-tests/report-lines.mjs';
import { control, drain, Failure, request } from './stack.mjs';

const run = promisify(execFile);

const CONNECTIONS = [1, 32];

/** Seconds of each measurement, and of the one before it that is thrown away: environments start in it. */
const MEASURED_S = 5;
const WARM_UP_S = 1;

/** The local DynamoDB and SQS check no signature, so one header serves every call. */
const AUTHORIZATION =
  'AWS4-HMAC-SHA256 Credential=WarmPath/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0';

/** One row for each target and count of connections: latency in ms, requests a second. */
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
    throw new Failure(`${target.name}: not every answer was a success: ${JSON.stringify(statuses)}`);
  }
  return { p50_ms: latency.p50 * 1000, p99_ms: latency.p99 * 1000, requests_per_second: summary.requestsPerSec };
}

/** `count` requests at once to a function without environments: the longest wait, and the slowest cold start of them. */
export async function scaleOut(stack, { method, route, functionId }, count) {
  await control(stack, 'POST', '/environments/reap');
  const log = path.join(stack.log_dir, `${functionId}.log`);
  const begin = statSync(log).size;
  const waits = await Promise.all(Array.from({ length: count }, () => request(method, stack.api_url + route)));
  await new Promise((resolve) => setTimeout(resolve, 200)); // REPORT lines follow their responses
  const reports = parseLog(readFileSync(log).subarray(begin).toString());
  const cold = reports.filter(({ init_ms }) => init_ms !== null);
  return {
    requests: count,
    environments: cold.length,
    longest_wait_ms: Math.max(...waits.map(({ ms }) => ms)),
    slowest_cold_start_ms: Math.max(...cold.map(({ init_ms, duration_ms }) => init_ms + duration_ms)),
  };
}
