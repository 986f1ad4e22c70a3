// `make` itself, with a script in place of Node that says what it was given.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT } from '../aws.mjs';
import { environment, temporaryFolder } from './verbs.mjs';

const NODE = path.join(temporaryFolder(), 'node');
/** What make is told besides: the script, in place of the workshop too, and that nothing is to be built or installed for it. */
export const WITH = ['--no-print-directory', '-o', 'reader', '-o', 'workshop', '-o', 'load-tests/node_modules/.installed']
  .concat(`NODE=${NODE}`, `WORKSHOP=${NODE}`);
writeFileSync(NODE, `#!/bin/sh\nprintf '%s\\0' "$@"\n`);
chmodSync(NODE, 0o755);

/**
 * The environment of make without the variables of the make that runs this test.
 *
 * @param {NodeJS.ProcessEnv} added
 */
function outsideOfMake(added) {
  const { MAKEFLAGS, MFLAGS, MAKELEVEL, MAKEOVERRIDES, ...others } = /** @type {NodeJS.ProcessEnv} */ (environment(added));
  return others;
}

/** Runs a program; resolves with what the stand-in for Node was given: `{script, options}`. */
export async function given(command, args, env = {}) {
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
