// The effect of a long load on a stack: its last minute against its first.

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { Failure } from './failure.mjs';
import { gate } from './gates.mjs';
import { percentile } from './report-lines.mjs';

/** As often as Artillery reports, in ms. */
const SAMPLE_MS = 10_000;

/** Samples in a minute. */
const MINUTE = 60_000 / SAMPLE_MS;

const KB_IN_A_MB = 1000;

/** Samples the host with this process id every ten seconds. Call the result to stop; it returns the samples. */
export function watch(pid) {
  const samples = [];
  try {
    sample(pid); // a missing tool is reported before the load, not during it
  } catch (error) {
    throw new Failure(`the processes cannot be listed, so a soak could not show a leak: ${error.message}`);
  }
  const timer = setInterval(() => samples.push(sample(pid)), SAMPLE_MS);
  timer.unref(); // does not keep an interrupted run alive
  return () => {
    clearInterval(timer);
    return samples;
  };
}

/**
 * Resident memory in MB of a process, of its execution environments on average, and of its other children, and its open
 * descriptors, or null if the system has no /proc. Zeros for a process that is gone.
 */
export function sample(pid) {
  const processes = execFileSync('ps', ['-axo', 'pid=,ppid=,rss=,comm='], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(.*)$/.exec(line).slice(1))
    .map(([id, parent, rss, command]) => ({
      id: Number(id),
      parent: Number(parent),
      mb: Number(rss) / KB_IN_A_MB,
      isEnvironment: path.basename(command) === 'bootstrap',
    }));
  const sum = (list) => list.reduce((total, { mb }) => total + mb, 0);
  const below = processes.filter(({ parent }) => parent === pid);
  const environments = below.filter(({ isEnvironment }) => isEnvironment);
  const descriptors = `/proc/${pid}/fd`;
  return {
    host_mb: sum(processes.filter(({ id }) => id === pid)),
    sqs_mb: sum(below.filter(({ isEnvironment }) => !isEnvironment)),
    environment_mb: environments.length ? sum(environments) / environments.length : 0,
    environments: environments.length,
    descriptors: existsSync(descriptors) ? readdirSync(descriptors).length : null,
  };
}

/**
 * Medians of the first and the last minute: of latency from Artillery's report, of the rest from `samples`, if any.
 *
 * @param {any[]} intermediate
 * @param {any[] | null} samples
 */
export function trendOf(intermediate, samples) {
  // The last period ends with the load, so it is incomplete.
  const times = intermediate.slice(0, -1).map(({ summaries }) => summaries['http.response_time.2xx'] ?? {});
  const rows = [
    row('p50 of 2xx, ms', times.map(({ p50 }) => p50)),
    row('p95 of 2xx, ms', times.map(({ p95 }) => p95)),
  ];
  if (!samples) return rows;
  const known = (name, key) => row(name, samples.map((it) => it[key]));
  return [
    ...rows,
    known('memory of the host, DynamoDB in it, MB', 'host_mb'),
    known('memory of SQS, MB', 'sqs_mb'),
    known('memory of an environment, MB', 'environment_mb'),
    known('execution environments', 'environments'),
    ...(samples.some(({ descriptors }) => descriptors !== null) ? [known('open descriptors of the host', 'descriptors')] : []),
  ];
}

function row(name, values) {
  const known = values.filter((value) => value !== undefined && value !== null);
  const enough = known.length >= 2 * MINUTE;
  const median = (part) => (enough ? percentile(part, 50) : null);
  return { name, first: median(known.slice(0, MINUTE)), last: median(known.slice(-MINUTE)) };
}

/** Limits the growth from the first minute. A figure that is unknown, or less than two minutes of them, fails its gate. */
export function trendGates(rows, { max_slowdown: slowdown, max_growth: growth }) {
  return rows
    .filter(({ name }) => name !== 'execution environments')
    .map(({ name, first, last }) => {
      const ratio = first ? last / first : null;
      return gate(`last / first minute: ${name}`, '<=', name.endsWith(', ms') ? slowdown : growth, ratio);
    });
}
