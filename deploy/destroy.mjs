// Removes a deployed stack and all that costs money with it: `make destroy STAGE=dev`.
//
//   node deploy/destroy.mjs [--stage dev] [--stack NAME] [--yes]
//
// Says what it will delete and asks. Then deletes the stack by `sam delete`, which takes the uploaded code with it, the
// stack for power tuning, and log groups that functions have made by themselves; and looks for each thing again, for
// queues as long as SQS may name a deleted one.
// Exit code: 0 if nothing is left, 1 if something is or anything went wrong.

import {
  aws,
  awsIfThere,
  confirm,
  Failure,
  findStack,
  options,
  pause,
  sam,
  say,
  stackResources,
  useRegion,
  verb,
  whoAmI,
} from './aws.mjs';
import { functionsOf, powerTuningStack, readTemplate, stackName } from './template.mjs';

/** What can cost money: a call that lists all of it in the account and region, and the physical ids in its answer. */
const BILLABLE = {
  'AWS::DynamoDB::Table': [['dynamodb', 'list-tables'], ({ TableNames }) => TableNames],
  'AWS::SQS::Queue': [['sqs', 'list-queues'], ({ QueueUrls }) => QueueUrls],
  'AWS::Lambda::Function': [
    ['lambda', 'list-functions'],
    ({ Functions }) => Functions.map(({ FunctionName }) => FunctionName),
  ],
  'AWS::ApiGatewayV2::Api': [['apigatewayv2', 'get-apis'], ({ Items }) => Items.map(({ ApiId }) => ApiId)],
  'AWS::Logs::LogGroup': [
    ['logs', 'describe-log-groups'],
    ({ logGroups }) => logGroups.map(({ logGroupName }) => logGroupName),
  ],
  'AWS::CloudWatch::Alarm': [
    ['cloudwatch', 'describe-alarms', '--alarm-types', 'MetricAlarm'],
    ({ MetricAlarms }) => MetricAlarms.map(({ AlarmName }) => AlarmName),
  ],
  'AWS::CloudWatch::CompositeAlarm': [
    ['cloudwatch', 'describe-alarms', '--alarm-types', 'CompositeAlarm'],
    ({ CompositeAlarms }) => CompositeAlarms.map(({ AlarmName }) => AlarmName),
  ],
  'AWS::CloudWatch::Dashboard': [
    ['cloudwatch', 'list-dashboards'],
    ({ DashboardEntries }) => DashboardEntries.map(({ DashboardName }) => DashboardName),
  ],
  'AWS::SNS::Topic': [['sns', 'list-topics'], ({ Topics }) => Topics.map(({ TopicArn }) => TopicArn)],
  'AWS::S3::Bucket': [['s3api', 'list-buckets'], ({ Buckets }) => Buckets.map(({ Name }) => Name)],
};

/** Buckets that other stacks of the account use too, so that they stay: SAM's for uploads, Artillery's for distributed tests. */
const SHARED_BUCKETS = /^(aws-sam-cli-managed-default|artilleryio-test-data)/;

/** SQS may name a queue for 60 s after its deletion, and a bit is added for its many machines:
 *  https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteQueue.html */
const QUEUE_LINGERS_MS = 75_000;
const LOOK_AGAIN_MS = 5_000;

async function destroy() {
  const given = options({
    stage: { type: 'string', default: 'dev' },
    stack: { type: 'string' },
    yes: { type: 'boolean', default: false },
  });
  const stack = stackName(given);
  const region = await useRegion();
  const { Account } = await whoAmI();
  const stacks = (await Promise.all([stack, powerTuningStack(stack)].map(findStack))).filter(Boolean);
  const things = (await Promise.all(stacks.map(billableOf))).flat();
  const orphans = await orphanedLogGroups(stack, things);
  if (stacks.length + orphans.length === 0) {
    say(`there is no stack ${stack} in ${region} of account ${Account}, nor a log group of one`);
    return shared();
  }

  say(`To be deleted in ${region} of account ${Account}, with all that they hold:`);
  for (const { StackName, StackStatus } of stacks) say(`  the stack ${StackName} (${StackStatus})`);
  for (const { type, id } of [...things, ...orphans]) say(`    ${type.replace('AWS::', '').padEnd(28)} ${id}`);
  refuseIfProtected(given, stacks, await protectedTables(things));
  if (!(await confirm(`Delete all of it?`, given.yes))) throw new Failure('nothing was deleted');

  for (const { StackName, StackStatus } of stacks) {
    if (StackStatus === 'DELETE_IN_PROGRESS')
      await aws('cloudformation', 'wait', 'stack-delete-complete', '--stack-name', StackName);
    else if ((await sam('delete', '--stack-name', StackName, '--region', region, '--no-prompts')) !== 0) {
      throw new Failure(`\`sam delete\` has not deleted ${StackName}; what it said is above`);
    }
  }
  // Functions that were still answering may have made their log groups again.
  for (const { id } of await orphanedLogGroups(stack, []))
    await aws('logs', 'delete-log-group', '--log-group-name', id);

  const left = await whatStays([...things, ...orphans]);
  for (const { type, id } of left) say(`still there: ${type} ${id}`);
  if (left.length)
    throw new Failure(
      `${left.length} of ${things.length + orphans.length} are still there, and may cost money: see above`,
    );
  say(`gone: all ${things.length + orphans.length} of them`);
  return shared();
}

