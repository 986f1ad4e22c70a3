// A refusal is one line, and comes before anything is created. Scripts stand in for programs that answer wrongly;
// test/aws runs the verbs with the real ones.

import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { environment, fakePath, lastLine, projectCopy, run, start, temporaryFolder } from './verbs.mjs';

/** The environment of a verb that finds these programs and no others; `sh` is always there, for the scripts. */
const only = (programs, added = {}) =>
  environment({ PATH: fakePath({ sh: null, ...programs }), AWS_REGION: 'us-east-1', ...added });

async function refusal(verb, args, env) {
  const { code, output } = await run(verb, args, { env });
  assert.equal(code, 1, output);
  assert.doesNotMatch(output, /\n\s+at /, 'no stack');
  return lastLine(output);
}

/** A cargo that knows cargo-lambda, says what it is asked to build, and does not build it. */
const CARGO = 'case "$*" in "lambda --version") exit 0;; *) echo "cargo $*"; exit 3;; esac';

test('make build says which tool is missing, and how to get it', async () => {
  const targets = temporaryFolder();
  const rustc = (exists) => `echo ${exists ? targets : '/nowhere'}`;
  const build = (programs, arch = 'arm64') => refusal('build', ['--arch', arch], only(programs));
  const works = 'exit 0';
  assert.match(await build({}), /^build failed: cargo-lambda is not installed: `pip install cargo-lambda`/);
  assert.match(await build({ cargo: 'exit 101' }), /cargo-lambda is not installed/);
  assert.match(await build({ cargo: CARGO }), /^build failed: rustc is not installed/);
  assert.equal(
    await build({ cargo: CARGO, rustc: rustc(false) }),
    'build failed: Rust cannot build for aarch64-unknown-linux-gnu yet: `rustup target add aarch64-unknown-linux-gnu`',
  );
  assert.match(
    await build({ cargo: CARGO, rustc: rustc(true) }),
    /^build failed: zig, which links for Lambda, is not installed: `pip install ziglang`/,
  );
  assert.match(
    await build({ cargo: CARGO, rustc: rustc(true), zig: 'exit 1' }),
    /zig, which links for Lambda, is not installed/,
  );
  for (const zig of [{ zig: works }, { python3: 'test "$*" = "-m ziglang version"' }]) {
    assert.match(
      await build({ cargo: CARGO, rustc: rustc(true), ...zig }),
      /cargo lambda build ended with exit code 3/,
    );
  }
  assert.match(await build({}, 'arm'), /^build failed: ARCH must be arm64 or x86_64, but is "arm"$/);
  assert.match(await build({}, ''), /^build failed: ARCH must be arm64 or x86_64, but is ""$/);
});

const CARGO_BUILDS = CARGO.replace('; exit 3', '');

test('make build gives cargo-lambda the processor, and each function', async () => {
  const { output } = await run('build', ['--arch', 'x86_64'], {
    env: only({ cargo: CARGO_BUILDS, rustc: `echo ${temporaryFolder()}`, zig: 'exit 0' }),
  });
  const flags = String.raw`--locked --x86-64 --lambda-dir \S+\/target\/lambda`;
  assert.match(output, new RegExp(`^cargo lambda build --release ${flags}( -p [a-z-]+){8}$`, 'm'));
});

/** An aws that knows one caller and nothing else, unless `more` of its cases say so. */
const AWS = (more = '') =>
  `case "$*" in ${more}
   "--version") exit 0;;
   "configure get region") exit 1;;
   "sts get-caller-identity"*) echo '{"Account": "1", "Arn": "arn:aws:iam::1:user/u"}';;
   *) echo "unexpected: aws $*" >&2; exit 99;;
   esac`;

test('outputs, destroy and power-tune say that there are no tools, region or credentials', async () => {
  for (const verb of ['outputs', 'destroy', 'power-tune', 'logs']) {
    const says = (env) => refusal(verb, [], env);
    assert.match(
      await says(only({}, { AWS_REGION: '' })),
      new RegExp(`^${verb} failed: aws is not installed; see https://`),
    );
    assert.match(
      await says(only({ aws: AWS() }, { AWS_REGION: '' })),
      new RegExp(`^${verb} failed: no region is set: \`export AWS_REGION=`),
    );
  }
  const caller = (stderr) =>
    refusal('destroy', [], only({ aws: AWS(`"sts get-caller-identity"*) echo '${stderr}' >&2; exit 254;;`) }));
  assert.match(
    await caller('Unable to locate credentials. You can configure credentials by running "aws configure".'),
    /^destroy failed: there are no AWS credentials: run `aws configure`/,
  );
  assert.match(
    await caller(
      'An error occurred (ExpiredToken) when calling the GetCallerIdentity operation: The security token included in the request is expired',
    ),
    /^destroy failed: the AWS credentials do not work: .*ExpiredToken.*expired$/,
  );
  assert.match(
    await caller('Could not connect to the endpoint URL: "https://sts.us-eest-1.amazonaws.com/"'),
    /AWS cannot be reached in the region "us-east-1": is its name right/,
  );
});

