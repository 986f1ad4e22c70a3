// What draws the charts is committed. It is what its packages have, to the byte.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../reports.mjs';

const modules = path.join(import.meta.dirname, '../node_modules');
const vendor = path.join(ROOT, 'workshop/src/report/vendor');
const read = (...parts) => readFileSync(path.join(...parts), 'utf8');

test('the charting library is that of its packages', () => {
  assert.equal(read(vendor, 'd3.min.js'), read(modules, 'd3/dist/d3.min.js'));
  assert.equal(read(vendor, 'plot.umd.min.js'), read(modules, '@observablehq/plot/dist/plot.umd.min.js'));
});

test('their licences are with it', () => {
  const licences = read(vendor, 'LICENSES.txt');
  for (const name of ['@observablehq/plot', 'd3', 'd3-ease', 'interval-tree-1d', 'isoformat', 'binary-search-bounds'])
    assert.ok(licences.includes(read(modules, name, 'LICENSE').trim()), name);
});
