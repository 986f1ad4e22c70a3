// Measures a deployed function at several memory sizes with AWS Lambda Power Tuning: `make power-tune FUNCTION=GetProduct`.
//
//   node deploy/power-tune.mjs [--stage dev] [--stack NAME] [--function GetProduct] [--runs 50] [--powers 128,256,…] [--yes]
//
// Deploys the tool once (power-tuning.yaml, a stack of its own), runs its state machine with the function's event of
// events/, prints the result as a table and writes target/power-tune/<function>.json. The function really runs: one that
// writes, writes. Afterwards it has the memory size that it had.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { table } from './table.mjs';
import {
  aws,
  confirm,
  Failure,
  findStack,
  options,
  pause,
  requireStack,
  ROOT,
  sam,
  say,
  stackResources,
  useRegion,
  verb,
  whoAmI,
} from './aws.mjs';
import { price } from './estimate.mjs';
import { functionsOf, powerTuningStack, readTemplate, stackName } from './template.mjs';

/** 1,769 MB is one vCPU; above that a function with one thread gains nothing. */
const POWERS = '128,256,512,1024,1769';

/** Ms between looks at the state machine, and until it is given up: its own limit is 5 minutes for each step. */
const POLL_MS = 2_000;
const TIMEOUT_MS = 20 * 60_000;

const eventOf = (name) => `${path.basename(functionsOf(readTemplate()).find(({ id }) => id === name).CodeUri)}.json`;

/** The input of the state machine, without the function's ARN; a failure if it would refuse it. */
function inputOf({ function: name, runs, powers }) {
  const names = functionsOf(readTemplate()).map(({ id }) => id);
  if (!names.includes(name)) throw new Failure(`template.yaml has no function "${name}"; it has: ${names.join(', ')}`);
  const powerValues = powers.split(',').map(Number);
  if (powerValues.some((power) => !Number.isInteger(power) || power < 128 || power > 10_240)) {
    throw new Failure(`POWERS must be memory sizes of 128 to 10240 MB, separated by commas, but is "${powers}"`);
  }
  const num = Number(runs);
  if (!Number.isInteger(num) || num < 5)
    throw new Failure(`RUNS must be a whole number of 5 or more, but is "${runs}"`);
  const payload = JSON.parse(readFileSync(path.join(ROOT, 'events', eventOf(name)), 'utf8'));
  // One after the other: a new account may run ten at once.
  return { powerValues, num, payload, parallelInvocation: false, strategy: 'balanced', includeOutputResults: true };
}

/** The ARN of the tool's state machine; deploys the tool if it is not there. */
async function stateMachine(stack, functions, region) {
  const name = powerTuningStack(stack);
  if (!(await findStack(name))) {
    say(`deploying AWS Lambda Power Tuning as ${name}`);
    const code = await sam(
      'deploy',
      '--template-file',
      'deploy/power-tuning.yaml',
      '--stack-name',
      name,
      '--region',
      region,
      '--resolve-s3',
      ...[
        '--capabilities',
        'CAPABILITY_IAM',
        'CAPABILITY_AUTO_EXPAND',
        '--parameter-overrides',
        `Functions=${functions}`,
      ],
      '--no-confirm-changeset',
    );
    if (code !== 0) throw new Failure(`\`sam deploy\` ended with exit code ${code}; what it said is above`);
  }
  const { Outputs = [] } = await requireStack(name);
  const output = Outputs.find(({ OutputKey }) => OutputKey === 'StateMachineArn');
  if (!output) throw new Failure(`the stack ${name} has no output StateMachineArn; \`make destroy\` removes it`);
  return output.OutputValue;
}

