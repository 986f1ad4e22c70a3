import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { bill, perRun, render } from '../cost.mjs';
import { workersCost } from '../distributed.mjs';
import { costOf, PRICES, price, standing, sum } from '../estimate.mjs';
import { resultOf } from '../power-tune.mjs';
import { functionsOf, readTemplate } from '../template.mjs';
import { lastLine, run, temporaryFolder } from './verbs.mjs';

const near = (actual, expected, what) =>
  assert.ok(Math.abs(actual - expected) < 1e-9, `${what}: ${actual} is not ${expected}`);

/** A run of 1,000 requests of each kind, with round figures. */
function summary() {
  const ids = functionsOf(readTemplate()).map(({ id }) => id);
  const calls = (operations) => ({
    operations: Object.fromEntries(
      operations.map(([name, calls, read_units, write_units]) => [name, { calls, read_units, write_units }]),
    ),
  });
  return {
    profile: 'load',
    started_at: '2026-01-01T00:00:00.000Z',
    commit: null,
    custom_metrics: 6,
    origin: { functions: 'measured here', aws_calls: 'measured here', consumed_capacity: 'simulated here' },
    functions: ids.map((name) => ({
      name,
      invocations: name === 'ProcessOrders' ? 400 : 1000,
      gb_seconds: name === 'ProcessOrders' ? 1.6 : 1,
      log_bytes: 300_000,
    })),
    aws_calls: {
      GetProduct: calls([['DynamoDB.GetItem', 1000, 500, 0]]),
      PutProduct: calls([['DynamoDB.UpdateItem', 1000, 0, 2000]]),
      PlaceOrder: calls([
        ['DynamoDB.BatchGetItem', 1000, 1500, 0],
        ['DynamoDB.PutItem', 800, 0, 800],
        ['SQS.SendMessage', 800, 0, 0],
      ]),
      ProcessOrders: calls([['DynamoDB.TransactWriteItems', 800, 0, 4800]]),
    },
    queues: { OrdersQueue: { received: 800 } },
    orders: { accepted: 800 },
  };
}

function billed(given = {}) {
  const template = readTemplate(given);
  // No access log: its length is no figure of this test.
  delete template.Resources.Api.Properties.AccessLogSettings;
  return bill(summary(), template);
}

test('a million POSTs of the plainest kind cost $2.32, computed by hand', () => {
  // 256 MB on arm64 for 5 ms; one write, one message; receive and delete shared by a batch of ten.
  const million = 1_000_000;
  const { total, compute } = costOf({
    architecture: 'arm64',
    api: million,
    runs: million,
    gbSeconds: million * 0.005 * (256 / 1024),
    writes: million,
    sqs: million * (1 + 2 / 10),
  });
  assert.equal(total.toFixed(2), '2.32');
  near(total, 1 + 0.2 + 1250 * 0.0000133334 + 0.625 + 0.48, 'by hand');
  assert.ok(compute / total < 0.01, 'compute is under 1 % of it');
});

