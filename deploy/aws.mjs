// Shared by all verbs of this folder: the `aws` and `sam` programs, questions, one-line failures, Ctrl-C.

import { spawn } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Failure } from '../load-tests/failure.mjs';

export { Failure };

export const ROOT = path.dirname(import.meta.dirname);

/** A call that AWS refused. `code` is AWS's own (`ValidationError`, …), or null if the call did not get that far. */
export class AwsError extends Failure {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

const HOW_TO_GET = {
  aws: 'https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html',
  sam: 'https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/install-sam-cli.html, or `pip install aws-sam-cli`',
};

/** Aborted by SIGINT, SIGTERM or SIGHUP; its reason is a `Failure`. */
const interrupted = new AbortController();
export const interruption = interrupted.signal;

/**
 * Runs a program to its end; resolves with `{code, stdout, stderr}`. It gets a process group of its own, so that Ctrl-C
 * reaches this program alone, which then decides what to clean up.
 */
export function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: ROOT,
      env: { ...process.env, AWS_PAGER: '', SAM_CLI_TELEMETRY: '0' },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'])
      child[name].setEncoding('utf8').on('data', (chunk) => (output[name] += chunk));
    const end = () => child.kill('SIGTERM');
    interrupted.signal.addEventListener('abort', end, { once: true });
    child.on('error', (/** @type {NodeJS.ErrnoException} */ error) => reject(error.code === 'ENOENT' ? missing(command) : error));
    child.on('close', (code, signal) => {
      interrupted.signal.removeEventListener('abort', end);
      resolve({ code: code ?? 128 + os.constants.signals[signal], ...output });
    });
  });
}

function missing(command) {
  return new Failure(`${command} is not installed${HOW_TO_GET[command] ? `; see ${HOW_TO_GET[command]}` : ''}`);
}

/** One call of the AWS CLI (version 1 or 2); resolves with its JSON, or null if it prints none. Throws `AwsError`. */
export async function aws(service, operation, ...args) {
  const cleaningUp = interrupted.signal.aborted;
  const { code, stdout, stderr } = await run('aws', [service, operation, ...args, '--output', 'json']);
  if (code === 0) return stdout.trim() ? JSON.parse(stdout) : null;
  if (!cleaningUp) interrupted.signal.throwIfAborted();
  const line = stderr.trim().split('\n').at(-1) || `exit code ${code}`;
  throw new AwsError(
    `aws ${service} ${operation}: ${line}`,
    /An error occurred \((\w[\w.]*)\)/.exec(line)?.[1] ?? null,
  );
}

/** Runs a command of the SAM CLI at this terminal, with its questions; resolves with its exit code. */
export function sam(...args) {
  return new Promise((resolve, reject) => {
    const child = spawn('sam', args, { cwd: ROOT, env: { ...process.env, SAM_CLI_TELEMETRY: '0' }, stdio: 'inherit' });
    child.on('error', (/** @type {NodeJS.ErrnoException} */ error) => reject(error.code === 'ENOENT' ? missing('sam') : error));
    child.on('close', (code) => (interrupted.signal.aborted ? reject(interrupted.signal.reason) : resolve(code ?? 1)));
    interrupted.signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
  });
}

/** The call's JSON, or null if what it asks for is not there. */
export async function awsIfThere(...call) {
  try {
    return await aws(...call);
  } catch (error) {
    if (isAbsence(error)) return null;
    throw error;
  }
}

/** CloudFormation says of a stack that is not there that the request is not valid. */
const isAbsence = (error) =>
  error instanceof AwsError &&
  (/NotFound|NonExistent|NoSuch|DoesNotExist/.test(error.code ?? '') || /does not exist/.test(error.message));

/** The stack as CloudFormation describes it, or null. */
export async function findStack(name) {
  return (await awsIfThere('cloudformation', 'describe-stacks', '--stack-name', name))?.Stacks[0] ?? null;
}

