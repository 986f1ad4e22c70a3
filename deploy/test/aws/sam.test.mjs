// SAM's own commands, as a person who knows SAM types them, and `make deploy` beside them: with the real `sam`, and its
// translator in moto (moto_aws.py). Which parameters and properties publish a version is in tests/template/test_versions.py.

import assert from 'node:assert/strict';
import { appendFileSync, existsSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { aws } from '../../aws.mjs';
import { readTemplate } from '../../template.mjs';
import { environment, projectCopy, start, startProgram } from '../verbs.mjs';
import { REGION, startMoto } from './moto.mjs';

const STACK = 'shop-dev';
const env = environment({ ...(await startMoto()), AWS_DEFAULT_REGION: REGION });
const root = projectCopy();

async function succeeds({ ended }) {
  const { code, output } = await ended;
  assert.equal(code, 0, output);
}

const makeDeploy = (...words) => succeeds(start('deploy/deploy', ['--yes', ...words], { root, env, input: '' }));

const sam = (args, input = '') => succeeds(startProgram('sam', args, { cwd: root, env, input }));

/** The version that each function's alias points to, by its name in the template that was deployed. */
async function versions() {
  const { TemplateBody } = await aws('cloudformation', 'get-template', '--stack-name', STACK);
  const { Resources } = typeof TemplateBody === 'string' ? JSON.parse(TemplateBody) : TemplateBody;
  const aliases = Object.values(Resources).filter(({ Type }) => Type === 'AWS::Lambda::Alias');
  return Object.fromEntries(
    aliases.map(({ Properties }) => [Properties.FunctionName.Ref, Properties.FunctionVersion['Fn::GetAtt'][0]]),
  );
}

async function published(deploy) {
  const before = await versions();
  await deploy();
  const now = await versions();
  assert.equal(Object.keys(now).length, 8);
  return Object.keys(now).filter((name) => now[name] !== before[name]);
}

const write = (crate) => appendFileSync(path.join(root, 'target/lambda', crate, 'bootstrap'), 'new code');

test('new code publishes its function and no other, whichever way it is deployed', async () => {
  await makeDeploy();
  write('get-product');
  assert.deepEqual(await published(() => sam(['deploy', '--no-confirm-changeset'])), ['GetProduct']);
  write('process-orders');
  const withAlarms = () => makeDeploy('--parameters', 'AlarmEmail=me@example.com');
  assert.deepEqual(await published(withAlarms), ['ProcessOrders']);
});

test('sam build and sam deploy --guided, typed without more, deploy what make build has built', async () => {
  await sam(['build']);
  write('list-products'); // `make build` again, which needs no other `sam build`
  // Enter for the name, the region, each parameter and six questions; yes to the change set.
  const answers = `${'\n'.repeat(2 + Object.keys(readTemplate().Parameters).length + 6)}y\n`;
  assert.deepEqual(await published(() => sam(['deploy', '--guided'], answers)), ['ListProducts']);
  assert.ok(existsSync(path.join(root, 'samconfig.toml')), 'its answers are saved');
  assert.deepEqual(await published(makeDeploy), [], 'which make deploy does not read');
});
