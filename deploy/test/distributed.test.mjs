// The script that workers on AWS get is the load test: run here, with Artillery's own way to find out what a worker needs.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { CREDENTIALS, startStandIn } from '../../load-tests/test/stand-in.mjs';
import { seed } from '../../load-tests/seed.mjs';
import { ROOT } from '../aws.mjs';
import { writeScript } from '../distributed.mjs';
import { environment, temporaryFolder } from './verbs.mjs';

const MODULES = path.join(ROOT, 'load-tests/node_modules');

test('the script of a profile runs by itself, signs its writes, and fails nobody', async () => {
  const folder = path.join(temporaryFolder(), 'script');
  const config = await writeScript('gate-test', folder);
  assert.equal(config.variables.order_watch_seconds, 1, "the profile's variables");
  assert.equal(config.environments, undefined);
  symlinkSync(MODULES, path.join(folder, 'node_modules')); // a worker installs what package.json lists

  const stack = await startStandIn('iam');
  Object.assign(process.env, {
    AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
  });
  try {
    await seed(stack.url, { signRegion: 'eu-west-1', say() {} });
    const report = path.join(folder, 'report.json');
    const env = environment({
      API_URL: stack.url,
      SIGN_REGION: 'eu-west-1',
      ARTILLERY_DISABLE_TELEMETRY: 'true',
      AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
    });
    const artillery = path.join(MODULES, 'artillery/bin/run');
    const child = spawn(
      process.execPath,
      [artillery, 'run', '--quiet', '--output', report, path.join(folder, 'load-test.yml')],
      { env },
    );
    const [code] = await once(child, 'exit');
    const { counters } = JSON.parse(readFileSync(report, 'utf8')).aggregate;
    assert.equal(counters['vusers.failed'], 0, JSON.stringify(counters));
    assert.equal(counters['orders.unfinished'], 0);
    assert.ok(counters['routes.DELETE /products/{id}.codes.204'] > 0);
    assert.ok(code === 0 || code === 1, 'a gate of latency may break on a busy machine');
  } finally {
    await stack.close();
  }
});

test('Artillery finds every file and package that a worker needs', async () => {
  const folder = temporaryFolder();
  await writeScript('load', folder);
  process.env.API_URL ??= 'https://api.example';
  const { createBOM } = await import(path.join(MODULES, 'artillery/dist/lib/platform/aws-ecs/legacy/bom.js'));
  const { files, modules, externals } = await new Promise((resolve, reject) => {
    createBOM(path.join(folder, 'load-test.yml'), [], { flags: {} }, (error, found) =>
      error ? reject(error) : resolve(found),
    );
  });
  assert.deepEqual(files.map(({ noPrefix }) => noPrefix).toSorted(), [
    'catalogue.mjs',
    'failure.mjs',
    'load-test.yml',
    'package.json',
    'processor.mjs',
    'seed.mjs',
    'sign.mjs',
  ]);
  for (const needed of ['@aws-sdk/credential-provider-node', '@smithy/core', '@smithy/signature-v4'])
    assert.ok(modules.includes(needed), needed);
  assert.deepEqual(externals, []);
});