test('a stack that is not there is not asked for its outputs', async () => {
  const env = only({
    aws: AWS(
      `"cloudformation describe-stacks"*) echo 'An error occurred (ValidationError) when calling the DescribeStacks operation: Stack with id shop-dev does not exist' >&2; exit 254;;`,
    ),
  });
  assert.match(
    await refusal('outputs', [], env),
    /^outputs failed: there is no stack "shop-dev" in us-east-1; `make deploy` makes it$/,
  );
});

test('what AWS refuses is told in its own words', async () => {
  const env = only({
    aws: AWS(
      `"cloudformation describe-stacks"*) echo 'An error occurred (AccessDenied) when calling the DescribeStacks operation: User u may not' >&2; exit 254;;`,
    ),
  });
  assert.match(
    await refusal('outputs', [], env),
    /^outputs failed: aws cloudformation describe-stacks: An error occurred \(AccessDenied\) .*: User u may not$/,
  );
});

test('make deploy refuses parameters before it calls anybody', async () => {
  const env = only({}); // neither aws nor sam: any program that is called is missing
  const says = (...args) => refusal('deploy', args, env);
  assert.match(
    await says('--stage', 'qa'),
    /^deploy failed: there is no stage "qa" in samconfig.yaml; there are: dev, prod$/,
  );
  assert.match(await says('--parameters', 'Nonsense=1'), /^deploy failed: template.yaml: there is no parameter "Nonsense"/);
  assert.match(
    await says('--parameters', 'ThrottleRate=fast'),
    /^deploy failed: template.yaml:\d+: Parameters.ThrottleRate: the value "fast" is refused: it must be a number$/,
  );
  assert.match(await says('--parametres', 'x'), /^deploy failed: Unknown option '--parametres'/);
});

test('without the program that reads the template, a verb says how to build it', async () => {
  const root = projectCopy();
  for (const build of ['debug', 'host']) rmSync(path.join(root, 'target', build));
  const { code, output } = await start('deploy/power-tune', [], { root, env: only({}), input: '' }).ended;
  assert.equal(code, 1);
  assert.equal(
    lastLine(output),
    'power-tune failed: target/host/local, which reads template.yaml, is not built: `make host` builds it',
  );
});

test('make power-tune refuses what the state machine would refuse', async () => {
  const says = (...args) => refusal('power-tune', args, only({}));
  assert.match(
    await says('--function', 'GetNothing'),
    /^power-tune failed: template.yaml has no function "GetNothing"; it has: GetProduct, /,
  );
  assert.match(await says('--powers', '64,128'), /POWERS must be memory sizes of 128 to 10240 MB/);
  assert.match(await says('--powers', '128,big'), /POWERS must be memory sizes/);
  assert.match(await says('--runs', '4'), /RUNS must be a whole number of 5 or more, but is "4"/);
});

test('make load-test-distributed refuses what would cost money for nothing', async () => {
  const says = (...args) => refusal('distributed', args, only({}));
  const api = ['--api-url', 'https://x.execute-api.us-east-1.amazonaws.com'];
  assert.match(
    await says(),
    /^distributed load test failed: API_URL must be the address of a stack, https:\/\/…, but is ""/,
  );
  assert.match(await says('--api-url', 'shop'), /API_URL must be the address of a stack/);
  assert.match(await says(...api, '--engine', 'ec2'), /ENGINE must be fargate or lambda, but is "ec2"/);
  assert.match(await says(...api, '--workers', '0'), /WORKERS must be a whole number of 1 or more, but is "0"/);
  assert.match(await says(...api, '--profile', 'lode'), /there is no profile "lode"; there are: smoke, /);
  assert.match(await says(...api, '--profile', 'stress'), /stress goes step by step, from one machine/);
  assert.match(await says(...api), /aws is not installed|no region/);
});

test('a verb stops on Ctrl-C, and says so by its exit code', async () => {
  const asked = path.join(temporaryFolder(), 'asked');
  const env = only({ aws: AWS(`"cloudformation describe-stacks"*) : > ${asked}; exec sleep 30;;`), sleep: null });
  const { child, ended } = start('deploy/destroy', [], { env });
  while (!existsSync(asked)) await sleep(20);
  child.kill('SIGINT');
  const { code, output } = await ended;
  assert.equal(code, 130);
  assert.equal(lastLine(output), 'destroy failed: interrupted by SIGINT');
});
