// Runs the verbs as make does, for the tests.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { ROOT } from '../aws.mjs';
import { functionsOf, readTemplate } from '../template.mjs';

/** A folder that is deleted after the tests. */
export function temporaryFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), 'deploy-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** This process's environment without anything that finds an AWS account; `added` comes on top. */
export function environment(added = {}) {
  const others = Object.entries(process.env).filter(([name]) => !name.startsWith('AWS_'));
  const nowhere = path.join(tmpdir(), 'no such file');
  return {
    ...Object.fromEntries(others),
    AWS_CONFIG_FILE: nowhere,
    AWS_SHARED_CREDENTIALS_FILE: nowhere,
    AWS_EC2_METADATA_DISABLED: 'true',
    ...added,
  };
}

/** @typedef {{ cwd?: string, env?: NodeJS.ProcessEnv, input?: string }} How */

/**
 * Starts `node deploy/<name>.mjs`; `ended` resolves with `{code, output}`, `output()` is what it has said so far.
 *
 * @param {string} name
 * @param {string[]} args
 * @param {How & { root?: string }} [how]
 */
export function start(name, args, { root = ROOT, ...how } = {}) {
  return startProgram(process.execPath, [path.join(root, `${name}.mjs`), ...args], { cwd: root, ...how });
}

/**
 * Starts a program, as `start` does.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {How} [how]
 */
export function startProgram(command, args, { cwd = ROOT, env = environment(), input } = {}) {
  const child = spawn(command, args, { env, cwd });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk) => {
      output += chunk;
    });
  }
  if (input !== undefined) child.stdin.end(input);
  const ended = once(child, 'close').then(([code]) => ({ code, output }));
  return { child, ended, output: () => output };
}

export const run = (name, args, how) => start(`deploy/${name}`, args, { input: '', ...how }).ended;

/** The last line that a verb said: why it failed, if it did. */
export const lastLine = (output) => output.trimEnd().split('\n').at(-1);

/**
 * A PATH of nothing but these programs: each is a shell script by its text, or this machine's own where that is null.
 */
export function fakePath(programs) {
  const folder = temporaryFolder();
  for (const [name, script] of Object.entries(programs)) {
    const file = path.join(folder, name);
    if (script === null) {
      symlinkSync(find(name), file);
    } else {
      writeFileSync(file, `#!/bin/sh\n${script}\n`);
      chmodSync(file, 0o755);
    }
  }
  return folder;
}

const find = (name) => {
  const { PATH } = process.env;
  return PATH.split(path.delimiter)
    .map((folder) => path.join(folder, name))
    .find(existsSync);
};

/** What the verbs of deploy/ read, but for the functions' binaries. */
const READ = ['Makefile', 'deploy', 'events', 'load-tests', 'samconfig.yaml', 'template.yaml'];

/**
 * A copy of the project that a test may change and that keeps nothing of it, with a binary for each function: the header of
 * an executable for `machine` (ELF's number; 183 is arm64) and the function's name.
 */
export function projectCopy({ machine = 183 } = {}) {
  const root = temporaryFolder();
  const filter = (file) => !/node_modules|\/target$/.test(path.relative(ROOT, file));
  for (const name of READ) cpSync(path.join(ROOT, name), path.join(root, name), { recursive: true, filter });
  symlinkSync(path.join(ROOT, 'load-tests/node_modules'), path.join(root, 'load-tests/node_modules'));
  mkdirSync(path.join(root, 'target'));
  for (const build of ['target/debug', 'target/host']) symlinkSync(path.join(ROOT, build), path.join(root, build));
  for (const { CodeUri } of functionsOf(readTemplate())) {
    const folder = path.join(root, CodeUri);
    mkdirSync(folder, { recursive: true });
    const header = Buffer.concat([Buffer.from('7f454c4602010100', 'hex'), Buffer.alloc(10), Buffer.from([machine, 0])]);
    writeFileSync(path.join(folder, 'bootstrap'), Buffer.concat([header, Buffer.from(CodeUri)]), { mode: 0o755 });
  }
  return root;
}
