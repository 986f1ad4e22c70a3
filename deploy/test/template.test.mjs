import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { architectureOf } from '../elf.mjs';
import { concurrencyRefusal, reservationRefusal } from '../preflight.mjs';
import {
  brokenRule,
  checkBinaries,
  functionsOf,
  overrides,
  parameterValues,
  profile,
  readTemplate,
  resolver,
} from '../template.mjs';
import { temporaryFolder } from './verbs.mjs';

const ELF = (machine) =>
  Buffer.concat([Buffer.from('7f454c4602010100', 'hex'), Buffer.alloc(10), Buffer.from([machine, 0])]);

/** A small template and a folder with its binaries. */
function shop({ machine = 0xb7 } = {}) {
  const root = temporaryFolder();
  const template = {
    Parameters: {
      Architecture: { Type: 'String', Default: 'arm64', AllowedValues: ['arm64', 'x86_64'] },
      Size: { Type: 'Number', Default: 256, MinValue: 128, MaxValue: 512 },
      Mail: { Type: 'String', Default: '', AllowedPattern: '^$|^[^@]+@[^@]+$' },
    },
    Rules: {
      Together: {
        RuleCondition: { 'Fn::Equals': [{ Ref: 'Architecture' }, 'x86_64'] },
        Assertions: [
          { Assert: { 'Fn::Contains': [[128, 256], { Ref: 'Size' }] }, AssertDescription: 'too big for x86_64' },
        ],
      },
    },
    Conditions: { IsBig: { 'Fn::Not': [{ 'Fn::Equals': [{ Ref: 'Size' }, 256] }] } },
    Resources: {
      One: { Type: 'AWS::Serverless::Function', Properties: { CodeUri: 'one/' } },
      Queue: { Type: 'AWS::SQS::Queue' },
    },
  };
  mkdirSync(path.join(root, 'one'));
  writeFileSync(path.join(root, 'one/bootstrap'), ELF(machine));
  return { template, root };
}

test('the processor of an executable is read from its header', () => {
  const file = path.join(temporaryFolder(), 'bootstrap');
  const read = (bytes) => {
    writeFileSync(file, bytes);
    return architectureOf(file);
  };
  assert.equal(read(ELF(0x3e)), 'x86_64');
  assert.equal(read(ELF(0xb7)), 'arm64');
  assert.equal(read(ELF(0x28)), null, '32-bit Arm');
  assert.equal(read(Buffer.from(ELF(0x3e)).fill(1, 4, 5)), null, '32 bits of x86-64');
  assert.equal(read(Buffer.from('cffaedfe0c000001', 'hex')), null, 'macOS');
  assert.equal(read(Buffer.from('#!/bin/sh\necho a script\n')), null);
  assert.equal(read(Buffer.alloc(0)), null);
});

test('binaries that are missing, for the other processor or none at all are refused by name', () => {
  const { template, root } = shop();
  checkBinaries(template, 'arm64', root);
  assert.throws(() => checkBinaries(template, 'x86_64', root), {
    message: 'one/bootstrap is built for arm64, and the stack is to run on x86_64; `make build ARCH=x86_64` builds it',
  });
  for (const [needs, fits] of [
    ['GLIBC_2.2.5 GLIBC_2.34', true],
    ['GLIBC_2.4 GLIBC_2.39', false],
  ]) {
    writeFileSync(path.join(root, 'one/bootstrap'), Buffer.concat([ELF(0xb7), Buffer.from(String(needs))]));
    const check = () => checkBinaries(template, 'arm64', root);
    if (fits) check();
    else
      assert.throws(
        check,
        /^Error: one\/bootstrap needs glibc 2\.39 of this machine, and Lambda has 2\.34; `make build ARCH=arm64` builds it$/,
      );
  }
  writeFileSync(path.join(root, 'one/bootstrap'), 'no binary');
  assert.throws(() => checkBinaries(template, 'arm64', root), /^Error: one\/bootstrap is no Linux executable, /);
  template.Resources.One.Properties.CodeUri = 'two/';
  assert.throws(
    () => checkBinaries(template, 'arm64', root),
    /^Error: two\/bootstrap is missing; `make build ARCH=arm64` builds it$/,
  );
});

test('a parameter that the template would refuse is refused by its rule', () => {
  const { template } = shop();
  const values = (given) => parameterValues(template, given);
  assert.deepEqual(values({ Size: '512' }), { Architecture: 'arm64', Size: '512', Mail: '' });
  assert.throws(
    () => values({ Siz: '512' }),
    /^Error: template.yaml has no parameter "Siz"; it has: Architecture, Size, Mail$/,
  );
  assert.throws(
    () => values({ Architecture: 'arm' }),
    /^Error: the parameter Architecture must be one of arm64, x86_64, but is "arm"$/,
  );
  assert.throws(() => values({ Size: '127' }), /must be 128 or more/);
  assert.throws(() => values({ Size: '513' }), /must be 512 or less/);
  assert.throws(() => values({ Size: 'big' }), /must be a number/);
  assert.throws(() => values({ Mail: 'nobody' }), /must match/);
});

test("the template's rules are held before AWS holds them", () => {
  const { template } = shop();
  assert.equal(brokenRule(template, parameterValues(template, { Size: '512' })), null);
  assert.equal(brokenRule(template, parameterValues(template, { Architecture: 'x86_64' })), null);
  assert.equal(
    brokenRule(template, parameterValues(template, { Architecture: 'x86_64', Size: '512' })),
    'too big for x86_64',
  );
});

test('each rule of template.yaml can be broken; dev breaks none, and prod asks who may order', () => {
  const template = readTemplate();
  const broken = (given) => brokenRule(template, parameterValues(template, given));
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

test('conditions, choices and values that are left out are resolved', () => {
  const { template } = shop();
  const { resolve, holds } = resolver(template, { Size: '256' });
  assert.equal(holds('IsBig'), false);
  assert.equal(resolver(template, { Size: '512' }).holds('IsBig'), true);
  assert.deepEqual(
    resolve({
      a: { 'Fn::If': ['IsBig', 'big', { Ref: 'Size' }] },
      b: { Ref: 'AWS::NoValue' },
      c: { 'Fn::GetAtt': ['Queue', 'Arn'] },
    }),
    { a: '256', c: { 'Fn::GetAtt': ['Queue', 'Arn'] } },
  );
});

test("parameters that do not fit into the account's concurrency are refused", () => {
  const template = readTemplate();
  const refusal = (given, limit, free = limit) => {
    const values = parameterValues(template, given);
    const functions = resolver(template, values).resolve(functionsOf(template));
    return concurrencyRefusal(functions, values, { ConcurrentExecutions: limit, UnreservedConcurrentExecutions: free });
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
