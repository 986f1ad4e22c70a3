// The REPORT lines of a deployed stack's functions, from CloudWatch Logs, for the load test's table.

import { parseReports, summariseFunction } from '../load-tests/report-lines.mjs';
import { aws, awsIfThere, stackResources } from './aws.mjs';

/** Ms until a line that Lambda has written can be found: seconds as a rule, a minute and a half at worst. */
const ARRIVAL_TIMEOUT_MS = 90_000;
const ASK_AGAIN_MS = 5_000;

/**
 * One row a function of `stack`, as from local logs: of its runs since `loadAt`, cold starts since `startedAt`. Waits until
 * as many runs are there as requests were answered (`runs`), as lines arrive late; says so if they do not all arrive.
 * `pause` waits for so many ms.
 */
export async function reportsInLogs(stack, { startedAt, loadAt, runs, say, pause }) {
  const functions = await Promise.all(
    (await stackResources(stack))
      .filter(({ ResourceType }) => ResourceType === 'AWS::Lambda::Function')
      .map(withLogGroup),
  );
  const deadline = Date.now() + ARRIVAL_TIMEOUT_MS;
  for (;;) {
    const rows = await Promise.all(functions.map((one) => reportsOf(one, startedAt, loadAt)));
    const found = rows.reduce((sum, { invocations }) => sum + invocations, 0);
    if (found >= runs || Date.now() > deadline) {
      if (found < runs) say(`CloudWatch: only ${found} of at least ${runs} runs have reached the logs`);
      return rows.filter(({ invocations, cold_starts }) => invocations || cold_starts);
    }
    say(`CloudWatch: ${found} of at least ${runs} runs are in the logs`);
    await pause(ASK_AGAIN_MS);
  }
}

async function withLogGroup({ LogicalResourceId: name, PhysicalResourceId: id }) {
  const { LoggingConfig } = await aws('lambda', 'get-function-configuration', '--function-name', id);
  return { name, group: LoggingConfig?.LogGroup ?? `/aws/lambda/${id}` };
}

async function reportsOf({ name, group }, startedAt, loadAt) {
  const found = await awsIfThere(
    'logs',
    'filter-log-events',
    ...[
      '--log-group-name',
      group,
      '--filter-pattern',
      '"REPORT RequestId"',
      '--start-time',
      String(startedAt.getTime()),
    ],
  );
  const { events } = found ?? { events: [] }; // a function that has not run yet may have no group
  const underLoad = events.filter(({ timestamp }) => timestamp >= loadAt.getTime());
  return summariseFunction(
    name,
    parseReports(JSON.stringify({ events: underLoad })),
    parseReports(JSON.stringify({ events })),
  );
}
