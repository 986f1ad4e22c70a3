// `make deploy` when `sam` fails or is interrupted. Both programs are scripts: `aws` writes down each call, and reports an
// update under way once `sam` has begun one.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { environment, fakePath, lastLine, projectCopy, start, temporaryFolder } from './verbs.mjs';

const root = projectCopy();

/** A verb that finds these two programs; `calls()` is what `aws` was asked so far. */
function deploy(sam) {
  const folder = temporaryFolder();
  const [log, begun] = ['calls', 'begun'].map((name) => path.join(folder, name));
  const status = `$(test -e ${begun} && echo UPDATE_IN_PROGRESS || echo UPDATE_COMPLETE)`;
  const aws = `echo "$*" >> ${log}
    case "$*" in
    "sts get-caller-identity"*) echo '{"Account": "1", "Arn": "arn:aws:iam::1:user/u"}';;
    "lambda get-account-settings"*) echo '{"AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}}';;
    "cloudformation describe-stacks --stack-name"*) echo '{"Stacks": [{"StackId": "id", "StackStatus": "'${status}'"}]}';;
    esac`;
  const script = `case "$*" in --version) exit 0;; esac; : > ${begun}; ${sam}`;
  const PATH = fakePath({ sh: null, sleep: null, aws, sam: script });
  const env = environment({ PATH, AWS_REGION: 'us-east-1' });
  const { child, ended } = start('deploy/deploy', ['--yes'], { root, env });
  return { child, ended, begun, calls: () => readFileSync(log, 'utf8') };
}

test('a `sam` that fails takes nothing back: an update that is under way goes on, and its state is told', async () => {
  const { ended, calls } = deploy('echo "Error: Connection was closed" >&2; exit 1');
  const { code, output } = await ended;
  assert.equal(code, 1);
  assert.match(
    lastLine(output),
    /^deploy failed: `sam deploy` ended with exit code 1; .* The stack is in the state UPDATE_IN_PROGRESS; `aws cloudformation describe-stacks /,
  );
  assert.doesNotMatch(calls(), /cancel-update-stack|delete-stack|delete-change-set/);
});

test('an interruption takes the update back', async () => {
  const { child, ended, begun, calls } = deploy('exec sleep 60');
  while (!existsSync(begun)) await Promise.race([sleep(20), ended.then(({ output }) => assert.fail(output))]);
  child.kill('SIGINT');
  const { code, output } = await ended;
  assert.equal(code, 130, output);
  assert.match(calls(), /^cloudformation cancel-update-stack --stack-name shop-dev /m);
  assert.equal(lastLine(output), 'deploy failed: interrupted by SIGINT');
});
