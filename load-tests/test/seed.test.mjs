import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { test } from 'node:test';
import { products } from '../catalogue.mjs';
import { regionOf } from '../sign.mjs';
import { CREDENTIALS, startStandIn } from './stand-in.mjs';

const NOWHERE = {
  AWS_CONFIG_FILE: '/no/such/file',
  AWS_SHARED_CREDENTIALS_FILE: '/no/such/file',
  AWS_EC2_METADATA_DISABLED: 'true',
};
const OWN = { AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId, AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey };

async function seed(args, credentials = {}) {
  const others = Object.entries(process.env).filter(([name]) => !name.startsWith('AWS_'));
  const env = { ...Object.fromEntries(others), ...NOWHERE, ...credentials };
  const child = spawn(process.execPath, [path.resolve(import.meta.dirname, '../seed.mjs'), ...args], { env });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const [code] = await once(child, 'close');
  return { code, output };
}

async function seedInto(fault, args, credentials) {
  const stack = await startStandIn(fault);
  try {
    const result = await seed(['--api-url', `${stack.url}/`, ...args], credentials);
    const { status } = await fetch(`${stack.url}/products/${products.at(-1).id}`);
    return { ...result, last: status };
  } finally {
    await stack.close();
  }
}

test('the whole catalogue is written, signed where the stack asks for it', async () => {
  for (const [fault, args, credentials] of [
    [undefined, []],
    ['iam', ['--sign-region', 'eu-west-1'], OWN],
  ]) {
    const { code, output, last } = await seedInto(fault, args, credentials);
    assert.equal(code, 0, output);
    assert.match(output, /catalogue: 1000 of 1000 products\n$/);
    assert.equal(last, 200);
  }
});

test('writes that cannot be signed, or by somebody else, fail in one line, and nothing is written', async () => {
  const none = await seedInto('iam', ['--sign-region', 'eu-west-1']);
  assert.match(
    none.output,
    /^seed failed: the request cannot be signed: Could not load credentials from any providers$/m,
  );
  const other = await seedInto('iam', ['--sign-region', 'eu-west-1'], { ...OWN, AWS_SECRET_ACCESS_KEY: 'another' });
  assert.match(
    other.output,
    /^seed failed: PUT .* answered 403: these AWS credentials may not write to the catalogue/m,
  );
  for (const { code, last } of [none, other]) assert.deepEqual([code, last], [1, 404]);
});

test('an address that is none is refused in one line', async () => {
  for (const args of [[], ['--api-url', ''], ['--api-url', 'shop'], ['--api-url', 'ftp://shop']]) {
    const { code, output } = await seed(args);
    assert.equal(code, 1);
    assert.match(
      output,
      /^seed failed: API_URL must be the address of a stack, https:\/\/…, but is "[^"]*"; `make outputs` shows it\n$/,
    );
  }
});

test('only addresses of API Gateway name the region that their requests are signed for', () => {
  assert.equal(regionOf('https://a1b2.execute-api.eu-west-1.amazonaws.com'), 'eu-west-1');
  assert.equal(regionOf('https://a1b2.execute-api.cn-north-1.amazonaws.com.cn/x'), 'cn-north-1');
  for (const other of [
    'http://127.0.0.1:3000',
    'https://shop.example.com',
    'https://a1.execute-api.eu-west-1.amazonaws.com.evil.example',
    'https://evil.example/.execute-api.eu-west-1.amazonaws.com',
  ]) {
    assert.equal(regionOf(other), null, other);
  }
});