test('each price has a unit and a page of AWS, and the file has a date', () => {
  assert.match(PRICES.as_of, /^\d{4}-\d\d-\d\d$/);
  for (const [name, { usd, for: quantity, unit, source }] of Object.entries(PRICES.prices)) {
    assert.ok(usd > 0 && quantity > 0 && unit, name);
    assert.match(source, /^https:\/\/aws\.amazon\.com\//, name);
  }
});

test('what a run uses is the mean of what was measured', () => {
  const { PlaceOrder, ProcessOrders } = perRun(summary());
  assert.deepEqual(PlaceOrder, {
    runs: 1000,
    use: { runs: 1, gbSeconds: 0.001, reads: 1.5, writes: 0.8, sqs: 0.8, logBytes: 300 },
  });
  assert.deepEqual(ProcessOrders.use, { runs: 1, gbSeconds: 0.004, reads: 0, writes: 12, sqs: 0, logBytes: 750 });
});

test('a million of each request is its own run, and for an order the share of the worker', () => {
  const { rows } = billed();
  const total = (route) => rows.find((row) => row.route === route).total;
  const run = 1 + 0.2 + 1000 * 0.0000133334;
  near(total('GET /products/{id}'), run + 0.5 * 0.125 + 0.15, 'a read');
  near(total('PUT /products/{id}'), run + 2 * 0.625 + 0.15, 'a write');
  // 0.4 runs of the worker for each POST: requests, 1,600 GB-seconds, 12 writes each, 750 bytes, one receive, one delete.
  const worker = 0.4 * (0.2 + 4000 * 0.0000133334 + 12 * 0.625 + 750e-9 * 0.5 * 1e6 + 2 * 0.4);
  near(total('POST /orders'), run + 1.5 * 0.125 + 0.8 * 0.625 + 0.8 * 0.4 + 0.15 + worker, 'an order');
});

test('x86_64 costs a quarter more for each GB-second, and nothing else', () => {
  const [arm, x86] = [billed(), billed({ Architecture: 'x86_64' })].map(({ mix }) => mix);
  near(x86.compute / arm.compute, 0.0000166667 / 0.0000133334, 'compute');
  near(x86.total - arm.total, x86.compute - arm.compute, 'total');
});

test('bigger batches share runs and SQS calls; no queue saves the message and the first write', () => {
  const { queue } = billed();
  const [measured, one, ten, none] = queue;
  assert.deepEqual(
    queue.map(({ batch }) => batch),
    [2, 1, 10, null],
  );
  near(one.total - ten.total, 0.9 * (0.2 + 2 * 0.4), 'from 1 to 10');
  assert.ok(ten.total < measured.total && measured.total < one.total);
  near(one.sqs, 3 * 0.4, 'send, receive, delete');
  near(none.sqs, 0, 'no message');
  near(ten.dynamodb - none.dynamodb, 0.625, 'the order is written once');
  near(one.dynamodb, 1.5 * 0.125 + 0.625 + 6 * 0.625, 'an order');
});

test('a stack that stands costs its alarms, dashboard, polls and what the parameters turn on', () => {
  const rows = (given) => standing(readTemplate(given), { customMetrics: 6 });
  const usd = (given, what) => rows(given).find((row) => row.what.includes(what))?.usd ?? 0;
  near(usd({}, 'SQS calls'), (5 * 730 * 180 * 0.4) / 1e6, 'five pollers, a call in 20 s');
  near(usd({}, 'custom metrics'), 6 * 0.3, 'six metrics');
  near(usd({}, 'dashboards'), 3, 'one dashboard');
  assert.equal(usd({}, 'provisioned'), 0);
  // Seven functions behind the API, each one environment of 256 MB.
  near(usd({ ProvisionedConcurrency: '1' }, 'provisioned'), 7 * 0.25 * 730 * 3600 * 0.0000033334, 'provisioned');
  const LambdaInsightsLayer = 'arn:aws:lambda:us-east-1:580247275435:layer:LambdaInsightsExtension-Arm64:23';
  near(usd({ LambdaInsightsLayer }, 'Lambda Insights'), 8 * 8 * 0.3, 'Insights');
  assert.ok(sum(rows({})) > sum(rows({}).filter(({ what }) => what !== 'dashboards')));
});

test('an alarm pays for each metric that it watches, one whose condition fails for none', () => {
  const metric = { MetricStat: {} };
  const file = path.join(temporaryFolder(), 'template.json');
  const template = {
    Conditions: { Never: { 'Fn::Equals': ['a', 'b'] } },
    Resources: {
      Plain: { Type: 'AWS::CloudWatch::Alarm', Properties: {} },
      Ratio: { Type: 'AWS::CloudWatch::Alarm', Properties: { Metrics: [{ Expression: 'a/b' }, metric, metric] } },
      Off: { Type: 'AWS::CloudWatch::Alarm', Condition: 'Never', Properties: {} },
    },
  };
  writeFileSync(file, JSON.stringify(template));
  assert.deepEqual(standing(readTemplate({}, { file })), [
    { what: 'metrics that alarms watch', count: 3, usd: 3 * price('alarm_month') },
  ]);
});

test('a lab is thirty times what one student does', () => {
  const { lab, cycle } = billed();
  near(lab.one, sum(lab.parts), 'parts');
  near(lab.all, 30 * lab.one, 'students');
  // smoke 100, load 3,000 and spike 1,550 users, four requests each: 2 + 2 + 1 runs.
  assert.match(lab.parts[1].what, /^31000 requests/);
  assert.match(cycle.parts[0].what, /^1000 writes/);
});

test('the tables say where each figure comes from', () => {
  const text = render(summary(), billed());
  assert.match(
    text,
    /runs, GB-seconds, logs: measured here; calls: measured here; capacity: simulated here; list price, us-east-1, \d{4}-/,
  );
  for (const line of text.split('\n').slice(3)) assert.ok(line.length <= 130, line);
});

test('without a load test of this machine there is nothing to say, in one line', async () => {
  const file = path.join(temporaryFolder(), 'summary.json');
  const none = await run('cost', ['--summary', file]);
  assert.equal(none.code, 1);
  assert.match(
    lastLine(none.output),
    /^cost failed: .*summary.json holds no load test of this machine; `make load-test` makes one$/,
  );
  writeFileSync(file, JSON.stringify({ ...summary(), aws_calls: null }));
  assert.match(lastLine((await run('cost', ['--summary', file])).output), /holds no load test of this machine/);
  writeFileSync(file, JSON.stringify(summary()));
  assert.equal((await run('cost', ['--summary', file])).code, 0);
});

test('workers on Fargate are paid from start to end, on Lambda for their load', () => {
  near(workersCost('fargate', 2, 60), (2 * 240 * (4 * 0.04048 + 8 * 0.004445)) / 3600, 'Fargate');
  near(workersCost('lambda', 2, 60), 2 * (0.2e-6 + 60 * 4 * 0.0000133334), 'Lambda');
});

test("power tuning's output is read", () => {
  const output = {
    results: {
      power: '256',
      cost: 2.1e-8,
      duration: 2.9,
      stateMachine: { executionCost: 0.0003, lambdaCost: 0.0001, visualization: 'https://lambda-power-tuning.show/#x' },
      stats: [
        { averagePrice: 4e-8, averageDuration: 1.5, value: 512 },
        { averagePrice: 2.1e-8, averageDuration: 2.9, value: 256 },
      ],
    },
  };
  const { power_mb, sizes, usd } = resultOf(output);
  assert.equal(power_mb, 256);
  assert.deepEqual(
    sizes.map(({ memory_mb, duration_ms }) => [memory_mb, duration_ms]),
    [
      [256, 2.9],
      [512, 1.5],
    ],
  );
  near(sizes[0].usd_per_million, 0.021, 'a million runs');
  near(usd, 0.0004, 'what it cost');
});