async function execute(machine, input) {
  const { executionArn } = await aws(
    'stepfunctions',
    'start-execution',
    '--state-machine-arn',
    machine,
    '--input',
    JSON.stringify(input),
  );
  const deadline = Date.now() + TIMEOUT_MS;
  try {
    for (;;) {
      const { status, output, error, cause } = await aws(
        'stepfunctions',
        'describe-execution',
        '--execution-arn',
        executionArn,
      );
      if (status === 'SUCCEEDED') return resultOf(JSON.parse(output));
      if (status !== 'RUNNING')
        throw new Failure(
          `power tuning ended as ${status}: ${[error, cause].filter(Boolean).join(': ').slice(0, 300)}`,
        );
      if (Date.now() > deadline)
        throw new Failure(`power tuning still runs after ${TIMEOUT_MS / 60_000} minutes: ${executionArn}`);
      await pause(POLL_MS);
    }
  } catch (error) {
    await aws('stepfunctions', 'stop-execution', '--execution-arn', executionArn);
    throw error;
  }
}

/** The tool's output, in the words of our reports: `{power_mb, sizes: [{memory_mb, duration_ms, usd_per_million}], usd}`. */
export function resultOf(output) {
  const {
    power,
    stateMachine: { executionCost, lambdaCost, visualization },
    stats,
  } = output.results ?? output;
  return {
    power_mb: Number(power),
    usd: executionCost + lambdaCost,
    sizes: stats
      .map(({ value, averageDuration, averagePrice }) => ({
        memory_mb: value,
        duration_ms: averageDuration,
        usd_per_million: averagePrice * 1e6,
      }))
      .toSorted((a, b) => a.memory_mb - b.memory_mb),
    visualization,
  };
}

const render = (name, { power_mb, sizes, usd, visualization }) =>
  `${table(
    `${name} by memory size: mean of the middle runs`,
    'measured on AWS',
    ['MB', 'ms', 'USD for a million runs', ''],
    sizes.map((size) => [
      size.memory_mb,
      size.duration_ms,
      size.usd_per_million,
      size.memory_mb === power_mb ? 'balanced choice' : '',
    ]),
  )}\n` + `It cost $${usd.toFixed(4)}. ${visualization}`;

if (process.argv[1] === import.meta.filename) {
  await verb('power-tune', async () => {
    const given = options({
      stage: { type: 'string', default: 'dev' },
      stack: { type: 'string' },
      function: { type: 'string', default: 'GetProduct' },
      runs: { type: 'string', default: '50' },
      powers: { type: 'string', default: POWERS },
      out: { type: 'string', default: path.join(ROOT, 'target/power-tune') },
      yes: { type: 'boolean', default: false },
    });
    const input = inputOf(given);
    const stack = stackName(given);
    const region = await useRegion();
    const { Account, Arn } = await whoAmI();
    await requireStack(stack);
    const id = (await stackResources(stack)).find(
      ({ LogicalResourceId }) => LogicalResourceId === given.function,
    )?.PhysicalResourceId;
    if (!id) throw new Failure(`the stack ${stack} has no function ${given.function}`);

    const runs = input.num * input.powerValues.length;
    // Each run as long as a slow first one, at the largest size: what it costs at most.
    const most = runs * (price('lambda_request') + (Math.max(...input.powerValues) / 1024) * price('gb_second_x86_64'));
    say(
      `${given.function} will run ${runs} times with events/${eventOf(given.function)}, for less than $${(Math.ceil(most * 100) / 100).toFixed(2)}`,
    );
    if (!(await confirm('Run it?', given.yes))) throw new Failure('nothing was run');

    const partition = Arn.split(':')[1];
    const arn = (name) => `arn:${partition}:lambda:${region}:${Account}:function:${name}`;
    const machine = await stateMachine(stack, arn(`${stack}-*`), region);
    const result = await execute(machine, { ...input, lambdaARN: arn(id) });
    const file = path.join(given.out, `${given.function}.json`);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(
      file,
      `${JSON.stringify({ function: given.function, stack, region, at: new Date().toISOString(), ...result }, null, 2)}\n`,
    );
    say(render(given.function, result));
  });
}
