import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { sample, trendGates, trendOf } from '../trend.mjs';

const LIMITS = { max_slowdown: 1.5, max_growth: 1.2 };

/** 20 periods of ten seconds, and an incomplete one. */
const periods = (/** @type {(index: number) => number} */ p95) =>
  Array.from({ length: 21 }, (_, index) => ({
    summaries: { 'http.response_time.2xx': index === 20 ? { p50: 99, p95: 99 } : { p50: 1, p95: p95(index) } },
  }));

const samples = (/** @type {(index: number) => object} */ change) =>
  Array.from({ length: 20 }, (_, index) => ({
    host_mb: 50, sqs_mb: 90, environment_mb: 6, environments: 9, descriptors: 100, ...change(index),
  }));

const failed = (rows) =>
  trendGates(rows, LIMITS)
    .filter(({ pass }) => !pass)
    .map(({ name }) => name);

test('a stack that stays as it is passes', () => {
  assert.deepEqual(failed(trendOf(periods(() => 3), samples(() => ({})))), []);
});

test('a leak of memory or descriptors, or a slowdown, fails its gate alone', () => {
  const flat = periods(() => 3);
  const grows = (index) => 100 + index * 5;

  for (const [key, name] of [
    ['host_mb', 'memory of the host, DynamoDB in it, MB'],
    ['sqs_mb', 'memory of SQS, MB'],
    ['environment_mb', 'memory of an environment, MB'],
    ['descriptors', 'open descriptors of the host'],
  ]) {
    const leaky = samples((index) => ({ [key]: grows(index) }));
    assert.deepEqual(failed(trendOf(flat, leaky)), [`last / first minute: ${name}`]);
  }
  const slower = periods((index) => 3 + index / 4);
  assert.deepEqual(failed(trendOf(slower, samples(() => ({})))), ['last / first minute: p95 of 2xx, ms']);
});

test('less than two minutes, or nothing, is no proof', () => {
  assert.equal(failed(trendOf(periods(() => 3).slice(0, 12), samples(() => ({})).slice(0, 11))).length, 6);
  assert.equal(failed(trendOf([], [])).length, 5);
});

test('without a host of one\'s own only latency has a trend', () => {
  assert.deepEqual(trendOf(periods(() => 3), null).map(({ name }) => name), ['p50 of 2xx, ms', 'p95 of 2xx, ms']);
});

test('a sample counts the memory and the descriptors of a process', () => {
  const before = sample(process.pid);
  const open = Array.from({ length: 20 }, () => openSync(import.meta.filename, 'r'));
  const after = sample(process.pid);
  open.forEach(closeSync);

  assert.ok(before.host_mb > 10);
  assert.equal(before.environments, 0);
  if (existsSync('/proc')) assert.equal(after.descriptors - before.descriptors, 20);
});
