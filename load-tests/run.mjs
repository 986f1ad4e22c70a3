// Runs the load test: `make load-test`.
//
//   node load-tests/run.mjs [--profile load] [--local target/host/local]   the stack on this machine
//   node load-tests/run.mjs [--profile load] --api-url https://… [--stack shop-dev]    a stack that is deployed; named, its
//                                                                                      figures of CloudWatch are added, and
//                                                                                      its own latency is judged
//
// Starts the stack, loads the catalogue, runs Artillery, waits until every order is final and checks the gates of
// artillery.yml. Then prints one table, writes target/load-test/summary.json and stops everything that it started.
// Exit code: 0 if every gate passed, 1 if one failed or anything went wrong, 128 and the signal if it was interrupted.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import yaml from 'js-yaml';
import { requireStack, useRegion } from '../deploy/aws.mjs';
import { latencyInLogs, reportsInLogs } from '../deploy/cloudwatch.mjs';
import { Failure } from './failure.mjs';
import { evaluate, evaluateLogged, gate } from './gates.mjs';
import { start, stopAll } from './processes.mjs';
import * as report from './report.mjs';
import { apiUrlOf, request, seed } from './seed.mjs';
import { regionOf } from './sign.mjs';
import { trendGates, trendOf, watch } from './trend.mjs';

const HERE = import.meta.dirname;
const ROOT = path.dirname(HERE);

/** Ms for `local` to start: two emulators and eight functions take a second or two. */
const START_TIMEOUT_MS = 60_000;

/** Ms for the queues to become empty after the load: one visibility timeout (60 s, template.yaml) and a retry. */
const DRAIN_TIMEOUT_MS = 75_000;

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
  if (options.stack) {
    await useRegion();
    await requireStack(options.stack);
  }
  for (const old of ['summary.json', 'ready.json', 'local.log', 'artillery.log', 'artillery.json', 'logs']) {
    rmSync(path.join(options.out, old), { recursive: true, force: true });
  }
  mkdirSync(options.out, { recursive: true });

  const startedAt = new Date();
  const stack = options['api-url']
    ? { api_url: apiUrlOf(options['api-url']) }
    : await startLocal(options);
  const signRegion = options['sign-region'] ?? regionOf(stack.api_url) ?? undefined;
  await seed(stack.api_url, { signRegion, signal: interrupted.signal, say });
  if (stack.control_url) {
    if (options.profile === 'spike') await control(stack, 'POST', '/environments/reap');
    await control(stack, 'POST', '/meter/reset');
  } else if (options.profile === 'spike') {
    say(
      'note: Lambda keeps the environments that loading the catalogue has started; it alone decides when they go',
    );
  }
  const logSizes = stack.log_dir && report.logSizes(stack.log_dir);
  const loadAt = new Date();

  const target = { ...stack, signRegion };
  const result =
    options.profile === 'stress'
      ? await climb(options, target, config, profile)
      : await load(options, target, config, profile);

  const meter = stack.control_url ? await drain(stack) : null;
  await stopAll(); // the log files are complete only when `local` has ended
  const logged = options.stack ? await reportsInLogs(options.stack, { startedAt, loadAt, runs: answered(result), say, pause }) : [];
  const functions = stack.log_dir ? report.functionsFromLogs(stack.log_dir, logSizes) : logged;

  const summary = {
    profile: options.profile,
    api_url: stack.api_url,
    started_at: startedAt.toISOString(),
    ...result,
    gates: [...result.gates, ...(meter ? stackGates(meter, functions) : [])],
    functions,
    aws_calls: meter?.functions ?? null,
    queues: meter?.queues ?? null,
    custom_metrics: stack.log_dir ? report.customMetricsInLogs(stack.log_dir) : null,
    machine: report.machine(),
    commit: report.commit(),
    origin: {
      routes: report.MEASURED,
      gates: options.stack ? report.LATENCY_LOGGED : report.MEASURED,
      functions: meter ? report.MEASURED : functions.length ? report.MEASURED_ON_AWS : report.NEEDS_AWS,
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
  /** @type {typeof parseArgs} */
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
      'stack': { type: 'string' },
      'sign-region': { type: 'string' },
      local: { type: 'string', default: path.join(ROOT, 'target/host/local') },
      template: { type: 'string', default: path.join(ROOT, 'template.yaml') },
      'code-dir': { type: 'string' },
      out: { type: 'string', default: path.dirname(report.SUMMARY_FILE) },
    },
  });
  if (values.stack && !values['api-url']) throw new Failure('--stack names the deployed stack behind --api-url, which is missing');
  values.out = path.resolve(values.out);
  return values;
}

