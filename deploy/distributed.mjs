// The load test from many machines on AWS: `make load-test-distributed API_URL=https://… ENGINE=fargate WORKERS=4`.
//
//   node deploy/distributed.mjs --api-url https://… [--engine fargate|lambda] [--workers 4] [--profile load] [--yes]
//
// Puts the profile and its scenarios into one script (target/load-test-distributed), loads the catalogue from here, and
// hands the script to Artillery's own engine: each worker runs all of it, so that N workers are N times the rate.
// Says first what it costs and what it leaves behind. Prints the routes and the gates, as `make load-test` does.
// Exit code: 0 if every gate passed, 1 if one failed or anything went wrong.

import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { table } from '../benchmarks/table.mjs';
import { evaluate, gate } from '../load-tests/gates.mjs';
import { start, stopAll } from '../load-tests/processes.mjs';
import { errorsOf, ordersOf, routesOf } from '../load-tests/report.mjs';
import { apiUrlOf, seed } from '../load-tests/seed.mjs';
import { regionOf } from '../load-tests/sign.mjs';
import { confirm, Failure, interruption, options, pause, ROOT, say, useRegion, verb, whoAmI } from './aws.mjs';
import { price } from './estimate.mjs';

const OUT = path.join(ROOT, 'target/load-test-distributed');
const LOAD_TESTS = path.join(ROOT, 'load-tests');
const yaml = createRequire(path.join(LOAD_TESTS, 'package.json'))('js-yaml');

/** A worker of each engine as Artillery makes it by default. */
const WORKERS = {
  fargate: { vcpu: 4, gb: 8 },
  lambda: { gb: 4, most_seconds: 15 * 60 },
};

/** Seconds until a worker of Fargate runs, its image pulled and its packages installed, and until it is gone. */
const FARGATE_OVERHEAD_S = 180;

/** USD of `count` workers of an engine for so many seconds of load. */
export function workersCost(engine, count, seconds) {
  const { vcpu, gb } = WORKERS[engine];
  if (engine === 'lambda') return count * (price('lambda_request') + seconds * gb * price('gb_second_arm64'));
  return (
    (count * (seconds + FARGATE_OVERHEAD_S) * (vcpu * price('fargate_vcpu_hour') + gb * price('fargate_gb_hour'))) /
    3600
  );
}

/** Writes the script of one profile and all that it needs to `folder`; resolves with its config. */
export async function writeScript(profileName, folder) {
  const { config } = yaml.safeLoad(readFileSync(path.join(LOAD_TESTS, 'artillery.yml'), 'utf8'));
  const { environments, ...common } = config;
  const profile = environments[profileName];
  if (!profile)
    throw new Failure(`there is no profile "${profileName}"; there are: ${Object.keys(environments).join(', ')}`);
  if (profileName === 'stress')
    throw new Failure('stress goes step by step, from one machine: `make load-test PROFILE=stress`');
  const { scenarios } = await import('../load-tests/scenarios/index.js');
  const merged = { ...common, phases: profile.phases, variables: { ...common.variables, ...profile.variables } };
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const file of ['processor.mjs', 'catalogue.mjs', 'sign.mjs', 'package.json']) {
    cpSync(path.join(LOAD_TESTS, file), path.join(folder, file));
  }
  writeFileSync(path.join(folder, 'load-test.yml'), yaml.safeDump({ config: merged, scenarios }, { noRefs: true }));
  return merged;
}

