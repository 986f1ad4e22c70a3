// The CPU time of a cold start and of a warm request, compared with other ways to write the same function: `make bench`.
//
//   node benchmarks/bench.mjs [--ladder] [--rounds 25] [--warm 14] [--local target/host/local] [--oha PATH]
//
// --ladder measures the candidates of docs/cold-start.md instead of the peers. Writes target/bench/results.json. Exit
// code: 0 if every target is reached, 1 if not, or if anything failed.

import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { products } from '../load-tests/catalogue.mjs';
import { stopAll } from '../load-tests/processes.mjs';
import { commit, machine, MEASURED, SIMULATED } from '../load-tests/report.mjs';
import * as cold from './cold.mjs';
import * as instructions from './instructions.mjs';
import { coldStart, MEMORY_SIZES, throttled } from './model.mjs';
import { LADDER, OUT, ours, PEERS, SYSTEM_ROOTS, tidy } from './peers.mjs';
import { Failure, readTemplate, request, startLocal, withPeers } from './stack.mjs';
import { table } from './table.mjs';
import { awsCalls, getProduct, PRODUCT, requestsOfTheShop, targets } from './targets.mjs';
import { plantRoot, writeSystemRoots } from './trust.mjs';
import * as warmPath from './warm-path.mjs';

/** Parallel requests of the scale-out test: more than the cores of most machines, fewer than a new account's limit of ten. */
const SCALE_OUT = { requests: 8, bursts: 15 };

const { values: options } = parseArgs({
  options: {
    'ladder': { type: 'boolean', default: false },
    'rounds': { type: 'string', default: '25' },
    'warm': { type: 'string', default: '14' },
    'local': { type: 'string', default: path.join(OUT, '../host/local') },
    'oha': { type: 'string', default: path.join(OUT, '../tools/bin/oha') },
  },
});
const rounds = { rounds: Number(options.rounds), warm: Number(options.warm) };

const say = (line) => process.stderr.write(`${line}\n`);

async function main() {
  mkdirSync(OUT, { recursive: true });
  const template = readTemplate();
  const wanted = options.ladder ? [PEERS[0], ...LADDER] : PEERS;
  const functions = options.ladder ? [] : shopFunctions(template);
  tidy([...PEERS, ...LADDER, ...functions].map(({ name }) => name));
  for (const copy of functions) await copy.prepare();
  const { ready, absent } = await prepare(wanted);
  const stack = await startLocal(options, withPeers(template, ready, functions));
  writeSystemRoots(SYSTEM_ROOTS, stack.ca_file);
  for (const { plantsInto, binary } of [...functions, ...ready]) if (plantsInto) plantRoot(plantsInto, binary, stack.ca_file);
  const orderId = await seed(stack);

  const requests = requestsOfTheShop(orderId);
  const shop = functions.map((one) => ({ ...one, ...requests[one.name] }));
  const peers = ready.map((peer) => getProduct(peer));
  const rows = await cold.measure(stack, [...shop, ...peers], rounds, say);
  /** @type {Record<string, any>} */
  const result = {
    started_at: new Date().toISOString(),
    machine: machine(),
    commit: commit(),
    functions: rows.slice(0, shop.length),
    peers: rows.slice(shop.length),
    absent,
    instructions: await countInstructions(stack, [...shop.filter(({ name }) => name === 'get-product'), ...peers]),
  };
  const floorCpu = result.peers.find(({ name }) => name === 'floor').warm_cpu_ms.p50;
  if (!options.ladder) Object.assign(result, await warm(stack, shop, peers, floorCpu));
  result.targets = options.ladder ? [] : targets(result);
  writeFileSync(path.join(OUT, options.ladder ? 'ladder.json' : 'results.json'), `${JSON.stringify(result, null, 2)}\n`);
  process.stdout.write(render(result));
  return result.targets.every(({ pass }) => pass) ? 0 : 1;
}

/** Builds or installs each peer. One that fails is reported with its reason, and the others are measured. */
async function prepare(wanted) {
  const ready = [];
  const absent = [];
  for (const peer of wanted) {
    say(`preparing ${peer.name}`);
    try {
      await peer.prepare();
      ready.push(peer);
    } catch (error) {
      const reason = `${error.stderr?.trim().split('\n').at(-1) || error.message}`;
      say(`${peer.name} is left out: ${error.stderr?.trim() || error.message}`);
      absent.push({ name: peer.name, reason });
    }
  }
  if (!ready.some(({ name }) => name === 'floor')) throw new Failure('there is nothing to compare with, because the floor was not built');
  return { ready, absent };
}

