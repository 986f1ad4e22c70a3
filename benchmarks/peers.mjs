// The peers of the shop's functions: the same route written in other ways, each built below target/bench.

import { execFile, execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

const HERE = import.meta.dirname;
const ROOT = path.dirname(HERE);
export const OUT = path.join(ROOT, 'target/bench');
const CODE = path.join(OUT, 'code');
const CARGO_TARGET = path.join(OUT, 'cargo');

const run = promisify(execFile);

/** As many roots as a system has, for programs that read those on AWS; trust.mjs writes it. */
export const SYSTEM_ROOTS = path.join(OUT, 'roots.pem');
const BY_SYSTEM = { SSL_CERT_FILE: SYSTEM_ROOTS, AWS_CA_BUNDLE: SYSTEM_ROOTS };

/** For functions with Amazon's roots compiled in: nobody hands over others. */
const BY_AMAZON = { SSL_CERT_FILE: '' };

const GET_PRODUCT = path.join(ROOT, 'target/lambda/get-product/bootstrap');

/**
 * The other ways to do it, each with the roots that it has on AWS: Node.js has its own compiled in, and reads the host's one
 * beside them. `floor` is first: everything is compared with it.
 */
export const PEERS = [
  rust('floor', { note: 'Rust, no SDK and no call' }),
  copy('one-root', GET_PRODUCT, { note: 'get-product; roots: the one that local hands over' }),
  copy('system-roots', GET_PRODUCT, { note: "get-product; roots: the system's", environment: BY_SYSTEM }),
  rust('sdk-defaults', { note: "Rust, every default of the SDK; roots: the system's", environment: BY_SYSTEM }),
  { name: 'python', note: 'Python, boto3, awslambdaric', prepare: preparePython, environment: BY_SYSTEM },
  { name: 'node', note: 'Node.js, SDK v3 in one bundle, aws-lambda-ric', prepare: prepareNode },
];

/** The features that `shop` uses. */
const CHOSEN = ['own-client', 'plain-answer', 'lean-config', 'prime-call'];
const without = (feature) => CHOSEN.filter((chosen) => chosen !== feature);

const BASE = path.join(CODE, 'base/bootstrap');

/** One candidate each, as a change to `base`; benchmarks/ladder/Cargo.toml describes the features. */
export const LADDER = [
  step('base', CHOSEN, 'what shop does; roots: the one of local'),
  step('aws-lc', ['aws-lc', ...without('own-client')], "TLS by aws-lc, the SDK's HTTP client"),
  step('sdk-client', ['sdk-client-ring', ...without('own-client')], "the SDK's HTTP client, with ring"),
  copy('amazon-roots', BASE, { note: "Amazon's roots, compiled in: as on AWS", environment: BY_AMAZON, plants: true }),
  copy('system-roots', BASE, { note: "the system's roots", environment: BY_SYSTEM }),
  step('no-priming', without('prime-call'), 'nothing done in init'),
  step('prime-connection', ['prime-connection', ...without('prime-call')], 'a connection opened in init, no call'),
  step('chain', ['chain', ...CHOSEN], 'aws-config and its provider chain'),
  step('fixed-endpoint', ['fixed-endpoint', ...CHOSEN], 'no endpoint rules'),
  step('charsets', without('plain-answer'), "lambda_http's own answers"),
  step('no-lean-config', without('lean-config'), 'cache of credentials, watch over slow streams'),
  step('multi-thread', ['multi-thread', ...CHOSEN], "tokio's threads"),
  step('subscriber', ['subscriber', ...CHOSEN], 'tracing-subscriber, EnvFilter, JSON'),
  step('log', ['log', ...CHOSEN], 'the same, one line a request'),
  step('mimalloc', ['mimalloc', ...CHOSEN], 'mimalloc'),
  step('no-pie', CHOSEN, 'fixed load address', { flags: ['-Crelocation-model=static', '-Clink-arg=-no-pie'] }),
  step('lazy-binding', CHOSEN, 'symbols bound on first use', { flags: ['-Crelro-level=partial'] }),
  step('relr', CHOSEN, 'packed relocations', { flags: ['-Clink-arg=-Wl,-z,pack-relative-relocs'] }),
  step('opt-z', CHOSEN, 'opt-level z', { profile: 'opt-z' }),
  step('opt-3', CHOSEN, 'opt-level 3', { profile: 'opt-3' }),
  step('ring-s', CHOSEN, 'ring at opt-level s, as the rest', { profile: 'ring-s' }),
  step('unwind', CHOSEN, 'panic = "unwind"', { profile: 'unwind' }),
];

function step(name, features, note, more = {}) {
  return rust(name, { crate: 'ladder', features, noDefaults: true, note, ...more });
}

/** A row of measurements for one of the shop's functions: a copy of what template.yaml has, with the roots that it has on AWS. */
export function ours(name, codeDir) {
  return {
    ...copy(name, path.join(codeDir, 'bootstrap'), { note: "roots as on AWS: Amazon's", environment: BY_AMAZON, plants: true }),
    crates: () => countCrates(path.join(ROOT, 'Cargo.toml'), name),
  };
}

/**
 * A program that is there already, in a folder of its own; `plants` says that trust.mjs puts a root into it.
 *
 * @param {string} name
 * @param {string} program
 * @param {{ note: string, environment?: Record<string, string>, plants?: boolean }} more
 */
function copy(name, program, { note, environment, plants = false }) {
  const codeDir = path.join(CODE, name);
  const binary = path.join(codeDir, 'bootstrap');
  return {
    name,
    note,
    codeDir,
    binary,
    upload: [program],
    environment,
    plantsInto: plants ? program : null,
    async prepare() {
      mkdirSync(codeDir, { recursive: true });
      cpSync(program, binary);
    },
  };
}

/**
 * A program of benchmarks/, built from the crate of this name unless `crate` says another.
 *
 * @param {string} name
 * @param {{ crate?: string, features?: string[], noDefaults?: boolean, profile?: string, flags?: string[], note: string,
 *   environment?: Record<string, string> }} more
 */
function rust(name, { crate = name, features = [], noDefaults = false, profile = 'release', flags = [], note, environment }) {
  const codeDir = path.join(CODE, name);
  const manifest = path.join(HERE, 'Cargo.toml');
  const selection = [...(noDefaults ? ['--no-default-features'] : []), ...(features.length ? ['-F', features.join()] : [])];
  return {
    name,
    note,
    codeDir,
    binary: path.join(codeDir, 'bootstrap'),
    upload: [path.join(codeDir, 'bootstrap')],
    environment,
    crates: () => countCrates(manifest, crate, selection),
    async prepare() {
      // `cargo rustc` passes the flags to the last crate only. With fat LTO that crate generates the code.
      const args = ['rustc', '--locked', '--manifest-path', manifest, '-p', crate, '--profile', profile, ...selection];
      await run('cargo', [...args, '--', ...flags], { env: { ...process.env, CARGO_TARGET_DIR: CARGO_TARGET } });
      mkdirSync(codeDir, { recursive: true });
      cpSync(path.join(CARGO_TARGET, profile, crate), this.binary);
    },
  };
}

async function preparePython() {
  const codeDir = path.join(CODE, 'python');
  this.codeDir = codeDir;
  const python = path.join(codeDir, 'venv/bin/python');
  const requirements = path.join(HERE, 'python/requirements.txt');
  mkdirSync(codeDir, { recursive: true });
  if (isNewer(requirements, path.join(codeDir, '.installed'))) {
    await run('python3', ['-m', 'venv', '--clear', path.join(codeDir, 'venv')]);
    await run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements]);
    writeFileSync(path.join(codeDir, '.installed'), '');
  }
  cpSync(path.join(HERE, 'python/handler.py'), path.join(codeDir, 'handler.py'));
  writeBootstrap(codeDir, `exec ${python} -m awslambdaric handler.handler`);
  this.upload = [path.join(codeDir, 'handler.py')];
  const { stdout } = await run(python, ['--version']);
  this.note = `${stdout.trim()}, boto3, awslambdaric`;
}

