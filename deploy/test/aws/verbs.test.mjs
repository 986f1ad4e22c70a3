// The verbs with the real `aws` and `sam`, against moto in place of AWS: `make validate` puts all three on the path.
//
// moto makes the stack's resources and deletes them; it has no API behind the stack's address, runs no function, updates no
// stack reliably and knows no serverless repository. docs/aws.md lists all that this leaves unproved.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { aws, stackResources } from '../../aws.mjs';
import { checkBinaries, powerTuningStack, readTemplate } from '../../template.mjs';
import { startMoto } from './moto.mjs';
import { environment, fakePath, lastLine, run, start, temporaryFolder } from '../verbs.mjs';

const STACK = 'shop-dev';
/** The processor that target/lambda was built for. */
const ARCHITECTURE = ['arm64', 'x86_64'].find((architecture) => {
  try {
    checkBinaries(architecture);
    return true;
  } catch {
    return false;
  }
});
/** An origin as nobody has it, which SAM, a shell or make could take for something else. */
const ORIGIN = `https://it's"$HOME;x`;
const DEPLOY = ['--parameters', `Architecture=${ARCHITECTURE} CorsOrigin=${ORIGIN}`];

const AWS = await startMoto();

const make = (verb, args = [], { env = {}, input = '' } = {}) =>
  run(verb, args, { env: environment({ ...AWS, ...env }), input });

async function refusal(...call) {
  const { code, output } = await make(...call);
  assert.equal(code, 1, output);
  return lastLine(output);
}

/** What the account holds: stacks, and what could cost money without one. SAM's own bucket is no part of it. */
async function account() {
  const [{ Stacks }, { TableNames }, queues, { Functions }, { logGroups }, { MetricAlarms, CompositeAlarms = [] }] =
    await Promise.all([
      aws('cloudformation', 'describe-stacks'),
      aws('dynamodb', 'list-tables'),
      aws('sqs', 'list-queues'),
      aws('lambda', 'list-functions'),
      aws('logs', 'describe-log-groups'),
      aws('cloudwatch', 'describe-alarms'),
    ]);
  return {
    stacks: Stacks.map(({ StackName }) => StackName).filter((name) => name !== 'aws-sam-cli-managed-default'),
    tables: TableNames,
    queues: (queues?.QueueUrls ?? []).map((url) => url.split('/').at(-1)),
    functions: Functions.map(({ FunctionName }) => FunctionName),
    logGroups: logGroups.map(({ logGroupName }) => logGroupName),
    alarms: [...MetricAlarms, ...CompositeAlarms].map(({ AlarmName }) => AlarmName),
  };
}

const NOTHING = { stacks: [], tables: [], queues: [], functions: [], logGroups: [], alarms: [] };

async function onlyNothing() {
  assert.deepEqual(await account(), NOTHING);
}

