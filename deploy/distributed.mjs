// The load test from many machines on AWS: `make load-test-distributed API_URL=https://… ENGINE=fargate WORKERS=4`.
//
//   node deploy/distributed.mjs --api-url https://… [--engine fargate|lambda] [--workers 4] [--profile load] [--yes]
//
// Puts the profile and its scenarios into one script (target/load-test-distributed), loads the catalogue from here, and
// hands the script to Artillery's own engine: each worker runs all of it, so that N workers are N times the rate.
// Says first what it costs and what it leaves behind. Prints the routes and the gates, as `make load-test` does.
// Exit code: 0 if every gate passed, 1 if one failed or anything went wrong.

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { apiUrlOf, seed } from '../load-tests/seed.mjs';
import { regionOf } from '../load-tests/sign.mjs';
import { confirm, Failure, interruption, options, pause, ROOT, say, useRegion, verb, whoAmI } from './aws.mjs';
import { price } from './estimate.mjs';
import { start, stopAll } from './processes.mjs';

const OUT = path.join(ROOT, 'target/load-test-distributed');
const LOAD_TESTS = path.join(ROOT, 'load-tests');
/** The program that shows a report and checks its gates. */
const WORKSHOP = path.join(ROOT, 'target/host/workshop');
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
  const { config, before } = yaml.safeLoad(readFileSync(path.join(LOAD_TESTS, 'artillery.yml'), 'utf8'));
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
  for (const file of ['processor.mjs', 'catalogue.mjs', 'failure.mjs', 'seed.mjs', 'sign.mjs', 'package.json']) {
    cpSync(path.join(LOAD_TESTS, file), path.join(folder, file));
  }
  writeFileSync(path.join(folder, 'load-test.yml'), yaml.safeDump({ config: merged, before, scenarios }, { noRefs: true }));
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
      return await load({ engine, count, region, apiUrl, signRegion });
    } finally {
      await stopAll();
    }
  });
}

async function load({ engine, count, region, apiUrl, signRegion }) {
  const report = path.join(OUT, 'report.json');
  const log = path.join(OUT, 'artillery.log');
  // The catalogue is loaded from here, once, and not by each worker.
  const environment = { API_URL: apiUrl, CATALOGUE: 'loaded', ...(signRegion && { SIGN_REGION: signRegion }) };
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
  const { status, error } = spawnSync(WORKSHOP, ['judge', report, '--exit-code', String(child.exitCode ?? 1)], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  if (error) throw new Failure(`${path.relative(ROOT, WORKSHOP)} cannot show ${report}: ${error.message}; \`make load-test-distributed\` builds it`);
  return status;
}