async function prepareNode() {
  const codeDir = path.join(CODE, 'node');
  this.codeDir = codeDir;
  mkdirSync(codeDir, { recursive: true });
  for (const file of ['package.json', 'package-lock.json', 'index.mjs']) {
    cpSync(path.join(HERE, 'node', file), path.join(codeDir, file));
  }
  // The runtime client compiles curl and itself, which takes minutes, once.
  const env = { ...process.env, PATH: `${path.dirname(process.execPath)}:${process.env.PATH}` };
  if (isNewer(path.join(HERE, 'node/package-lock.json'), path.join(codeDir, '.installed'))) {
    await run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: codeDir, env });
    writeFileSync(path.join(codeDir, '.installed'), '');
  }
  await run('npm', ['run', 'build'], { cwd: codeDir, env });
  const client = path.join(codeDir, 'node_modules/aws-lambda-ric/index.mjs');
  // The client reads the handler from the environment first. There the host has put the name of the program.
  writeBootstrap(codeDir, `export _HANDLER=dist/index.handler; exec ${process.execPath} ${client} "$_HANDLER"`);
  this.upload = [path.join(codeDir, 'dist/index.mjs')];
  this.note = `Node.js ${process.version}, SDK v3 in one bundle, aws-lambda-ric`;
}

function isNewer(source, stamp) {
  return !existsSync(stamp) || statSync(source).mtimeMs > statSync(stamp).mtimeMs;
}

function writeBootstrap(codeDir, command) {
  writeFileSync(path.join(codeDir, 'bootstrap'), `#!/bin/sh\n${command}\n`, { mode: 0o755 });
}

async function countCrates(manifest, name, selection = []) {
  const args = ['tree', '--locked', '--manifest-path', manifest, '-p', name, '-e', 'normal,no-proc-macro', '--prefix', 'none'];
  const { stdout } = await run('cargo', [...args, '--format', '{p}', ...selection]);
  return new Set(stdout.split('\n').filter(Boolean).map((line) => line.split(' ').slice(0, 2).join(' '))).size;
}

/**
 * Bytes of a zip of `files` made by `zip -9X`, to within some bytes. Each file is deflated, with 30 bytes of local header
 * and 46 of central directory, its name in both, and 22 bytes at the end. Times are left out, so the size depends on
 * content alone. gzip deflates like zip, with 18 bytes of its own around it. Node.js has another zlib, whose output is
 * 3 % larger.
 */
export function zipBytes(files) {
  const deflated = (file) => execFileSync('gzip', ['-9', '-n', '-c', file], { maxBuffer: 1e9 }).length - 18;
  return files.reduce((sum, file) => sum + deflated(file) + 76 + 2 * path.basename(file).length, 22);
}

/** Removes the files of peers that no longer exist. */
export function tidy(names) {
  if (!existsSync(CODE)) return;
  for (const name of readdirSync(CODE)) {
    if (!names.includes(name)) rmSync(path.join(CODE, name), { recursive: true });
  }
}
