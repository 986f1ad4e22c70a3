// Deploys the shop: `make deploy STAGE=dev`.
//
//   node deploy/deploy.mjs [--stage dev] [--parameters "Name=value …"] [--stack NAME] [--yes]
//
// Checks all that can be checked (preflight.mjs), shows what the stack would cost, and leaves the rest to `sam deploy`,
// which uploads the functions, shows the change set and asks. After a no or Ctrl-C the stack is as it was. A failure of
// `sam` takes nothing back: a lost connection ends `sam`, while CloudFormation goes on and undoes its own failures.
// Exit code: 0 if the stack is deployed or up to date, 1 if not, 128 and the signal if it was interrupted.

import { summaryOfLoadTest } from './cost.mjs';
import { aws, Failure, findStack, interruption, options, sam, say, verb } from './aws.mjs';
import { PRICES, standing, sum } from './estimate.mjs';
import { showOutputs } from './outputs.mjs';
import { preflight } from './preflight.mjs';
import { stackName } from './template.mjs';

await verb('deploy', async () => {
  const given = options({
    stage: { type: 'string', default: 'dev' },
    parameters: { type: 'string' },
    stack: { type: 'string' },
    yes: { type: 'boolean', default: false },
  });
  const stack = stackName(given);
  const checked = await preflight(given);
  const before = await findStack(stack);
  refuseUnlessReady(stack, before);
  showEstimate(stack, checked);
  let code;
  try {
    code = await sam('deploy', ...samOptions(stack, given, checked));
  } catch (error) {
    if (interruption.aborted) await restore(stack, before);
    throw error;
  }
  if (code !== 0) throw new Failure(`\`sam deploy\` ended with exit code ${code}; what it said is above. ${await stateOf(stack)}`);
  if (await restore(stack, before)) throw new Failure('not deployed, as you said');
  await showOutputs(stack);
});

/** Some states of a stack let nothing be deployed to it. */
function refuseUnlessReady(stack, present) {
  const status = present?.StackStatus ?? '';
  if (/^(ROLLBACK_COMPLETE|ROLLBACK_FAILED|CREATE_FAILED|DELETE_FAILED)$/.test(status)) {
    throw new Failure(`the stack ${stack} is in the state ${status}: \`make destroy\` removes what is left of it`);
  }
  if (/_IN_PROGRESS$/.test(status) && status !== 'REVIEW_IN_PROGRESS') {
    throw new Failure(`the stack ${stack} is in the state ${status}: wait until that is over`);
  }
}

function showEstimate(stack, { template }) {
  const rows = standing(template, { customMetrics: summaryOfLoadTest()?.custom_metrics });
  say(`\nWhat ${stack} costs while nobody uses it, in USD (list prices of ${PRICES.region}, ${PRICES.as_of}):`);
  for (const { what, count, usd } of rows)
    say(`  ${usd.toFixed(2).padStart(8)} a month: ${Math.round(count).toLocaleString('en')} ${what}`);
  say(
    `  ${sum(rows).toFixed(2).padStart(8)} a month, ${(sum(rows) / 30).toFixed(2)} a day, less what your account has free`,
  );
  say('Use comes on top; `make cost` says what.\n');
}

/** A value as SAM reads it back, quotes and all: it takes none with a backslash, which `overrides` refuses. */
function quoted(value) {
  return `"${value.replaceAll('"', '\\"')}"`;
}

/** All parameters are given, the defaults too: left out, one would keep the value of the deployment before. */
function samOptions(stack, { stage, stack: named, yes }, { values, region }) {
  return [
    // By name: `sam deploy --guided` writes a samconfig.toml, which SAM would read instead.
    ...['--config-file', 'samconfig.yaml', '--config-env', stage, '--template-file', 'template.yaml', '--region', region],
    ...(named ? ['--stack-name', stack, '--s3-prefix', stack] : []),
    ...['--parameter-overrides', ...Object.entries(values).map(([name, value]) => `${name}=${quoted(value)}`)],
    yes ? '--no-confirm-changeset' : '--confirm-changeset',
  ];
}

/** What a failure has left, in a sentence, and how to follow it. */
async function stateOf(stack) {
  const follow = `\`aws cloudformation describe-stacks --stack-name ${stack}\``;
  try {
    const now = await findStack(stack);
    return now ? `The stack is in the state ${now.StackStatus}; ${follow} says how it goes on` : 'There is no stack';
  } catch (error) {
    return `The state of the stack is not known (${error.message}); ${follow} says it`;
  }
}

/**
 * Takes back what `sam deploy` has left undone: change sets that nobody wants, a stack that has never been more than a
 * change set, a creation or an update under way. Resolves with whether there was any.
 */
async function restore(stack, before) {
  const now = await findStack(stack);
  if (!now) return false;
  if (now.StackStatus === 'UPDATE_IN_PROGRESS') {
    say(`taking back the update of ${stack}`);
    await aws('cloudformation', 'cancel-update-stack', '--stack-name', stack);
    await aws('cloudformation', 'wait', 'stack-rollback-complete', '--stack-name', stack);
    return true;
  }
  const isNew = !before || before.StackStatus === 'REVIEW_IN_PROGRESS';
  if (isNew && /^(REVIEW|CREATE)_IN_PROGRESS$/.test(now.StackStatus)) {
    say(`removing the unfinished stack ${stack}`);
    await aws('cloudformation', 'delete-stack', '--stack-name', now.StackId);
    await aws('cloudformation', 'wait', 'stack-delete-complete', '--stack-name', now.StackId);
    return true;
  }
  const { Summaries } = await aws('cloudformation', 'list-change-sets', '--stack-name', stack);
  const unwanted = Summaries.filter(
    ({ StackId, ChangeSetName, ExecutionStatus }) =>
      StackId === now.StackId && ChangeSetName.startsWith('samcli-deploy') && ExecutionStatus === 'AVAILABLE',
  );
  for (const { ChangeSetId } of unwanted)
    await aws('cloudformation', 'delete-change-set', '--change-set-name', ChangeSetId);
  return unwanted.length > 0;
}