/** Seeding and `stress` send more than the template lets through, above which the API answers 429. */
const UNTHROTTLED = ['ThrottleRate=10000', 'ThrottleBurst=5000', 'OrderThrottleRate=10000', 'OrderThrottleBurst=5000'];

/** Starts `local` on free ports; resolves with the content of its ready file. */
async function startLocal(options) {
  const readyFile = path.join(options.out, 'ready.json');
  const output = path.join(options.out, 'local.log');
  const child = start(
    options.local,
    [
      '--template',
      options.template,
      '--parameter',
      'CatalogueWrites=open', // on loopback; `local` checks no signatures
      '--port',
      '0',
      '--control-port',
      '0',
      '--log-dir',
      path.join(options.out, 'logs'),
      '--ready-file',
      readyFile,
      ...(options['code-dir'] ? ['--code-dir', options['code-dir']] : []),
      ...UNTHROTTLED.flatMap((value) => ['--parameter', value]),
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

/** One run of Artillery with all its gates. */
async function load(options, stack, config, profile) {
  const { min_requests_per_second: minimum, max_slowdown: soaks } = profile.variables ?? {};
  const samples = soaks && stack.child ? watch(stack.child.pid) : () => null;
  const since = new Date();
  const { aggregate, intermediate, exitCode } = await artillery(options, stack, profile.phases);
  const trend = soaks ? trendOf(intermediate, samples()) : null;
  const seconds = (aggregate.lastMetricAt - aggregate.firstMetricAt) / 1000;
  const requests = report.answeredIn(aggregate);
  // The client's line to AWS is in what it measured, and is not what is judged.
  const logged = options.stack ? await latencyInLogs(options.stack, { since, requests, say, pause }) : null;
  const routes = report.routesOf(aggregate, logged?.summaries);
  const rate = seconds > 0 ? routes.reduce((sum, { requests }) => sum + requests, 0) / seconds : null;
  return {
    requests_per_second: rate,
    gates: [
      ...(logged
        ? evaluateLogged(config.plugins.ensure, aggregate, requests, logged)
        : evaluate(config.plugins.ensure, aggregate)),
      ...(minimum ? [gate('requests per second', '>=', minimum, rate)] : []),
      ...(trend ? trendGates(trend, profile.variables) : []),
      gate("Artillery's exit code", '==', 0, exitCode),
    ],
    routes,
    orders: report.ordersOf(aggregate),
    errors: report.errorsOf(aggregate),
    ...(trend && { trend }),
  };
}

/** The steps of the stress profile until a gate breaks. Returns the result of the last step that held, or of the first. */
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
  /** @type {NodeJS.ProcessEnv} */
  const env = {
    ...process.env,
    API_URL: stack.api_url,
    ...(stack.signRegion && { SIGN_REGION: stack.signRegion }),
    ARTILLERY_DISABLE_TELEMETRY: 'true',
    CUSTOM_REPORTERS: path.join(HERE, 'progress.mjs'),
  };
  delete env.ARTILLERY_DISABLE_ENSURE;
  if (options.stack) env.ARTILLERY_DISABLE_ENSURE = 'true'; // see gates.mjs
  if (stack.control_url) {
    // Artillery would use the proxy even for requests to this machine.
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

/** Requests that a function answered: all with a status, since no gate accepts the API's own refusals. */
const answered = ({ routes, stress }) =>
  (stress?.steps ?? routes).reduce((sum, { requests }) => sum + requests, 0);

const hasTrigger = ({ invocations }) => invocations !== undefined;
const messagesIn = (queues) =>
  queues.reduce((sum, { visible, in_flight, delayed }) => sum + visible + in_flight + delayed, 0);

/** Gates that need the stack on this machine. Their limit is zero. */
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
  const { status, text } = await request(method, control_url + route, { signal: interrupted.signal });
  if (status < 200 || status > 299)
    throw new Failure(`${method} ${control_url}${route} answered ${status}: ${text.slice(0, 200)}`);
  return text ? JSON.parse(text) : null;
}

const pause = (ms) => sleep(ms, undefined, { signal: interrupted.signal });

function say(line) {
  process.stdout.write(`${line}\n`);
}

const interrupt = (signal) => interrupted.abort(new Failure(`interrupted by ${signal}`, { cause: signal }));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, interrupt);
process.stdout.on('error', () => interrupt('SIGPIPE')); // the reader of the output has gone

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
