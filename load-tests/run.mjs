// Runs the load test: `make load-test`.
//
//   node load-tests/run.mjs [--profile load] [--local target/host/local --node PATH]   the stack on this machine
//   node load-tests/run.mjs [--profile load] --api-url https://…                       a stack that is deployed
//
// Starts the stack, loads the catalogue, runs Artillery, waits until every order is final, checks the gates of
// artillery.yml, prints one table, writes target/load-test/summary.json and stops whatever it started.
// Exit code: 0 if every gate passed, 1 if one failed or anything went wrong, 128 and the signal if it was interrupted.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import yaml from 'js-yaml';
import { products } from './catalogue.mjs';
import { evaluate, gate } from './gates.mjs';
import { start, stopAll } from './processes.mjs';
import * as report from './report.mjs';

const HERE = import.meta.dirname;
const ROOT = path.dirname(HERE);

/** How many products are written at once: fewer than the ten concurrent runs that a new AWS account starts with. */
const SEED_CONCURRENCY = 8;

/** A request of the runner itself, in ms: longer than the 5 s that a function may take, shorter than the API's 30 s. */
const REQUEST_TIMEOUT_MS = 10_000;

/** Ms for `local` to come up: two emulators and eight functions take a second or two. */
const START_TIMEOUT_MS = 60_000;

/** Ms for the queues to run dry after the load: one visibility timeout (60 s, template.yaml) and a retry. */
const DRAIN_TIMEOUT_MS = 75_000;

/** An error whose message says all that a user needs: printed as one line, without a stack. */
class Failure extends Error {}

const interrupted = new AbortController();

