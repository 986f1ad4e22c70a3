// The stand-in for the shop that workshop/examples/stand_in.rs is, as a program.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import readline from 'node:readline';

const ROOT = path.resolve(import.meta.dirname, '../..');

/** The credentials whose signature the stand-in accepts, for eu-west-1. */
export const CREDENTIALS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' };

/** Starts it, broken in one way if `fault` says so; resolves with `{url, close}`. */
export async function startStandIn(fault = '') {
  const args = ['run', '--quiet', '--locked', '-p', 'workshop', '--example', 'stand_in', '--', 'shop', fault];
  const child = spawn('cargo', args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
  const [url] = await once(readline.createInterface(child.stdout), 'line');
  return {
    url,
    async close() {
      child.kill();
      await once(child, 'exit');
    },
  };
}
