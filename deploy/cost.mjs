// The price of the shop on AWS, from a measured load test and dated list prices: `make cost`.
//
//   node deploy/cost.mjs [--summary target/load-test/summary.json] [--stage dev] [--parameters "Name=value …"]
//
// docs/cost.md explains the tables. Writes nothing, and makes no call.

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { table } from './table.mjs';
import { products } from '../load-tests/catalogue.mjs';
import { Failure, options, ROOT, say, verb } from './aws.mjs';
import { costOf, MONTH_HOURS, PRICES, standing, sum } from './estimate.mjs';
import { functionsOf, overrides, readTemplate } from './template.mjs';

const SUMMARY = path.join(ROOT, 'target/load-test/summary.json');
const WORKER = 'ProcessOrders';
const MILLION = 1_000_000;

/** SQS calls that a trigger makes for a batch: one receives it, one deletes it. */
const CALLS_A_BATCH = 2;

/** Requests of one user of the mix; the head of artillery.yml counts them, and scenarios.test.mjs holds it to that. */
const REQUESTS_A_USER = 4;

/** Write units of one product of the catalogue: up to 2 KB, in the table and in its index. The load writes smaller ones. */
const CATALOGUE_WRITES = 4;

/** What a student does on AWS in a lab, and the students of a class. Every run loads the catalogue first. */
const LAB = { students: 30, hours: 4, runs: ['smoke', 'smoke', 'load', 'load', 'spike'] };

/** Deploy, test, destroy: one load test, and everything gone within two hours. */
const CYCLE = { hours: 2, runs: ['load'] };

/** The last load test's summary, or null if there was none. */
export const summaryOfLoadTest = (file = SUMMARY) => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null);

/**
 * What each function used for one of its runs, as `costOf` takes it: mean GB-seconds, capacity units, SQS calls, bytes
 * of logs. `runs` is how often it ran.
 */
export function perRun({ functions, aws_calls: calls }) {
  return Object.fromEntries(
    functions
      .filter(({ invocations }) => invocations > 0)
      .map(({ name, invocations, gb_seconds, log_bytes }) => {
        const operations = Object.entries(calls[name]?.operations ?? {});
        const total = (key, only = /./) =>
          operations.filter(([operation]) => only.test(operation)).reduce((all, [, row]) => all + row[key], 0);
        return [
          name,
          {
            runs: invocations,
            use: {
              runs: 1,
              gbSeconds: gb_seconds / invocations,
              reads: total('read_units') / invocations,
              writes: total('write_units') / invocations,
              sqs: total('calls', /^SQS\./) / invocations,
              logBytes: log_bytes / invocations,
            },
          },
        ];
      }),
  );
}

/** Quantities of several uses, each times its factor, added up. */
export function add(...uses) {
  const all = {};
  for (const [factor, use] of uses)
    for (const [key, quantity] of Object.entries(use)) all[key] = (all[key] ?? 0) + factor * quantity;
  return all;
}

/** `costOf` with every part times a million, or as many as are given. */
const cost = (architecture, use, times = MILLION) => costOf({ architecture, ...add([times, use]) });

/** The route of each function of the API, by the function's id. */
const routesOf = (template) =>
  Object.fromEntries(
    functionsOf(template).flatMap(({ id, Events = {} }) =>
      Object.values(Events)
        .filter(({ Type }) => Type === 'HttpApi')
        .map(({ Properties }) => [id, `${Properties.Method} ${Properties.Path}`]),
    ),
  );

/** Bytes of one line of the API's access log, as its format stands in the template; none if it keeps no such log. */
const accessLogBytes = ({ Resources }) =>
  Math.max(
    0,
    ...Object.values(Resources).map(
      ({ Properties }) => JSON.stringify(Properties.AccessLogSettings?.Format ?? '').length - 2,
    ),
  );

/** Everything that the tables show, in USD, of a resolved template. */
export function bill(summary, template) {
  const { Architecture: architecture } = template.Parameters;
  const used = perRun(summary);
  const entry = { api: 1, logBytes: accessLogBytes(template) };
  const batches = used[WORKER]?.runs ?? 0;
  const worker = batches ? add([1, used[WORKER].use], [CALLS_A_BATCH, { sqs: 1 }]) : {};
  const whole = { PlaceOrder: batches / (used.PlaceOrder?.runs ?? 1) };

  const requests = Object.entries(routesOf(template)).filter(([id]) => used[id]);
  const rows = requests.map(([id, route]) => {
    const use = add([1, entry], [1, used[id].use], [whole[id] ?? 0, worker]);
    return { route, use, runs: used[id].runs, ...cost(architecture, use) };
  });
  const all = rows.reduce((total, { runs }) => total + runs, 0);
  const mix = add(...rows.map(({ use, runs }) => [runs / all, use]));
  const put = rows.find(({ route }) => route.startsWith('PUT '))?.use ?? {};
  const seed = { ...put, writes: CATALOGUE_WRITES };
  const idle = standing(template, { customMetrics: summary.custom_metrics ?? 0 });
  return {
    architecture,
    mix: cost(architecture, mix),
    rows,
    queue: queueRows(summary, used, entry, architecture),
    idle,
    lab: session(LAB, { mix, seed, idle, architecture }),
    cycle: session(CYCLE, { mix, seed, idle, architecture }),
  };
}

