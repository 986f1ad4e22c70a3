// CPU and wall time of init, first and warm invocations, for each target in turn.

import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '../load-tests/catalogue.mjs';
import { parseLog, percentile } from '../load-tests/report-lines.mjs';
import { zipBytes } from './peers.mjs';
import { control, Failure, request } from './stack.mjs';

/** The longest wait for a REPORT line after its response, in ms. */
const REPORT_TIMEOUT_MS = 10_000;

/**
 * Each round ends all environments, then makes one cold invocation and `warm` warm ones of each target. The order changes
 * from round to round, so that other work of the machine, and the caches that the target before has left, affect all
 * targets alike. A target behind a queue runs when the target that fills the queue does.
 */
export async function measure(stack, targets, { rounds, warm }, say) {
  for (const target of targets) target.begin = logOf(stack, target).length;
  const asked = targets.filter(({ behindQueue }) => !behindQueue);
  const random = seededRandom(1);
  for (let round = 0; round < rounds; round += 1) {
    await control(stack, 'POST', '/environments/reap');
    for (const target of shuffled(asked, random)) {
      for (let count = 0; count <= warm; count += 1) await invoke(stack, target);
      await reportsOf(stack, target, (round + 1) * (warm + 1));
    }
    say(`round ${round + 1} of ${rounds}`);
  }
  const rows = [];
  for (const target of targets) {
    rows.push(summarise(target, await reportsOf(stack, target, rounds * (warm + 1)), rounds));
  }
  for (const [index, target] of targets.entries()) {
    Object.assign(rows[index], await callsOf(stack, target), await sizes(target));
  }
  return rows;
}

/** The same items in a random order. */
function shuffled(items, random) {
  const order = [...items];
  for (let last = order.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}

async function invoke(stack, { method, route, body, check, after }) {
  const { text } = await request(method, stack.api_url + route, body?.());
  check?.(text);
  await after?.(stack);
}

function logOf({ log_dir }, { functionId, begin = 0 }) {
  return readFileSync(path.join(log_dir, `${functionId}.log`)).subarray(begin);
}

/** The target's REPORT lines, once there are `expected`. Each is written after its response. */
async function reportsOf(stack, target, expected) {
  const deadline = Date.now() + REPORT_TIMEOUT_MS;
  for (;;) {
    const reports = parseLog(logOf(stack, target).toString());
    if (reports.length >= expected) return reports;
    if (Date.now() > deadline) throw new Failure(`${target.name}: ${reports.length} REPORT lines of ${expected}`);
    await sleep(5);
  }
}

function summarise({ name, note }, reports, rounds) {
  const cold = reports.filter(({ init_ms }) => init_ms !== null);
  const warm = reports.filter(({ init_ms }) => init_ms === null);
  const bad = reports.find(({ status, cpu_ms }) => status !== null || cpu_ms === null);
  if (bad) throw new Failure(`${name}: an invocation failed, or its CPU time is unknown: ${JSON.stringify(bad)}`);
  // A busy host may start one more, if the environment took too long to ask for its next event.
  if (cold.length < rounds) throw new Failure(`${name}: ${cold.length} cold starts in ${rounds} rounds`);
  return {
    name,
    note,
    cold_starts: cold.length,
    warm_invocations: warm.length,
    cold_cpu_ms: spread(cold.map(({ init_cpu_ms, cpu_ms }) => init_cpu_ms + cpu_ms)),
    init_cpu_ms: spread(cold.map(({ init_cpu_ms }) => init_cpu_ms)),
    first_cpu_ms: spread(cold.map(({ cpu_ms }) => cpu_ms)),
    warm_cpu_ms: spread(warm.map(({ cpu_ms }) => cpu_ms)),
    init_ms: spread(cold.map(({ init_ms }) => init_ms)),
    first_ms: spread(cold.map(({ duration_ms }) => duration_ms)),
    warm_ms: spread(warm.map(({ duration_ms }) => duration_ms)),
    peak_memory_mb: Math.max(...reports.map(({ peak_memory_mb }) => peak_memory_mb)),
  };
}

/** The 10th, 50th and 90th percentile. */
const spread = (values) => ({ p10: percentile(values, 10), p50: percentile(values, 50), p90: percentile(values, 90) });

/** The exact AWS calls of one cold and of one warm invocation, and the connections that the cold one opened. */
async function callsOf(stack, target) {
  const counted = async () => {
    await control(stack, 'POST', '/meter/reset');
    await invoke(stack, target);
    const { functions } = await control(stack, 'GET', '/meter');
    return functions[target.functionId] ?? { connections: 0, tls_handshakes: 0, operations: {} };
  };
  await control(stack, 'POST', '/environments/reap');
  const cold = await counted();
  const warm = await counted();
  return { connections: cold.connections, tls_handshakes: cold.tls_handshakes, cold_calls: operations(cold), warm_calls: operations(warm) };
}

const operations = (caller) =>
  Object.entries(caller.operations).map(([operation, { calls, read_units, write_units }]) => ({ operation, calls, read_units, write_units }));

async function sizes({ binary, upload, crates }) {
  return { binary_bytes: binary ? statSync(binary).size : null, zip_bytes: zipBytes(upload), crates: crates ? await crates() : null };
}
