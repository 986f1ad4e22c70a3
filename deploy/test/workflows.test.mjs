// The workflow that deploys: from protected refs, after the tests, and nothing that somebody types is part of a command.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../aws.mjs';
import { given, WITH } from './make.mjs';

const yaml = createRequire(path.join(ROOT, 'load-tests/package.json'))('js-yaml');
const FOLDER = path.join(ROOT, '.github/workflows');
const read = (name) => yaml.safeLoad(readFileSync(path.join(FOLDER, name), 'utf8'));

const { jobs, permissions } = read('deploy.yml');

test('a deployment comes after every job of CI, and CI after a look at the ref', () => {
  assert.equal(jobs.deploy.needs, 'test');
  assert.equal(jobs.test.uses, './.github/workflows/ci.yml');
  assert.equal(jobs.test.needs, 'protected');
  const ci = read('ci.yml');
  assert.ok('workflow_call' in ci.on);
  const commands = Object.values(ci.jobs).flatMap(({ steps }) => steps.map(({ run }) => run));
  for (const verb of ['make test', 'make validate']) assert.ok(commands.includes(verb), verb);
});

test('a ref that is not protected ends the workflow', async () => {
  const [step] = jobs.protected.steps;
  assert.equal(step.if, '${{ !github.ref_protected }}');
  await assert.rejects(given('bash', ['-ec', step.run], { GITHUB_REF: 'refs/heads/mine' }), /refs\/heads\/mine is not/);
});

test('only the job that deploys gets a token for AWS', () => {
  assert.deepEqual(permissions, { contents: 'read' });
  assert.deepEqual(jobs.deploy.permissions, { contents: 'read', 'id-token': 'write' });
  assert.deepEqual([jobs.protected.permissions, jobs.test.permissions], [undefined, undefined]);
});

test('no command of a workflow holds an expression', () => {
  for (const file of readdirSync(FOLDER))
    for (const { steps = [] } of Object.values(read(file).jobs))
      for (const { run = '' } of steps) assert.doesNotMatch(run, /\$\{\{/, file);
});

test('what is typed for a deployment reaches the verb as it is', async () => {
  const step = jobs.deploy.steps.find(({ run }) => run?.startsWith('make deploy'));
  const inputs = { stage: 'dev', parameters: `CorsOrigin=https://it's"$HOME;x AlarmEmail=\`id\`@$(id).x` };
  const env = Object.fromEntries(
    Object.entries(step.env).map(([name, value]) => [name, inputs[/^\$\{\{ inputs\.(\w+) \}\}$/.exec(value)[1]]]),
  );
  const { options } = await given('bash', ['-ec', `${step.run} ${WITH.join(' ')}`], env);
  assert.deepEqual(options, { stage: inputs.stage, stack: '', parameters: inputs.parameters, yes: true });
});