/** USD for a million orders that are accepted, by how their work is done. */
function queueRows({ queues, orders }, used, entry, architecture) {
  if (!used[WORKER] || !used.PlaceOrder || !orders.accepted) return [];
  // Refused and repeated requests send nothing and write hardly anything: what was sent and written was for accepted orders.
  const { runs, use: post } = used.PlaceOrder;
  const share = runs / orders.accepted;
  const placed = add([1, entry], [1, { ...post, sqs: post.sqs * share, writes: post.writes * share }]);
  const { use } = used[WORKER];
  const size = queues.OrdersQueue.received / used[WORKER].runs;
  // Of a bigger batch the work and the writes stay the same for each order; the runs and the SQS calls are shared.
  const each = add([1 / size, { ...use, runs: 0 }]);
  const queued = (batch) => add([1, placed], [1, each], [1 / batch, { runs: 1, sqs: CALLS_A_BATCH }]);
  // At once: the same transaction in the same run. No message, no second run, and the order is written once, when final.
  const synchronous = add([1, placed], [1, each], [-1, { sqs: placed.sqs, writes: placed.writes }]);
  return [
    ['as measured: batches of', size, queued(size)],
    ['batches of', 1, queued(1)],
    ['batches of', 10, queued(10)],
    ['no queue: the client waits', null, synchronous],
  ].map(([how, batch, total]) => ({ how, batch, ...cost(architecture, total) }));
}

/** Runs of the load test in so many hours, by each of so many students with a stack each. */
function session({ students = 1, hours, runs }, { mix, seed, idle, architecture }) {
  const requests = runs.reduce((total, profile) => total + requestsOf(profile), 0);
  const parts = [
    {
      what: `${runs.length * products.length} writes of the catalogue`,
      usd: cost(architecture, seed, runs.length * products.length).total,
    },
    { what: `${requests} requests (${runs.join(', ')})`, usd: cost(architecture, mix, requests).total },
    { what: `${hours} hours of a stack that stands`, usd: (sum(idle) * hours) / MONTH_HOURS },
  ];
  return { students, hours, parts, one: sum(parts), all: students * sum(parts) };
}

/** Requests of a profile of artillery.yml. */
function requestsOf(profile) {
  const yaml = createRequire(path.join(ROOT, 'load-tests/package.json'))('js-yaml');
  const { config } = yaml.safeLoad(readFileSync(path.join(ROOT, 'load-tests/artillery.yml'), 'utf8'));
  return (
    config.environments[profile].phases.reduce(
      (total, { duration, arrivalRate }) => total + duration * arrivalRate,
      0,
    ) * REQUESTS_A_USER
  );
}

const HEADERS = ['', 'API', 'runs', 'compute', 'DynamoDB', 'SQS', 'logs', 'USD'];
const cells = ({ api, requests, compute, dynamodb, sqs, logs, total }) => [
  api,
  requests,
  compute,
  dynamodb,
  sqs,
  logs,
  total,
];

export function render(summary, { architecture, mix, rows, queue, idle, lab, cycle }) {
  const listed = `list price, ${PRICES.region}, ${PRICES.as_of}`;
  const { functions, aws_calls: calls, consumed_capacity: capacity } = summary.origin;
  const origin = `runs, GB-seconds, logs: ${functions}; calls: ${calls}; capacity: ${capacity}; ${listed}`;
  return [
    `\nFrom the ${summary.profile} test of ${summary.started_at} (commit ${summary.commit ?? 'unknown'}), for ${architecture}\n${origin}`,
    table('A million of each request, its share of refusals and of the worker included', 'USD', HEADERS, [
      ...rows.map((row) => [row.route, ...cells(row)]),
      ['the mix of the load test', ...cells(mix)],
    ]),
    queue.length
      ? table(
          'A million orders, by how their work is done',
          'USD',
          ['', 'orders', ...HEADERS.slice(1)],
          queue.map((row) => [row.how, row.batch, ...cells(row)]),
        )
      : 'A million orders: this run fulfilled none',
    table(
      'A month of a stack that nobody uses',
      listed,
      ['', 'how many', 'USD'],
      [...idle.map(({ what, count, usd }) => [what, Math.round(count), usd]), ['all of it', null, sum(idle)]],
    ),
    sessionTable('One deploy, load test and destroy', listed, cycle),
    sessionTable(`A lab of ${lab.students} students, each with a stack`, listed, lab),
  ].join('\n\n');
}

const sessionTable = (title, origin, { students, parts, one, all }) =>
  table(
    title,
    origin,
    ['', 'USD'],
    [
      ...parts.map(({ what, usd }) => [what, usd]),
      ['together', one],
      ...(students > 1 ? [[`for ${students} students`, all]] : []),
    ],
  );

if (process.argv[1] === import.meta.filename) {
  await verb('cost', async () => {
    const given = options({
      summary: { type: 'string', default: SUMMARY },
      stage: { type: 'string', default: 'dev' },
      parameters: { type: 'string' },
    });
    const summary = summaryOfLoadTest(given.summary);
    if (!summary?.aws_calls || summary.functions.some(({ log_bytes }) => log_bytes === undefined)) {
      throw new Failure(
        `${path.relative(ROOT, given.summary)} holds no load test of this machine; \`make load-test\` makes one`,
      );
    }
    say(render(summary, bill(summary, readTemplate(overrides(given.stage, given.parameters)))));
  });
}
