// Starts and stops the programs of a verb.

import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';

/** Ms between SIGTERM and SIGKILL of one program. */
const STOP_TIMEOUT_MS = 15_000;

/**
 * A program that was started: `ended` says how it ended, null while it runs; `gone` resolves when it has ended.
 *
 * @typedef {import('node:child_process').ChildProcess & { ended: string | null, gone: Promise<void> }} Program
 */

/** @type {Set<Program>} */
const children = new Set();

/** Starts a program with its output in a file, and remembers it, so that it is always stopped. */
export function start(command, args, output, env = process.env) {
  const log = openSync(output, 'a');
  const child = /** @type {Program} */ (spawn(command, args, { env, stdio: ['ignore', log, log] }));
  closeSync(log);
  children.add(child);
  child.ended = null;
  child.gone = new Promise((/** @type {() => void} */ resolve) => {
    const end = (how) => {
      child.ended = how;
      children.delete(child);
      resolve();
    };
    child.on('error', (/** @type {NodeJS.ErrnoException} */ error) =>
      end(
        `cannot be started: ${error.code === 'ENOENT' ? 'no such file' : error.message}`,
      ),
    );
    child.on('exit', (code, signal) => end(signal ? `signal ${signal}` : `exit code ${code}`));
  });
  return child;
}

/** Stops all programs that still run, and resolves when they are gone. */
export async function stopAll() {
  await Promise.all(
    [...children].map(async (child) => {
      child.kill('SIGTERM');
      const kill = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await child.gone;
      clearTimeout(kill);
    }),
  );
}
