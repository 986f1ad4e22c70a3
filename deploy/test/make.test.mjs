// Values reach a verb just as they are typed after `make VERB`.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../aws.mjs';
import { given, WITH } from './make.mjs';
import { temporaryFolder } from './verbs.mjs';

/** Written by a value that a shell has taken for a command. */
const BROKEN_OUT = path.join(temporaryFolder(), 'broken-out');

const MAKEFILE = readFileSync(path.join(ROOT, 'Makefile'), 'utf8');

const make = (words, env) => given('make', [...WITH, ...words], env);

test('make load-test-distributed passes the WORKERS that were asked for, and none that were not', async () => {
  const verb = ['load-test-distributed', 'API_URL=https://x.example'];
  assert.equal((await make(verb)).options.workers, '');
  assert.equal((await make([...verb, 'WORKERS=3'])).options.workers, '3');
});

test("no variable that help names is the Makefile's own", () => {
  const lines = MAKEFILE.split('\n');
  const helps = lines.map((line) => line.split(' ## ')[1] ?? '');
  const named = new Set(helps.flatMap((help) => [...help.matchAll(/\b([A-Z_]+)=/g)].map(([, name]) => name)));
  assert.ok(named.has('WORKERS') && named.has('PARAMETERS'), [...named].join());
  const own = lines.map((line) => /^(?:export )?([A-Z_]+) *:?=/.exec(line)?.[1]).filter(Boolean);
  assert.deepEqual(own.filter((name) => named.has(name)), []);
});

/** Values that would be another one, or a command, if make or a shell read them once more. */
const VALUES = [
  `it's "quoted" $HOME $$ $(shell id) \`id\` a;b a\\b #a && b | c`,
  `';: > ${BROKEN_OUT};'`,
  `";: > ${BROKEN_OUT};"`,
];

const VERBS = {
  deploy: ['STAGE', 'STACK', 'PARAMETERS'],
  outputs: ['STAGE', 'STACK'],
  logs: ['STAGE', 'STACK', 'FUNCTION'],
  seed: ['API_URL', 'SIGN_REGION'],
  'load-test': ['API_URL', 'STACK', 'SIGN_REGION', 'PROFILE'],
  'load-test-distributed': ['API_URL', 'PROFILE', 'ENGINE', 'WORKERS'],
  'power-tune': ['STAGE', 'STACK', 'FUNCTION', 'POWERS', 'RUNS'],
  destroy: ['STAGE', 'STACK'],
  cost: ['STAGE', 'PARAMETERS'],
};

for (const [verb, names] of Object.entries(VERBS)) {
  test(`make ${verb} passes on any value as it is, typed or from the environment`, async () => {
    const expected = (value) =>
      Object.fromEntries(names.map((name) => [name.toLowerCase().replaceAll('_', '-'), value]));
    for (const value of VALUES) {
      const typed = await make([verb, ...names.map((name) => `${name}=${value}`)]);
      assert.deepEqual(typed.options, expected(value));
      const inherited = await make([verb], Object.fromEntries(names.map((name) => [name, value])));
      assert.deepEqual(inherited.options, expected(value));
    }
    assert.ok(!existsSync(BROKEN_OUT), 'a value was run as a command');
  });
}
