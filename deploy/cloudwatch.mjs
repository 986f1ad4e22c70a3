// Reads the logs that a load test left in CloudWatch Logs: the REPORT lines of the stack's functions, and the lines of the
// API's access log.

import { parseReports, percentile, summariseFunction } from '../load-tests/report-lines.mjs';
import { aws, awsIfThere, Failure, stackResources } from './aws.mjs';

/** Ms until a line that was written can be found: seconds as a rule, a minute and a half at worst. */
const ARRIVAL_TIMEOUT_MS = 90_000;
const ASK_AGAIN_MS = 5_000;

/** Artillery's name for the time to the first byte of a success, of all routes; `.<route>` follows for one of them. */
const SUCCESSES = 'http.response_time.2xx';

/**
 * Looks until as many lines are there as are expected, since they arrive late; says so if they do not all arrive. `look`
 * gives what it finds and its `lines`, `pause` waits for so many ms.
 *
 * @param {number} expected
 * @param {string} what
 * @param {() => Promise<any>} look
 * @param {Record<string, any>} how
 */
async function arrived(expected, what, look, { say, pause }) {
  for (let waited = 0; ; waited += ASK_AGAIN_MS) {
    const found = await look();
    if (found.lines >= expected) return found;
    if (waited >= ARRIVAL_TIMEOUT_MS) {
      say(`CloudWatch: only ${found.lines} of at least ${expected} ${what} have reached the logs`);
      return found;
    }
    say(`CloudWatch: ${found.lines} of at least ${expected} ${what} are in the logs`);
    await pause(ASK_AGAIN_MS);
  }
}

/**
 * One row a function of `stack`, as from local logs: of its runs since `loadAt`, cold starts since `startedAt`. Waits until
 * as many runs are there as requests were answered (`runs`).
 */
export async function reportsInLogs(stack, { startedAt, loadAt, runs, ...how }) {
  const functions = await Promise.all(
    (await stackResources(stack))
      .filter(({ ResourceType }) => ResourceType === 'AWS::Lambda::Function')
      .map(withLogGroup),
  );
  const look = async () => {
    const rows = await Promise.all(functions.map((one) => reportsOf(one, startedAt, loadAt)));
    return { rows, lines: rows.reduce((sum, { invocations }) => sum + invocations, 0) };
  };
  const { rows } = await arrived(runs, 'runs', look, how);
  return rows.filter(({ invocations, cold_starts }) => invocations || cold_starts);
}

/**
 * How long the API of `stack` took for its successes since `since`, in ms by its own access log, as Artillery's report would
 * say it: `{lines, summaries}`. Waits until as many lines are there as `requests` were answered.
 */
export async function latencyInLogs(stack, { since, requests, ...how }) {
  const group = (await stackResources(stack)).find(({ LogicalResourceId }) => LogicalResourceId === 'ApiLogs');
  if (!group) throw new Failure(`the stack ${stack} has no access log (ApiLogs), so its latency cannot be judged`);
  const look = async () => {
    const lines = (await eventsOf(group.PhysicalResourceId, since)).flatMap(({ message }) => parsed(message));
    const times = lines.filter(({ time }) => Number(time) >= since.getTime());
    return { lines: times.length, summaries: summariesOf(times) };
  };
  return arrived(requests, 'requests', look, how);
}

/** A line of the access log; none if it is not JSON, and then a request is missed. */
function parsed(message) {
  try {
    return [JSON.parse(message)];
  } catch {
    return [];
  }
}

function summariesOf(lines) {
  const successes = lines.filter(({ status }) => status.startsWith('2'));
  const figures = (some) => {
    const times = some.map(({ latency }) => Number(latency));
    return { p50: percentile(times, 50), p95: percentile(times, 95), p99: percentile(times, 99) };
  };
  const routes = Object.entries(Object.groupBy(successes, ({ route }) => route));
  return Object.fromEntries([
    ...(successes.length ? [[SUCCESSES, figures(successes)]] : []),
    ...routes.map(([route, some]) => [`${SUCCESSES}.${route}`, figures(some)]),
  ]);
}

async function withLogGroup({ LogicalResourceId: name, PhysicalResourceId: id }) {
  const { LoggingConfig } = await aws('lambda', 'get-function-configuration', '--function-name', id);
  return { name, group: LoggingConfig?.LogGroup ?? `/aws/lambda/${id}` };
}

/** The events of a log group; none if it is not there, as for a function that has not run yet. */
async function eventsOf(group, since, ...filter) {
  const when = ['--start-time', String(since.getTime())];
  return (await awsIfThere('logs', 'filter-log-events', '--log-group-name', group, ...when, ...filter))?.events ?? [];
}

async function reportsOf({ name, group }, startedAt, loadAt) {
  const events = await eventsOf(group, startedAt, '--filter-pattern', '"REPORT RequestId"');
  const underLoad = events.filter(({ timestamp }) => timestamp >= loadAt.getTime());
  return summariseFunction(
    name,
    parseReports(JSON.stringify({ events: underLoad })),
    parseReports(JSON.stringify({ events })),
  );
}
