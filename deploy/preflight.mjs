// Everything that can be found wrong before anything is created, cheapest first.

import { aws, AwsError, Failure, run, say, useRegion, whoAmI } from './aws.mjs';
import { checkBinaries, functionsOf, overrides, parameterValues, readTemplate } from './template.mjs';

/** Lambda keeps so many runs at once for functions without a reservation. */
const UNRESERVED = 100;

/** One call of each service that only reads, to see that the region has it. */
const SERVICES = [
  ['lambda', 'list-functions', '--max-items', '1'],
  ['apigatewayv2', 'get-apis', '--max-items', '1'],
  ['dynamodb', 'list-tables', '--max-items', '1'],
  ['sqs', 'list-queues', '--max-items', '1'],
  ['logs', 'describe-log-groups', '--max-items', '1'],
  ['cloudwatch', 'list-dashboards', '--max-items', '1'],
  ['cloudformation', 'describe-stacks', '--max-items', '1'],
];

/** Checks all of it; resolves with `{template, values, region}`, the values of all parameters. */
export async function preflight({ stage, parameters }) {
  const given = overrides(stage, parameters);
  const template = readTemplate(given);
  const values = parameterValues(template, given);
  checkBinaries(values.Architecture);
  await checkTools();
  const region = await useRegion();
  const refused = reservationRefusal(values);
  if (refused) throw new Failure(`these parameters do not go together: ${refused}`);
  const identity = await whoAmI();
  await checkServices(region);
  await checkConcurrency(template, values);
  say(`preflight: account ${identity.Account}, region ${region}, ${identity.Arn}; binaries for ${values.Architecture}`);
  return { template, values, region };
}

export async function checkTools() {
  for (const tool of ['aws', 'sam']) {
    const { code, stderr } = await run(tool, ['--version']);
    if (code !== 0) throw new Failure(`\`${tool} --version\` fails: ${stderr.trim().split('\n').at(-1)}`);
  }
}

async function checkServices(region) {
  const absent = await Promise.all(
    SERVICES.map(async ([service, ...call]) => {
      try {
        await aws(service, ...call);
      } catch (error) {
        // Any answer shows that the service is there, even a refusal of permission.
        if (!(error instanceof AwsError) || error.code === null) return `${service} (${error.message})`;
      }
      return null;
    }),
  );
  const missing = absent.filter(Boolean);
  if (missing.length) throw new Failure(`the region ${region} does not answer for ${missing.join('; ')}`);
}

async function checkConcurrency(template, values) {
  let limits;
  try {
    limits = (await aws('lambda', 'get-account-settings')).AccountLimit;
  } catch (error) {
    if (!(error instanceof AwsError) || error.code === null) throw error;
    say(`note: the account's concurrency limit is not checked: ${error.message}`);
    return;
  }
  const wrong = concurrencyRefusal(functionsOf(template), values, limits);
  if (wrong) throw new Failure(wrong);
}

/**
 * Why a reservation is too small for what it has to hold; null if it is not. CloudFormation's rules compare for equality
 * only. Lambda would refuse the one after minutes, and throttle the worker for ever with the other.
 *
 * @param {Record<string, string>} values
 */
export function reservationRefusal({ ReservedConcurrency, ...values }) {
  const most = ['MaximumConcurrency', 'ProvisionedConcurrency'].find(
    (name) => Number(ReservedConcurrency) && Number(values[name]) > Number(ReservedConcurrency),
  );
  return most ? `ReservedConcurrency=${ReservedConcurrency} is below ${most}=${values[most]}` : null;
}

/**
 * Why Lambda would refuse these functions; null if it would not. `functions` as the parameters' `values` make them, `limits`
 * is the AccountLimit of `aws lambda get-account-settings`.
 */
export function concurrencyRefusal(
  functions,
  values,
  { ConcurrentExecutions: limit, UnreservedConcurrentExecutions: free },
) {
  const total = (of) => functions.reduce((all, one) => all + Number(of(one) ?? 0), 0);
  const reserved = total(({ ReservedConcurrentExecutions }) => ReservedConcurrentExecutions);
  const provisioned = total(({ ProvisionedConcurrencyConfig: config }) => config?.ProvisionedConcurrentExecutions);
  const account = `this account may run ${limit} at once, and ${free} of them are not reserved`;
  if (Number(values.MaximumConcurrency ?? 0) > limit)
    return `MaximumConcurrency is ${values.MaximumConcurrency}, but ${account}`;
  if (reserved && free - reserved < UNRESERVED) {
    return `ReservedConcurrency=${values.ReservedConcurrency} takes ${reserved}, but ${account}; Lambda keeps ${UNRESERVED} free of reservations`;
  }
  if (provisioned && free - provisioned < UNRESERVED) {
    return `ProvisionedConcurrency=${values.ProvisionedConcurrency} takes ${provisioned}, but ${account}; Lambda keeps ${UNRESERVED} free`;
  }
  return null;
}