async function billableOf({ StackId }) {
  return (await stackResources(StackId))
    .filter(
      ({ ResourceType, ResourceStatus, PhysicalResourceId }) =>
        BILLABLE[ResourceType] && PhysicalResourceId && ResourceStatus !== 'DELETE_COMPLETE',
    )
    .map(({ ResourceType, PhysicalResourceId }) => ({ type: ResourceType, id: PhysicalResourceId }));
}

/**
 * Log groups of the stack's functions that belong to no stack: a function that still answers while its stack goes makes its
 * group again. Named in full by the template's functions, so that `shop` never touches what is of `shop-dev`.
 */
async function orphanedLogGroups(stack, things) {
  const known = new Set(things.map(({ id }) => id));
  const ids = functionsOf(readTemplate()).map(({ id }) => id);
  const ours = new RegExp(`^(/aws/lambda/)?${stack}-(${ids.join('|')})(Logs)?-[A-Za-z0-9]+$`);
  const found = await Promise.all(
    [`${stack}-`, `/aws/lambda/${stack}-`].map((prefix) =>
      aws('logs', 'describe-log-groups', '--log-group-name-prefix', prefix),
    ),
  );
  return found
    .flatMap(({ logGroups }) => logGroups.map(({ logGroupName }) => logGroupName))
    .filter((name) => ours.test(name) && !known.has(name))
    .map((id) => ({ type: 'AWS::Logs::LogGroup', id }));
}

async function protectedTables(things) {
  const tables = things.filter(({ type }) => type === 'AWS::DynamoDB::Table');
  const found = await Promise.all(tables.map(({ id }) => awsIfThere('dynamodb', 'describe-table', '--table-name', id)));
  return found.filter((one) => one?.Table.DeletionProtectionEnabled).map(({ Table }) => Table.TableName);
}

/** Protection is there for a reason: a person has to take it away. */
function refuseIfProtected({ stage }, stacks, tables) {
  const locked = stacks
    .filter(({ EnableTerminationProtection }) => EnableTerminationProtection)
    .map(({ StackName }) => StackName);
  if (locked.length) {
    throw new Failure(
      `${locked.join(' and ')} is protected: \`aws cloudformation update-termination-protection --no-enable-termination-protection --stack-name ${locked[0]}\` first`,
    );
  }
  if (tables.length === 0) return;
  const commands = tables.map(
    (table) => `aws dynamodb update-table --no-deletion-protection-enabled --table-name ${table}`,
  );
  throw new Failure(
    `tables of stage ${stage} are protected from deletion and would stop it half way. To lose their data, first:\n  ${commands.join('\n  ')}`,
  );
}

/**
 * Those of the things that are still there at the end. If only queues are, it looks again until SQS no longer names them or
 * they were not deleted. `look` gives those that are there now, `wait` waits for so many ms.
 */
export async function whatStays(things, look = stillThere, wait = pause) {
  let left = await look(things);
  const isQueue = ({ type }) => type === 'AWS::SQS::Queue';
  for (let waited = 0; waited < QUEUE_LINGERS_MS && left.length && left.every(isQueue); waited += LOOK_AGAIN_MS) {
    say(`SQS still names ${left.length} queues, as it may for 60 s: looking again in ${LOOK_AGAIN_MS / 1000} s (${waited / 1000} s so far)`);
    await wait(LOOK_AGAIN_MS);
    left = await look(left);
  }
  return left;
}

/** Those of the things that the account still holds. A queue's address may differ in its host; its name does not. */
async function stillThere(things) {
  const types = [...new Set(things.map(({ type }) => type))];
  const found = await Promise.all(
    types.map(async (type) => {
      const [call, ids] = BILLABLE[type];
      const answer = await aws(...call); // null where a service answers with nothing at all
      return (answer && ids(answer)) ?? [];
    }),
  );
  const name = (id) =>
    id
      .split('://')
      .at(-1)
      .replace(/^[^/]+(?=\/\d{12}\/)/, '');
  const present = new Set(types.flatMap((type, index) => found[index].map((id) => `${type} ${name(id)}`)));
  return things.filter(({ type, id }) => present.has(`${type} ${name(id)}`));
}

/** Names what stays on purpose. It costs cents a month at most, and other stacks may need it. */
async function shared() {
  const { Buckets } = await aws('s3api', 'list-buckets');
  const kept = Buckets.filter(({ Name }) => SHARED_BUCKETS.test(Name));
  for (const { Name } of kept) say(`left, as other stacks of the account may use it: the bucket ${Name}`);
  const { logGroups } = await aws('logs', 'describe-log-groups', '--log-group-name-prefix', '/aws/lambda-insights');
  for (const { logGroupName } of logGroups)
    say(`left, as all functions with Lambda Insights use it: the log group ${logGroupName}`);
}

if (process.argv[1] === import.meta.filename) await verb('destroy', destroy);