async function main() {
  const options = parseOptions();
  const { config } = yaml.safeLoad(readFileSync(path.join(HERE, 'artillery.yml'), 'utf8'));
  const profile = config.environments[options.profile];
  if (!profile) {
    throw new Failure(
      `there is no profile "${options.profile}"; there are: ${Object.keys(config.environments).join(', ')}`,
    );
  }
  for (const old of ['summary.json', 'ready.json', 'local.log', 'artillery.log', 'artillery.json', 'logs']) {
    rmSync(path.join(options.out, old), { recursive: true, force: true });
  }
  mkdirSync(options.out, { recursive: true });

  const startedAt = new Date();
  const stack = options['api-url']
    ? { api_url: options['api-url'].replace(/\/+$/, '') }
    : await startLocal(options);
  await seed(stack);
  if (stack.control_url) {
    if (options.profile === 'spike') await control(stack, 'POST', '/environments/reap');
    await control(stack, 'POST', '/meter/reset');
  } else if (options.profile === 'spike') {
    say(
      'note: Lambda keeps the environments that loading the catalogue has started; it alone decides when they go',
    );
  }
  const logSizes = stack.log_dir && report.logSizes(stack.log_dir);

  const result =
    options.profile === 'stress'
      ? await climb(options, stack, config, profile)
      : await load(options, stack, config, profile);

  const meter = stack.control_url ? await drain(stack) : null;
  await stopAll(); // the log files are complete once `local` has ended
  const functions = stack.log_dir ? report.functionsFromLogs(stack.log_dir, logSizes) : [];

  const summary = {
    profile: options.profile,
    api_url: stack.api_url,
    started_at: startedAt.toISOString(),
    ...result,
    gates: [...result.gates, ...(meter ? stackGates(meter, functions) : [])],
    functions,
    aws_calls: meter?.functions ?? null,
    queues: meter?.queues ?? null,
    machine: report.machine(),
    commit: report.commit(),
    origin: {
      routes: report.MEASURED,
      functions: meter ? report.MEASURED : report.NEEDS_AWS,
      aws_calls: meter ? report.MEASURED : report.NEEDS_AWS,
      consumed_capacity: meter ? report.SIMULATED : report.NEEDS_AWS,
      queues: meter ? report.SIMULATED : report.NEEDS_AWS,
    },
  };
  summary.per_thousand_requests = report.perThousandRequests(summary);
  writeFileSync(path.join(options.out, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  process.stdout.write(report.render(summary));
  return summary.gates.every(({ pass }) => pass) ? 0 : 1;
}

function parseOptions() {
  const parse = (config) => {
    try {
      return parseArgs(config);
    } catch (error) {
      throw new Failure(error.message);
    }
  };
  const { values } = parse({
    options: {
      profile: { type: 'string', default: 'load' },
      'api-url': { type: 'string' },
      local: { type: 'string', default: path.join(ROOT, 'target/host/local') },
      template: { type: 'string', default: path.join(ROOT, 'template.yaml') },
      'code-dir': { type: 'string' },
      node: { type: 'string', default: process.execPath },
      out: { type: 'string', default: path.dirname(report.SUMMARY_FILE) },
    },
  });
  values.out = path.resolve(values.out);
  return values;
}

/** Starts `local` on free ports; resolves with what its ready file says. */
async function startLocal(options) {
  const readyFile = path.join(options.out, 'ready.json');
  const output = path.join(options.out, 'local.log');
  const child = start(
    options.local,
    [
      '--template',
      options.template,
      '--port',
      '0',
      '--control-port',
      '0',
      '--node',
      options.node,
      '--log-dir',
      path.join(options.out, 'logs'),
      '--ready-file',
      readyFile,
      ...(options['code-dir'] ? ['--code-dir', options['code-dir']] : []),
    ],
    output,
  );
  say(`starting ${options.template} on this machine`);

  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!existsSync(readyFile)) {
    if (child.ended) {
      throw new Failure(
        `${options.local} ended before it was ready (${child.ended})\n${readFileSync(output, 'utf8')}`.trim(),
      );
    }
    if (Date.now() > deadline)
      throw new Failure(`${options.local} was not ready within ${START_TIMEOUT_MS / 1000} s; see ${output}`);
    await pause(50);
  }
  return { ...JSON.parse(readFileSync(readyFile, 'utf8')), child };
}

/** Puts the catalogue through the API, the first product alone: a stack that is down or broken fails at once. */
async function seed({ api_url }) {
  const queue = products.values();
  let done = 0;
  let shown = 0;
  const write = async ({ id, body }) => {
    const { status, text } = await request('PUT', `${api_url}/products/${id}`, body);
    if (status !== 200 && status !== 201) {
      throw new Failure(
        `the stack is broken: PUT ${api_url}/products/${id} answered ${status} instead of 200 or 201: ${text.slice(0, 200)}`,
      );
    }
    done += 1;
    if (done === products.length || Date.now() - shown > 1000) {
      shown = Date.now();
      say(`catalogue: ${done} of ${products.length} products`);
    }
  };
  const writer = async () => {
    for (const product of queue) await write(product);
  };
  await write(queue.next().value);
  await Promise.all(Array.from({ length: SEED_CONCURRENCY }, writer));
}

/** One run of Artillery with all its gates. */
async function load(options, stack, config, profile) {
  const { aggregate, exitCode } = await artillery(options, stack, profile.phases);
  const seconds = (aggregate.lastMetricAt - aggregate.firstMetricAt) / 1000;
  const routes = report.routesOf(aggregate);
  const rate = seconds > 0 ? routes.reduce((sum, { requests }) => sum + requests, 0) / seconds : null;
  const { min_requests_per_second: minimum } = profile.variables ?? {};
  return {
    requests_per_second: rate,
    gates: [
      ...evaluate(config.plugins.ensure, aggregate),
      ...(minimum ? [gate('requests per second', '>=', minimum, rate)] : []),
      gate("Artillery's exit code", '==', 0, exitCode),
    ],
    routes,
    orders: report.ordersOf(aggregate),
    errors: report.errorsOf(aggregate),
  };
}

/** The steps of the stress profile until a gate breaks. The result is that of the last step that held, or of the first. */
async function climb(options, stack, config, profile) {
  const steps = [];
  let held = null;
  let knee = null;
  for (const phase of profile.phases) {
    const result = await load(options, stack, config, { phases: [phase] });
    const broken = result.gates.filter(({ pass }) => !pass).map(({ name }) => name);
    steps.push({
      name: phase.name,
      requests: result.routes.reduce((sum, { requests }) => sum + requests, 0),
      requests_per_second: result.requests_per_second,
      p99_ms: result.gates.find(({ name }) => name === 'http.response_time.2xx.p99')?.value ?? null,
      broken,
    });
    if (broken.length) {
      return { ...(held ?? result), stress: { knee, steps } };
    }
    held = result;
    knee = phase.name;
  }
  return { ...held, stress: { knee, steps } };
}

/** Runs Artillery on `phases`; resolves with the totals of its report. Its own output goes to artillery.log. */
async function artillery(options, stack, phases) {
  const output = path.join(options.out, 'artillery.log');
  const reportFile = path.join(options.out, 'artillery.json');
  rmSync(reportFile, { force: true });
  const env = {
    ...process.env,
    API_URL: stack.api_url,
    ARTILLERY_DISABLE_TELEMETRY: 'true',
    CUSTOM_REPORTERS: path.join(HERE, 'progress.mjs'),
  };
  delete env.ARTILLERY_DISABLE_ENSURE;
  if (stack.control_url) {
    // Artillery would send what goes to this machine through a proxy too
    delete env.HTTP_PROXY;
    delete env.HTTPS_PROXY;
  }
  const seconds = phases.reduce((sum, { duration }) => sum + duration, 0);
  say(`load: ${phases.map(({ name }) => name).join(', ')}, ${seconds} s`);
  const child = start(
    process.execPath,
    [
      path.join(HERE, 'node_modules/artillery/bin/run'),
      'run',
      '--quiet',
      '--config',
      path.join(HERE, 'artillery.yml'),
      '--environment',
      options.profile,
      '--overrides',
      JSON.stringify({ config: { phases } }),
      '--output',
      reportFile,
      path.join(HERE, 'scenarios/index.js'),
    ],
    output,
    env,
  );

  while (!child.ended) {
    if (stack.child?.ended)
      throw new Failure(
        `the stack ended during the load (${stack.child.ended}); see ${options.out}/local.log`,
      );
    await pause(100);
  }
  if (!existsSync(reportFile)) {
    throw new Failure(
      `Artillery wrote no report (${child.ended}):\n${readFileSync(output, 'utf8').trim().split('\n').slice(-15).join('\n')}`,
    );
  }
  return { ...JSON.parse(readFileSync(reportFile, 'utf8')), exitCode: child.exitCode };
}

/** Waits until the queues with a trigger are empty, then resolves with the meter. */
async function drain(stack) {
  const deadline = Date.now() + DRAIN_TIMEOUT_MS;
  let told = false;
  for (;;) {
    const meter = await control(stack, 'GET', '/meter');
    const left = messagesIn(Object.values(meter.queues).filter(hasTrigger));
    if (left === 0) return meter;
    if (Date.now() > deadline) {
      say(`queues: ${left} messages are still there after ${DRAIN_TIMEOUT_MS / 1000} s`);
      return meter;
    }
    if (!told) say(`queues: waiting for ${left} messages`);
    told = true;
    await pause(200);
  }
}

const hasTrigger = ({ invocations }) => invocations !== undefined;
const messagesIn = (queues) =>
  queues.reduce((sum, { visible, in_flight, delayed }) => sum + visible + in_flight + delayed, 0);

/** Gates that only the stack on this machine can answer. Their limit is none at all. */
function stackGates({ queues }, functions) {
  const sum = (key) => (functions.length ? functions.reduce((total, row) => total + row[key], 0) : null);
  const [worked, dead] = [true, false].map((trigger) =>
    Object.values(queues).filter((queue) => hasTrigger(queue) === trigger),
  );
  return [
    gate('messages left in the queues', '==', 0, messagesIn(worked)),
    gate('messages in dead-letter queues', '==', 0, messagesIn(dead)),
    gate('errors of functions', '==', 0, sum('errors')),
    gate('timeouts of functions', '==', 0, sum('timeouts')),
  ];
}

async function control({ control_url }, method, route) {
  const { status, text } = await request(method, control_url + route);
  if (status < 200 || status > 299)
    throw new Failure(`${method} ${control_url}${route} answered ${status}: ${text.slice(0, 200)}`);
  return text ? JSON.parse(text) : null;
}

async function request(method, url, body) {
  try {
    const response = await fetch(url, {
      method,
      ...(body && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
      signal: AbortSignal.any([interrupted.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]),
    });
    return { status: response.status, text: await response.text() };
  } catch (error) {
    interrupted.signal.throwIfAborted();
    throw new Failure(
      `the stack is down: ${method} ${url}: ${error.cause?.code ?? error.cause?.message ?? error.message}`,
    );
  }
}

const pause = (ms) => sleep(ms, undefined, { signal: interrupted.signal });

function say(line) {
  process.stdout.write(`${line}\n`);
}

const interrupt = (signal) => interrupted.abort(new Failure(`interrupted by ${signal}`, { cause: signal }));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, interrupt);
process.stdout.on('error', () => interrupt('SIGPIPE')); // whoever read the output has gone

process.exitCode = 1;
try {
  process.exitCode = await main();
} catch (error) {
  const { aborted } = interrupted.signal;
  const reason = aborted ? interrupted.signal.reason : error;
  if (aborted) process.exitCode = 128 + os.constants.signals[reason.cause];
  console.error(`load test failed: ${reason instanceof Failure ? reason.message : reason.stack}`);
} finally {
  await stopAll();
}