/** Stores the data that the targets read; resolves with the id of an order. */
async function seed({ api_url }) {
  const { id, version, ...body } = PRODUCT;
  await request('PUT', `${api_url}/products/${id}`, body);
  for (const { id: other, body: product } of products.slice(0, 100)) {
    if (other !== id) await request('PUT', `${api_url}/products/${other}`, product);
  }
  const order = await request('POST', `${api_url}/orders`, requestsOfTheShop('')['place-order'].body());
  return JSON.parse(order.text).id;
}

/** The shop's functions in the template's order. */
function shopFunctions(template) {
  return Object.entries(template.Resources)
    .filter(([, { Type }]) => Type === 'AWS::Serverless::Function')
    .map(([functionId, { Properties }]) => {
      const codeDir = path.resolve(import.meta.dirname, '..', Properties.CodeUri);
      return { ...ours(path.basename(codeDir), codeDir), functionId };
    });
}

async function countInstructions(stack, counted) {
  const rows = [];
  for (const target of counted) {
    say(`instructions of ${target.name}`);
    rows.push({ name: target.name, ...(await instructions.count(stack, target)) });
  }
  return rows;
}

/** Warm functions under load, the host's share of their latency, and how the host scales. */
async function warm(stack, shop, peers, floorCpu) {
  if (!existsSync(options.oha)) {
    say(`the warm path is not measured, because ${options.oha} is missing; \`make bench\` installs it`);
    return { warm_path: [], host: null, scaling: null };
  }
  const byName = (name) => [...shop, ...peers].find((target) => target.name === name);
  const names = ['floor', 'get-product', 'list-products', 'batch-get-products', 'place-order'];
  const rows = await warmPath.measure(stack, options.oha, [...names.map(byName), ...awsCalls(stack)], say);
  const floor = rows.find(({ name, connections }) => name === 'floor' && connections === 1);
  return {
    warm_path: rows,
    // Everything except the function's own CPU time counts as the host's: HTTP on both sides, thawing, the kernel.
    host: { p50_ms: floor.p50_ms - floorCpu, p99_ms: floor.p99_ms - floorCpu },
    scaling: await warmPath.scaleOut(stack, byName('get-product'), SCALE_OUT.requests, SCALE_OUT.bursts),
  };
}