if (process.argv[1] === import.meta.filename) {
  await verb('distributed load test', async () => {
    const given = options({
      'api-url': { type: 'string' },
      engine: { type: 'string', default: 'fargate' },
      workers: { type: 'string', default: '4' },
      profile: { type: 'string', default: 'load' },
      yes: { type: 'boolean', default: false },
    });
    const apiUrl = apiUrlOf(given['api-url']);
    const { engine } = given;
    const count = Number(given.workers);
    if (!WORKERS[engine]) throw new Failure(`ENGINE must be fargate or lambda, but is "${engine}"`);
    if (!Number.isInteger(count) || count < 1)
      throw new Failure(`WORKERS must be a whole number of 1 or more, but is "${given.workers}"`);
    const config = await writeScript(given.profile, OUT);
    const seconds = config.phases.reduce((sum, { duration }) => sum + duration, 0);
    if (seconds > (WORKERS[engine].most_seconds ?? Infinity))
      throw new Failure('a worker on Lambda ends after 15 minutes: take ENGINE=fargate');
    const region = await useRegion();
    const { Account } = await whoAmI();

    const signRegion = regionOf(apiUrl) ?? undefined;
    say(
      `${count} workers on ${engine} in ${region} of account ${Account}: each runs the ${given.profile} profile, ${seconds} s`,
    );
    say(
      `They cost $${workersCost(engine, count, seconds).toFixed(3)}; the requests come on top (\`make cost\`), ${count} times those of one machine.`,
    );
    say(
      'Artillery leaves in the account: an IAM role, a bucket artilleryio-test-data-*, parameters of SSM' +
        (engine === 'fargate' ? ', an ECS cluster without tasks.' : '.'),
    );
    if (signRegion)
      say('Where CatalogueWrites=iam, the role of the workers needs execute-api:Invoke on the API: see docs/aws.md.');
    if (!(await confirm('Start them?', given.yes))) throw new Failure('nothing was started');

    await seed(apiUrl, { signRegion, signal: interruption, say });
    try {
      return await load({ engine, count, region, apiUrl, signRegion, config });
    } finally {
      await stopAll();
    }
  });
}

async function load({ engine, count, region, apiUrl, signRegion, config }) {
  const report = path.join(OUT, 'report.json');
  const log = path.join(OUT, 'artillery.log');
  const environment = { API_URL: apiUrl, ...(signRegion && { SIGN_REGION: signRegion }) };
  const dotenv = path.join(OUT, 'workers.env');
  writeFileSync(
    dotenv,
    Object.entries(environment)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  const args = [
    path.join(LOAD_TESTS, 'node_modules/artillery/bin/run'),
    `run-${engine}`,
    ...['--region', region, '--count', String(count), '--dotenv', dotenv, '--output', report],
    path.join(OUT, 'load-test.yml'),
  ];
  say(`Artillery's own words go to ${path.relative(ROOT, log)}`);
  const child = start(process.execPath, args, log, {
    ...process.env,
    ...environment,
    ARTILLERY_DISABLE_TELEMETRY: 'true',
  });
  while (!child.ended) await pause(500);
  if (!existsSync(report))
    throw new Failure(
      `Artillery wrote no report (${child.ended}):\n${readFileSync(log, 'utf8').trim().split('\n').slice(-15).join('\n')}`,
    );

  const { aggregate } = JSON.parse(readFileSync(report, 'utf8'));
  const gates = [...evaluate(config.plugins.ensure, aggregate), gate("Artillery's exit code", '==', 0, child.exitCode)];
  const { accepted, fulfilled, rejected, unfinished } = ordersOf(aggregate);
  const blocks = [
    table(
      'Routes: ms to the first byte of a success',
      'measured on AWS',
      ['route', 'requests', 'p50', 'p95', 'p99'],
      routesOf(aggregate).map(({ route, requests, p50_ms, p95_ms, p99_ms }) => [
        route,
        requests,
        p50_ms,
        p95_ms,
        p99_ms,
      ]),
    ),
    table(
      'Orders',
      'measured on AWS',
      ['accepted', 'fulfilled', 'rejected', 'unfinished'],
      [[accepted, fulfilled, rejected, unfinished]],
    ),
    ...(errorsOf(aggregate).length
      ? [
          table(
            'What failed',
            'measured on AWS',
            ['times', 'error'],
            errorsOf(aggregate).map(({ error, count: times }) => [times, error]),
          ),
        ]
      : []),
    table(
      'Gates',
      'measured on AWS',
      ['gate', 'limit', 'value', ''],
      gates.map(({ name, limit, value, pass }) => [name, limit, value, pass ? 'pass' : 'FAIL']),
    ),
  ];
  const failed = gates.filter(({ pass }) => !pass).length;
  say(
    `\n${blocks.join('\n\n')}\n\n${failed ? `FAILED: ${failed} of ${gates.length} gates.` : `Passed: all ${gates.length} gates.`}`,
  );
  return failed ? 1 : 0;
}