test('without credentials, region, service or room nothing is created', async () => {
  assert.ok(ARCHITECTURE, 'target/lambda holds no functions: `make build` first');
  const deploy = (env, args = DEPLOY) => refusal('deploy', args, { env });
  assert.match(
    await deploy({ AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' }),
    /^deploy failed: there are no AWS credentials: /,
  );
  assert.match(await deploy({ AWS_REGION: '' }), /^deploy failed: no region is set: /);
  assert.match(
    await deploy({ AWS_ENDPOINT_URL_SQS: 'http://127.0.0.1:1' }),
    /^deploy failed: the region eu-south-2 does not answer for sqs \(/,
  );
  assert.match(
    await deploy({ AWS_ENDPOINT_URL_STS: 'http://127.0.0.1:1' }),
    /^deploy failed: AWS cannot be reached in the region "eu-south-2"/,
  );
  assert.match(
    await deploy({}, ['--parameters', `Architecture=${ARCHITECTURE} MaximumConcurrency=50`]),
    /^deploy failed: MaximumConcurrency is 50, but this account may run 10/,
  );
  const other = ARCHITECTURE === 'arm64' ? 'x86_64' : 'arm64';
  assert.match(await deploy({}, ['--parameters', `Architecture=${other}`]), /is built for .*; `make build ARCH=/);
  const brokenSam = `${fakePath({ sam: 'echo broken >&2; exit 1' })}${path.delimiter}${process.env.PATH}`;
  assert.match(await deploy({ PATH: brokenSam }), /^deploy failed: `sam --version` fails: broken$/);
  await onlyNothing();
  assert.match(await refusal('outputs'), /^outputs failed: there is no stack "shop-dev"/);
});

test('the estimate and the change set come before the question, and after a no there is nothing', async () => {
  const { code, output } = await make('deploy', DEPLOY, { input: 'n\n' });
  assert.equal(code, 1);
  assert.equal(lastLine(output), 'deploy failed: not deployed, as you said');
  const at = (text) => output.search(text);
  assert.ok(at(/a month, [\d.]+ a day/) > 0 && at(/a month, /) < at(/^\+ Add +GetProduct /m), output);
  assert.ok(at(/^\+ Add +GetProduct /m) < at(/Deploy this changeset/), output);
  await onlyNothing();
});

test('an interrupted question leaves nothing behind', async () => {
  const { child, ended, output } = start('deploy/deploy', DEPLOY, { env: environment(AWS) });
  while (!output().includes('Deploy this changeset'))
    await Promise.race([sleep(50), ended.then(({ output: all }) => assert.fail(all))]);
  child.kill('SIGINT');
  const { code, output: all } = await ended;
  assert.equal(lastLine(all), 'deploy failed: interrupted by SIGINT', all);
  assert.equal(code, 130);
  await onlyNothing();
});

test('a yes deploys, and the outputs are shown', async () => {
  const { code, output } = await make('deploy', DEPLOY, { input: 'y\n' });
  assert.equal(code, 0, output);
  assert.deepEqual((await account()).stacks, [STACK]);
  const { Parameters } = (await aws('cloudformation', 'describe-stacks', '--stack-name', STACK)).Stacks[0];
  const values = Object.fromEntries(
    Parameters.map(({ ParameterKey, ParameterValue }) => [ParameterKey, ParameterValue]),
  );
  assert.deepEqual(Object.keys(values).toSorted(), Object.keys(readTemplate().Parameters).toSorted());
  assert.deepEqual([values.CatalogueWrites, values.AlarmEmail, values.Architecture], ['iam', '', ARCHITECTURE]);
  assert.equal(values.CorsOrigin, ORIGIN);
  const shown = await make('outputs');
  assert.equal(shown.code, 0);
  assert.match(shown.output, /^shop-dev in eu-south-2: CREATE_COMPLETE\n {2}ApiUrl +https:/);
  assert.ok(output.endsWith(shown.output), 'deploy ends with them too');
});

/** The log group of a function of the stack: moto keeps no LoggingConfig, so it is Lambda's own, which is made here. */
async function logGroupOf(logicalId) {
  const resources = await stackResources(STACK);
  const group = `/aws/lambda/${resources.find(({ LogicalResourceId }) => LogicalResourceId === logicalId).PhysicalResourceId}`;
  await aws('logs', 'create-log-group', '--log-group-name', group);
  return group;
}

async function writeLog(group, lines, at = Date.now()) {
  await aws('logs', 'create-log-stream', '--log-group-name', group, '--log-stream-name', `s${at}`);
  const events = JSON.stringify(lines.map((message) => ({ timestamp: at, message })));
  await aws('logs', 'put-log-events', '--log-group-name', group, '--log-stream-name', `s${at}`, '--log-events', events);
}

test('logs shows the lines of a function', async () => {
  await writeLog(await logGroupOf('PutProduct'), ['a line of PutProduct']);
  const { code, output } = await make('logs', ['--function', 'PutProduct', '--no-follow']);
  assert.equal(code, 0, output);
  assert.match(output, /a line of PutProduct/);
});

test('power tuning runs the state machine with the function and its event, and shows what it says', async () => {
  const results = {
    power: '512',
    cost: 1e-8,
    duration: 1.2,
    stateMachine: { executionCost: 0.0003, lambdaCost: 0.0001, visualization: 'https://lambda-power-tuning.show/#x' },
    stats: [
      { value: 256, averagePrice: 2e-8, averageDuration: 2.5 },
      { value: 512, averagePrice: 1e-8, averageDuration: 1.2 },
    ],
  };
  // The input comes back beside the results.
  const definition = JSON.stringify({
    StartAt: 'Say',
    States: { Say: { Type: 'Pass', Result: results, ResultPath: '$.results', End: true } },
  });
  const role = 'arn:aws:iam::123456789012:role/tuning';
  // moto runs no state machine of a stack, so the stack names one beside it.
  const { stateMachineArn } = await aws(
    'stepfunctions',
    'create-state-machine',
    '--name',
    'tuning',
    '--definition',
    definition,
    '--role-arn',
    role,
  );
  const template = {
    Resources: { Topic: { Type: 'AWS::SNS::Topic' } },
    Outputs: { StateMachineArn: { Value: stateMachineArn } },
  };
  await aws(
    'cloudformation',
    'create-stack',
    '--stack-name',
    powerTuningStack(STACK),
    '--template-body',
    JSON.stringify(template),
  );
  const out = temporaryFolder();
  const no = await make('power-tune', ['--out', out], { input: 'n\n' });
  assert.equal(lastLine(no.output), 'power-tune failed: nothing was run');

  const { code, output } = await make('power-tune', ['--runs', '5', '--powers', '256,512', '--out', out], {
    input: 'y\n',
  });
  assert.equal(code, 0, output);
  assert.match(output, /^GetProduct will run 10 times with events\/get-product.json, for less than \$0\.01$/m);
  assert.match(output, /^ +512 +1\.20 +0\.01 +balanced choice$/m);
  const { sizes, power_mb } = JSON.parse(readFileSync(path.join(out, 'GetProduct.json'), 'utf8'));
  assert.equal(power_mb, 512);
  assert.deepEqual(
    sizes.map(({ memory_mb }) => memory_mb),
    [256, 512],
  );

  const { executions } = await aws('stepfunctions', 'list-executions', '--state-machine-arn', stateMachineArn);
  const { input } = await aws('stepfunctions', 'describe-execution', '--execution-arn', executions[0].executionArn);
  const given = JSON.parse(input);
  assert.match(given.lambdaARN, /^arn:aws:lambda:eu-south-2:123456789012:function:shop-dev-GetProduct-/);
  assert.equal(given.num, 5);
  assert.deepEqual(given.powerValues, [256, 512]);
  assert.equal(given.payload.routeKey, 'GET /products/{id}');
});

test('destroy says what it would delete, and after a no nothing is', async () => {
  const present = await account();
  const { code, output } = await make('destroy', [], { input: 'n\n' });
  assert.equal(code, 1);
  assert.equal(lastLine(output), 'destroy failed: nothing was deleted');
  for (const name of [
    ...present.stacks,
    ...present.tables,
    ...present.queues,
    ...present.functions,
    ...present.alarms,
  ]) {
    assert.ok(output.includes(name), `${name} is not named`);
  }
  assert.deepEqual(await account(), present);
});

test('a protected table stops destroy before anything is deleted', async () => {
  const present = await account();
  const [table] = present.tables.filter((name) => name.includes('OrdersTable'));
  await aws('dynamodb', 'update-table', '--table-name', table, '--deletion-protection-enabled');
  const { code, output } = await make('destroy', ['--yes']);
  assert.equal(code, 1);
  assert.match(output, /^destroy failed: tables of stage dev are protected from deletion/m);
  assert.equal(
    lastLine(output).trim(),
    `aws dynamodb update-table --no-deletion-protection-enabled --table-name ${table}`,
  );
  assert.deepEqual(await account(), present);
  await aws('dynamodb', 'update-table', '--table-name', table, '--no-deletion-protection-enabled');
});

test('what a deletion leaves is found and named, and fails destroy', async () => {
  // A `sam` that says it has deleted the stack.
  const { logGroups } = await account();
  const lying = `${fakePath({ sam: 'exit 0' })}${path.delimiter}${process.env.PATH}`;
  const { code, output } = await make('destroy', ['--yes'], { env: { PATH: lying } });
  assert.equal(code, 1);
  const { tables, queues, functions } = await account();
  for (const id of [...tables, ...queues, ...functions])
    assert.match(output, new RegExp(`^still there: AWS::\\w+::\\w+ \\S*${id}$`, 'm'));
  assert.match(lastLine(output), /^destroy failed: \d+ of \d+ are still there, and may cost money/);
  // Groups that no function is left to make again would be in moto's way.
  const kept = (await account()).logGroups;
  for (const name of logGroups.filter((name) => !kept.includes(name)))
    await aws('logs', 'create-log-group', '--log-group-name', name);
});

test('destroy deletes the stack, the tuning stack and orphaned log groups, and nothing of another stack', async () => {
  const orphan = '/aws/lambda/shop-dev-GetProduct-abcDEF123';
  const others = ['/aws/lambda/shop-dev-2-GetProduct-abcDEF123', '/aws/lambda/shop-GetProduct-abcDEF123'];
  for (const name of [orphan, ...others]) await aws('logs', 'create-log-group', '--log-group-name', name);
  const { code, output } = await make('destroy', [], { input: 'y\n' });
  assert.equal(code, 0, output);
  assert.match(output, /^gone: all \d+ of them$/m);
  assert.match(output, /^left, as other stacks of the account may use it: the bucket aws-sam-cli-managed-default-/m);
  assert.deepEqual(await account(), { ...NOTHING, logGroups: others.toSorted() });
  const { Buckets } = await aws('s3api', 'list-buckets');
  const objects = await aws('s3api', 'list-objects-v2', '--bucket', Buckets[0].Name);
  assert.deepEqual(
    (objects?.Contents ?? []).map(({ Key }) => Key),
    [],
    'uploaded code',
  );

  const again = await make('destroy', ['--yes']);
  assert.equal(again.code, 0);
  assert.match(
    again.output,
    /^there is no stack shop-dev in eu-south-2 of account 123456789012, nor a log group of one$/m,
  );
});
