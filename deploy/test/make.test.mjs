// What is typed after `make VERB` reaches the verb as it was typed. `make` is the real one; in place of Node there is a
// script that says what it was given.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../aws.mjs';
import { environment, temporaryFolder } from './verbs.mjs';

const folder = temporaryFolder();
const NODE = path.join(folder, 'node');
writeFileSync(NODE, `#!/bin/sh\nprintf '%s\\0' "$@"\n`);
chmodSync(NODE, 0o755);

/** Written by a value that a shell has taken for a command. */
const BROKEN_OUT = path.join(folder, 'broken-out');

const MAKEFILE = readFileSync(path.join(ROOT, 'Makefile'), 'utf8');

/** The environment of make without the variables of the make that runs this test. */
function outsideOfMake(added) {
  const { MAKEFLAGS, MFLAGS, MAKELEVEL, MAKEOVERRIDES, ...others } = environment(added);
  return others;
}

/** Runs a program; resolves with what the stand-in for Node was given: `{script, options}`. */
async function given(command, args, env = {}) {
  const child = spawn(command, args, { cwd: ROOT, env: outsideOfMake(env), stdio: ['ignore', 'pipe', 'pipe'] });
  let [output, errors] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (chunk) => (output += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk) => (errors += chunk));
  const [code] = await once(child, 'close');
  assert.equal(code, 0, errors + output);
  const [script, ...words] = output.split('\0').slice(0, -1);
  const options = {};
  while (words.length) {
    const name = words.shift();
    assert.match(name, /^--[a-z-]+$/, `${args.join(' ')}: ${output}`);
    options[name.slice(2)] = words.length && !words[0].startsWith('--') ? words.shift() : true;
  }
  return { script, options };
}

const make = (words, env) => given('make', ['--no-print-directory', `NODE=${NODE}`, ...words], env);

test('make load-test-distributed passes the WORKERS that were asked for, and none that were not', async () => {
  const verb = ['load-test-distributed', 'API_URL=https://x.example'];
  assert.equal((await make(verb)).options.workers, '');
  assert.equal((await make([...verb, 'WORKERS=3'])).options.workers, '3');
});

test("no variable that help names is the Makefile's own", () => {
  const lines = MAKEFILE.split('\n');
  const named = new Set(lines.flatMap((line) => [...(line.split(' ## ')[1] ?? '').matchAll(/\b([A-Z_]+)=/g)].map(([, name]) => name)));
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
