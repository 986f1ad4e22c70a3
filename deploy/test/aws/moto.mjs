// moto in place of AWS, for the tests of a file.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { after } from 'node:test';
import { ROOT } from '../../aws.mjs';
import { environment } from '../verbs.mjs';

/** A region for which version 1 of the CLI has no address of SQS of its own, which would go before AWS_ENDPOINT_URL. */
export const REGION = 'eu-south-2';

/**
 * Starts moto until the tests are over; resolves with the variables by which `aws` and `sam` find it. Those of this process
 * become the same, so that nothing of this machine's AWS account is ever found.
 */
export async function startMoto() {
  const moto = spawn('python', [path.join(ROOT, 'deploy/test/moto_aws.py')], { stdio: ['ignore', 'pipe', 'ignore'] });
  after(() => moto.kill());
  const [line] = await Promise.race([once(moto.stdout, 'data'), once(moto, 'exit')]);
  assert.match(String(line), /^http:/, 'moto does not start; `make validate` installs it');
  const AWS = {
    AWS_ACCESS_KEY_ID: 'nobody',
    AWS_SECRET_ACCESS_KEY: 'nobody',
    AWS_REGION: REGION,
    SAM_CLI_POLL_DELAY: '0.5', // s between looks at a deployment, which AWS would throttle; 5 by default
    // moto takes the first part of another host's name for a bucket.
    AWS_ENDPOINT_URL: String(line).trim().replace('127.0.0.1', 'localhost'),
  };
  for (const name of Object.keys(process.env).filter((name) => name.startsWith('AWS_'))) delete process.env[name];
  Object.assign(process.env, environment(AWS), { AWS_DEFAULT_REGION: REGION });
  return AWS;
}
