// Nothing drifts: template.yaml, the scenarios and the gates name the same routes, and each load matches its name.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import yaml from 'js-yaml';
import * as processor from '../processor.mjs';
import { scenarios } from '../scenarios/index.js';

const read = (file) => readFileSync(path.resolve(import.meta.dirname, '..', file), 'utf8');
const { before, config, slo_ms } = yaml.safeLoad(read('artillery.yml'));

/** All steps of a flow, including those inside loops. */
const steps = (flow) => flow.flatMap((step) => (step.loop ? [step, ...steps(step.loop)] : [step]));

const requests = scenarios
  .flatMap(({ flow }) => steps(flow))
  .flatMap((step) =>
    Object.entries(step)
      .filter(([verb]) => ['get', 'put', 'post', 'delete'].includes(verb))
      .map(([verb, request]) => ({ verb, ...request })),
  );

/** Routes of the template's HTTP API events. Its intrinsic functions (!Ref, !Sub, …) do not matter here. */
function templateRoutes() {
  const tags = [
    'Ref',
    'Sub',
    'GetAtt',
    'If',
    'Equals',
    'Not',
    'And',
    'Or',
    'Join',
    'Select',
    'Split',
    'FindInMap',
    'ImportValue',
    'Condition',
  ];
  const types = tags.flatMap((tag) =>
    ['scalar', 'sequence', 'mapping'].map((kind) => new yaml.Type(`!${tag}`, { kind })),
  );
  const { Resources } = yaml.safeLoad(read('../template.yaml'), {
    schema: yaml.Schema.create(yaml.DEFAULT_SAFE_SCHEMA, types),
  });
  return Object.values(Resources)
    .flatMap(({ Properties }) => Object.values(Properties?.Events ?? {}))
    .filter(({ Type }) => Type === 'HttpApi')
    .map(({ Properties }) => `${Properties.Method.toUpperCase()} ${Properties.Path}`);
}

test('the scenarios call every route of template.yaml and no other', () => {
  assert.deepEqual([...new Set(requests.map(({ name }) => name))].toSorted(), templateRoutes().toSorted());
});

test('every request is named by the route that it calls, and expects a status', () => {
  for (const { verb, name, url, expect } of requests) {
    const [method, route] = name.split(' ');
    assert.equal(method, verb.toUpperCase());
    const pattern = new RegExp(`^${route.replace('{id}', '[^/?]+')}(\\?.*)?$`);
    assert.match(url, pattern);
    assert.ok(
      expect.some(({ statusCode }) => statusCode >= 200),
      `${name} ${url}`,
    );
  }
});

/** The classes of status, `2xx` and so on, that the scenarios expect of each route, as the end of a metric's name. */
const classes = () =>
  new Set(
    requests.flatMap(({ name, expect }) =>
      expect.filter(({ statusCode }) => statusCode).map(({ statusCode }) => `${String(statusCode)[0]}xx.${name}`),
    ),
  );

test('p95 and p99 of every route, refusals included, and of all successes are held against the one limit', () => {
  assert.ok(classes().has('4xx.POST /orders'));
  const expected = ['2xx', ...classes()].flatMap((of) => [`http.response_time.${of}.p95`, `http.response_time.${of}.p99`]);
  const limits = Object.assign({}, ...config.plugins.ensure.thresholds);
  assert.equal(slo_ms, 100);
  for (const metric of expected) assert.equal(limits[metric], slo_ms, metric);
});

test('every status that a scenario expects has a gate that it occurred, and no other has', () => {
  const gated = config.plugins.ensure.conditions
    .map(({ expression }) => /^routes\.(.+)\.codes\.(\d+) > 0$/.exec(expression))
    .filter(Boolean);
  const expected = requests.flatMap(({ name, expect }) =>
    expect.filter(({ statusCode }) => statusCode).map(({ statusCode }) => `${name} ${statusCode}`),
  );
  assert.deepEqual(
    gated.map(([, route, status]) => `${route} ${status}`).toSorted(),
    [...new Set(expected)].toSorted(),
  );
});

test('a user of the mix sends 4 requests, so 50 arrivals a second are 200 requests a second', () => {
  const total = scenarios.reduce((sum, { weight }) => sum + weight, 0);
  const perUser = (flow) =>
    steps(flow).reduce((sum, step) => {
      if (step.loop || step.function || step.think) return sum;
      return sum + (Object.values(step)[0].ifTrue === 'replays' ? 0.25 : 1);
    }, 0);
  const mean = scenarios.reduce((sum, { weight, flow }) => sum + (weight / total) * perUser(flow), 0);
  assert.ok(Math.abs(mean - 4) < 0.1, String(mean)); // without the polls after the first
  assert.deepEqual(
    config.environments.load.phases.map(({ duration, arrivalRate }) => [duration, arrivalRate * 4]),
    [[60, 200]],
  );
  assert.deepEqual(
    config.environments.spike.phases.map(({ arrivalRate }) => arrivalRate * 4),
    [20, 200],
  );
});

test('every function that a scenario calls is in the processor', () => {
  for (const scenario of scenarios) {
    const called = [
      ...scenario.beforeScenario,
      ...[scenario.beforeRequest ?? []].flat(),
      ...steps(scenario.flow).flatMap(({ function: name, whileTrue }) => [name, whileTrue].filter(Boolean)),
    ];
    for (const name of called) assert.equal(typeof processor[name], 'function', name);
    assert.equal(scenario.beforeScenario[0], 'observe', 'nothing is timed without it');
  }
  for (const { function: name } of before.flow) assert.equal(typeof processor[name], 'function', name);
  for (const { afterResponse } of requests)
    if (afterResponse) assert.equal(typeof processor[afterResponse], 'function');
});
