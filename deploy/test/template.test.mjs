import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { concurrencyRefusal, reservationRefusal } from '../preflight.mjs';
import { checkBinaries, functionsOf, overrides, parameterValues, profile, readTemplate } from '../template.mjs';
import { temporaryFolder } from './verbs.mjs';

/** The header of an executable for arm64. */
const ARM64 = Buffer.concat([Buffer.from('7f454c4602010100', 'hex'), Buffer.alloc(10), Buffer.from([0xb7, 0])]);

/** A template with one function and its binary, in a file. */
function shop() {
  const root = temporaryFolder();
  const template = {
    Parameters: {
      Architecture: { Type: 'String', Default: 'arm64', AllowedValues: ['arm64', 'x86_64'] },
      Size: { Type: 'Number', Default: 256, MinValue: 128, MaxValue: 512 },
      Mail: { Type: 'String', Default: '', AllowedPattern: '^$|^[^@]+@[^@]+$' },
    },
    Globals: { Function: { Architectures: [{ Ref: 'Architecture' }] } },
    Resources: { One: { Type: 'AWS::Serverless::Function', Properties: { CodeUri: 'one/', MemorySize: { Ref: 'Size' } } } },
  };
  mkdirSync(path.join(root, 'one'));
  writeFileSync(path.join(root, 'one/bootstrap'), ARM64);
  const file = path.join(root, 'template.json');
  writeFileSync(file, JSON.stringify(template));
  return { root, file };
}

test('binaries that are missing or for the other processor are refused, and the verb that builds them is named', () => {
  const { root, file } = shop();
  checkBinaries('arm64', file);
  assert.throws(() => checkBinaries('x86_64', file), {
    message: 'one/bootstrap is built for arm64, and the function is to run on x86_64; `make build ARCH=x86_64` builds it',
  });
  rmSync(path.join(root, 'one/bootstrap'));
  assert.throws(() => checkBinaries('arm64', file), {
    message: 'one/bootstrap is missing; `make build ARCH=arm64` builds it',
  });
});

test('a parameter that the template would refuse is refused by its rule', () => {
  const { file } = shop();
  const template = (given) => readTemplate(given, { file });
  assert.deepEqual(template({ Size: '512' }).Parameters, { Architecture: 'arm64', Size: 512, Mail: '' });
  assert.throws(() => template({ Siz: '512' }), /there is no parameter "Siz" .*declares: Architecture, Size, Mail$/);
  assert.throws(() => template({ Architecture: 'arm' }), /Parameters.Architecture: .*"arm".* one of arm64, x86_64$/);
  assert.throws(() => template({ Size: '127' }), /must be at least 128/);
  assert.throws(() => template({ Mail: 'nobody' }), /must match/);
});

test('functions have the properties of Globals, and the values of parameters', () => {
  const [one] = functionsOf(readTemplate({ Size: '512' }, { file: shop().file }));
  assert.deepEqual(one, { id: 'One', Architectures: ['arm64'], CodeUri: 'one/', MemorySize: 512 });
});

test('each rule of template.yaml can be broken; dev breaks none, and prod asks who may order', () => {
  const broken = (given) => {
    try {
      readTemplate(given);
      return null;
    } catch ({ message }) {
      return message;
    }
  };
  assert.equal(broken(overrides('dev')), null);
  for (const decided of ['OrderAccess=open', 'JwtIssuer=https://issuer.example JwtAudience=shop'])
    assert.equal(broken(overrides('prod', decided)), null, decided);
  assert.match(broken(overrides('prod')), /needs a JwtIssuer whose tokens may order, or OrderAccess=open for anyone/);
  assert.match(broken({ Stage: 'prod', CatalogueWrites: 'open' }), /CatalogueWrites=iam/);
  assert.match(broken({ JwtIssuer: 'https://issuer.example' }), /JwtAudience/);
  assert.match(broken({ JwtIssuer: 'https://issuer.example', JwtAudience: 'shop', OrderAccess: 'open' }), /contradict/);
  assert.match(broken({ MonthlyBudget: '50' }), /AlarmEmail/);
  assert.match(broken({ OnDemandMaxReads: '5' }), /OnDemandMaxWrites/);
});

test('parameters of the command line come after those of the profile', () => {
  assert.deepEqual(overrides('prod', 'CatalogueWrites=iam  AlarmEmail='), {
    Stage: 'prod',
    CatalogueWrites: 'iam',
    AlarmEmail: '',
  });
  assert.equal(overrides('dev', 'Stage=prod').Stage, 'prod');
  assert.throws(() => overrides('dev', 'Stage prod'), /^Error: a parameter is written Name=value, but one is "Stage"$/);
  assert.throws(() => overrides('dev', 'JwtAudience=a\\b'), /^Error: the parameter JwtAudience has a backslash/);
  assert.throws(() => profile('qa'), /^Error: there is no stage "qa" in samconfig.yaml; there are: dev, prod$/);
});

test("parameters that do not fit into the account's concurrency are refused", () => {
  const refusal = (given, limit, free = limit) => {
    const template = readTemplate(given);
    const values = parameterValues(template, given);
    const limits = { ConcurrentExecutions: limit, UnreservedConcurrentExecutions: free };
    return concurrencyRefusal(functionsOf(template), values, limits);
  };
  assert.equal(refusal({}, 10), null, 'a new account');
  assert.match(
    refusal({ MaximumConcurrency: '50' }, 10),
    /^MaximumConcurrency is 50, but this account may run 10 at once/,
  );
  assert.match(refusal({ ReservedConcurrency: '5' }, 10), /^ReservedConcurrency=5 takes 40, .*; Lambda keeps 100 free/);
  assert.equal(refusal({ ReservedConcurrency: '5' }, 1000), null);
  assert.match(refusal({ ReservedConcurrency: '5' }, 1000, 139), /takes 40/);
  assert.equal(refusal({ ReservedConcurrency: '5' }, 1000, 140), null);
  assert.match(refusal({ ProvisionedConcurrency: '2' }, 113), /^ProvisionedConcurrency=2 takes 14, /);
  assert.equal(refusal({ ProvisionedConcurrency: '2' }, 114), null);
  assert.equal(
    refusal({ ProvisionedConcurrency: '5', ReservedConcurrency: '5' }, 140),
    null,
    'taken from the reserved',
  );
});

test('a reservation below what it has to hold is refused', () => {
  for (const reserved of [0, 5, 10, 20])
    for (const most of [2, 5, 10, 20])
      for (const provisioned of [0, 5, 10, 20]) {
        const given = { ReservedConcurrency: reserved, MaximumConcurrency: most, ProvisionedConcurrency: provisioned };
        const values = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, String(value)]));
        const fits = reserved === 0 || Math.max(most, provisioned) <= reserved;
        assert.equal(reservationRefusal(values) === null, fits, JSON.stringify(given));
      }
  const refusal = (name) => reservationRefusal({ ReservedConcurrency: '9', [name]: '10' });
  for (const name of ['MaximumConcurrency', 'ProvisionedConcurrency'])
    assert.equal(refusal(name), `ReservedConcurrency=9 is below ${name}=10`);
});