/** `findStack`, or a failure that says how to get one. */
export async function requireStack(name) {
  const stack = await findStack(name);
  if (!stack) throw new Failure(`there is no stack "${name}" in ${process.env.AWS_REGION}; \`make deploy\` makes it`);
  return stack;
}

export const stackResources = async (name) =>
  (await aws('cloudformation', 'list-stack-resources', '--stack-name', name)).StackResourceSummaries;

/** The region in use, in the variables of both versions of the CLI and of SAM; a failure if none is set. */
export async function useRegion() {
  const { AWS_REGION, AWS_DEFAULT_REGION } = process.env;
  const region = AWS_REGION || AWS_DEFAULT_REGION || (await run('aws', ['configure', 'get', 'region'])).stdout.trim();
  if (!region)
    throw new Failure('no region is set: `export AWS_REGION=us-east-1`, or `aws configure set region us-east-1`');
  Object.assign(process.env, { AWS_REGION: region, AWS_DEFAULT_REGION: region });
  return region;
}

/** Whose credentials these are, as `{Account, Arn}`; a failure that says what to do if there are none that work. */
export async function whoAmI() {
  try {
    return await aws('sts', 'get-caller-identity');
  } catch (error) {
    if (!(error instanceof AwsError)) throw error;
    if (/locate credentials/.test(error.message)) {
      throw new Failure('there are no AWS credentials: run `aws configure` or `aws sso login`, or set AWS_PROFILE');
    }
    if (/Could not connect|EndpointConnectionError|doesn't match a supported format/.test(error.message)) {
      throw new Failure(
        `AWS cannot be reached in the region "${process.env.AWS_REGION}": is its name right, and the network up?`,
      );
    }
    throw new Failure(`the AWS credentials do not work: ${error.message}`);
  }
}

/** Asks for a yes. `yes` answers it; without it there must be someone at a terminal. */
export async function confirm(question, yes) {
  if (yes) return true;
  const terminal = readline.createInterface({ input: process.stdin, output: process.stdout });
  try {
    // Input that ends without an answer is a no.
    const end = new Promise((resolve) => terminal.once('close', () => resolve('')));
    const answer = await Promise.race([terminal.question(`${question} [y/N] `, { signal: interrupted.signal }), end]);
    if (!process.stdin.isTTY) say(''); // nobody has pressed Enter
    return /^y(es)?$/i.test(answer.trim());
  } catch (error) {
    interrupted.signal.throwIfAborted();
    throw error;
  } finally {
    terminal.close();
  }
}

export const pause = async (ms) => {
  try {
    await sleep(ms, undefined, { signal: interrupted.signal });
  } catch (error) {
    interrupted.signal.throwIfAborted();
    throw error;
  }
};

export function say(line) {
  process.stdout.write(`${line}\n`);
}

/**
 * Options of the command line; what is unknown or wrong is one line. An empty one counts as not given, as make gives it.
 *
 * @returns {any}
 */
export function options(spec) {
  try {
    const { values } = parseArgs({ options: spec });
    return Object.fromEntries(
      Object.entries(values).map(([name, value]) => [name, value === '' ? spec[name].default : value]),
    );
  } catch (error) {
    throw new Failure(error.message);
  }
}

/** Runs a verb: each failure is one line, and after any interruption the verb cleans up first. */
export async function verb(name, main) {
  const interrupt = (signal) => interrupted.abort(new Failure(`interrupted by ${signal}`, { cause: signal }));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, interrupt);
  process.stdout.on('error', () => interrupt('SIGPIPE')); // the reader of the output has gone
  process.exitCode = 1;
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    const { aborted, reason } = interrupted.signal;
    if (aborted) process.exitCode = 128 + os.constants.signals[reason.cause];
    const shown = aborted ? reason : error;
    console.error(`${name} failed: ${shown instanceof Failure ? shown.message : shown.stack}`);
  }
}