/** @param {Record<string, any>} result */
function render({ machine: host, functions, peers, absent, instructions: counted, warm_path = [], scaling, targets: goals, ...rest }) {
  const all = [...functions, ...peers];
  const floor = peers.find(({ name }) => name === 'floor');
  const times = (row, key) => row[key].p50 / floor[key].p50;
  const spread = ({ p10, p50, p90 }) => [p50, p10, p90];
  const blocks = [
    `\n${host.cpu ?? 'unknown processor'}, ${host.cores} cores, ${host.memory_gb} GB, ${host.os}, node ${host.node}\n` +
      `commit ${rest.commit ?? 'unknown'}; ${floor.cold_starts} cold starts and ${floor.warm_invocations} warm invocations of each, in turn`,
    table('CPU time, times the floor (a Rust function that does nothing)', MEASURED, ['', 'cold', 'init', 'first', 'warm', ''],
      all.map((row) => [row.name, times(row, 'cold_cpu_ms'), times(row, 'init_cpu_ms'), times(row, 'first_cpu_ms'), times(row, 'warm_cpu_ms'), row.note])),
    table('CPU time in ms: median, 10th and 90th percentile', MEASURED,
      ['', 'cold', 'p10', 'p90', 'init', 'p10', 'p90', 'first', 'p10', 'p90', 'warm', 'p10', 'p90'],
      all.map((row) => [row.name, ...spread(row.cold_cpu_ms), ...spread(row.init_cpu_ms), ...spread(row.first_cpu_ms), ...spread(row.warm_cpu_ms)])),
    table('Wall time in ms, from the REPORT lines', MEASURED, ['', 'init', 'p10', 'p90', 'first', 'p10', 'p90', 'warm', 'p10', 'p90'],
      all.map((row) => [row.name, ...spread(row.init_ms), ...spread(row.first_ms), ...spread(row.warm_ms)])),
    table('Size; connections of a cold invocation', MEASURED,
      ['', 'peak MB', 'binary MB', 'zip MB', 'crates', 'connections', 'TLS handshakes'],
      all.map((row) => [row.name, row.peak_memory_mb, megabytes(row.binary_bytes), megabytes(row.zip_bytes), row.crates, row.connections, row.tls_handshakes])),
    table('AWS calls of one warm invocation, and of a cold one if it makes more', MEASURED, ['', 'warm', 'read', 'write', 'cold'],
      all.map(callRow)),
    table('Millions of instructions', MEASURED, ['', 'init', 'first', 'warm', ''], counted.map((row) => [row.name, row.init, row.first, row.warm, row.absent ?? ''])),
    table('Ms from a request to the first response of a new environment, by MB of memory', SIMULATED, ['', ...MEMORY_SIZES.map(String)],
      all.map((row) => [row.name, ...MEMORY_SIZES.map((memory) => Math.round(coldStart(predictable(row), memory)))])),
    table('Ms of a warm invocation, waiting for AWS not included, by MB of memory', SIMULATED, ['', ...MEMORY_SIZES.map(String)],
      all.map((row) => [row.name, ...MEMORY_SIZES.map((memory) => throttled(row.warm_cpu_ms.p50, memory))])),
  ];
  if (absent.length) blocks.push(table('Not measured', MEASURED, ['', 'reason'], absent.map(({ name, reason }) => [name, reason])));
  if (warm_path.length) blocks.push(renderWarmPath(warm_path));
  if (scaling) {
    const { wait_in_cold_starts: ratio, longest_wait_ms: wait, slowest_cold_start_ms: coldStart } = scaling;
    blocks.push(table(`${scaling.requests} requests at once without an environment, ${scaling.bursts} times`, MEASURED, ['', 'p10', 'p50', 'p90'], [
      ['longest wait, ms', wait.p10, wait.p50, wait.p90],
      ['slowest cold start, ms', coldStart.p10, coldStart.p50, coldStart.p90],
      ['longest wait / slowest cold start', ratio.p10, ratio.p50, ratio.p90],
    ]));
  }
  if (goals.length) {
    blocks.push(table('Targets', MEASURED, ['', 'limit', 'value', ''], goals.map(({ name, limit, value, pass }) => [name, limit, value, pass ? 'pass' : 'FAIL'])));
  }
  return `${blocks.join('\n\n')}\n`;
}

const megabytes = (bytes) => (bytes === null ? null : bytes / 1_000_000);

const predictable = (row) => ({ initCpu: row.init_cpu_ms.p50, firstCpu: row.first_cpu_ms.p50, calls: row.warm_calls.length > 0 });

function callRow({ name, warm_calls, cold_calls }) {
  const list = (operations) => operations.map(({ operation, calls }) => `${calls} ${operation.replace(/^\w+\./, '')}`).join(', ') || 'none';
  const sum = (key) => warm_calls.reduce((total, row) => total + row[key], 0);
  const [warm, coldCalls] = [list(warm_calls), list(cold_calls)];
  return [name, warm, sum('read_units'), sum('write_units'), coldCalls === warm ? '' : coldCalls];
}

/** Each part's share of p50: the host's is the floor's latency, AWS's the latency of the bare calls, the function's is the rest. */
function renderWarmPath(rows) {
  const at = (name, connections) => rows.find((row) => row.name === name && row.connections === connections);
  return table('Warm path by oha: ms, and the shares of p50', MEASURED,
    ['', 'clients', 'p50', 'p99', 'requests/s', 'host', 'AWS calls', 'function'],
    rows.map((row) => {
      const host = at('floor', row.connections).p50_ms;
      const calls = rows.filter(({ of, connections }) => of === row.name && connections === row.connections);
      const aws = calls.reduce((sum, { p50_ms }) => sum + p50_ms, 0);
      const shares = calls.length ? [host, aws, row.p50_ms - host - aws] : [null, null, null];
      return [row.of ? `  AWS: ${row.name}` : row.name, row.connections, row.p50_ms, row.p99_ms, row.requests_per_second, ...shares];
    }));
}

process.exitCode = 1;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => stopAll().finally(() => process.exit(1)));
}
try {
  process.exitCode = await main();
} catch (error) {
  console.error(`benchmark failed: ${error instanceof Failure ? error.message : error.stack}`);
} finally {
  await stopAll();
}
