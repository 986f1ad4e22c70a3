// Reports for the tests: that of a real run, and what is made from it.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

export const ROOT = path.join(import.meta.dirname, '../..');

/** The newest build of the program that makes pages: of `make test`, or of `make load-test`. */
const [WORKSHOP] = ['target/debug/workshop', 'target/host/workshop']
  .map((file) => path.join(ROOT, file))
  .filter((file) => existsSync(file))
  .toSorted((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);

/** The report of a `make load-test PROFILE=smoke`. */
export const smoke = () => JSON.parse(readFileSync(path.join(import.meta.dirname, 'smoke.json'), 'utf8'));

/** Every text of a JSON, replaced. */
function replaced(value, text) {
  if (typeof value === 'string') return text(value);
  if (Array.isArray(value)) return value.map((it) => replaced(it, text));
  if (value && typeof value === 'object')
    return Object.fromEntries(Object.entries(value).map(([key, it]) => [key, FIXED.has(key) ? it : replaced(it, text)]));
  return value;
}

/** What the program itself chooses, of a few words each, or finds columns by. */
const FIXED = new Set(['kind', 'outcome', 'columns']);

const HOSTILE = `"'><img src="https://example.com/x" onerror="window.struck=1"></script><script>window.struck=1</script>\u2028&lt;`;

export const hostile = () => {
  const report = replaced(smoke(), (text) => `${HOSTILE}${text}`);
  for (const section of report.sections)
    for (const table of [...section.tables, ...section.charts.flatMap((chart) => chart.tables)])
      for (const column of table.columns) column.unit = `${column.unit}${HOSTILE}`;
  return report;
};

export const failed = () => {
  const report = smoke();
  const gate = { name: 'latency of GET /products', limit: '<= 100', value: 1234.5, pass: false, by: '1135 above, 12.3 times the limit' };
  return { ...report, outcome: 'failed', verdict: '1 of 2 gates failed.', gates: [gate, { ...report.gates[0], pass: true }] };
};

/** As a run that Ctrl-C cut short has it. */
export const partial = () => ({ ...smoke(), outcome: 'partial', verdict: 'Cut short by SIGINT.', gates: [] });

/** A run that no request was answered in: every chart is there, and has no number. */
export const empty = () => {
  const report = smoke();
  for (const section of report.sections) {
    for (const table of section.tables) table.rows = [];
    for (const chart of section.charts) for (const table of chart.tables) table.rows = [];
  }
  return { ...report, outcome: 'unjudged', verdict: 'Nothing was measured.', gates: [] };
};

const table = (columns, rows) => ({
  title: 'Figures',
  origin: 'measured here',
  columns: columns.map(([name, unit = '', limit]) => (limit === undefined ? { name, unit } : { name, unit, limit })),
  rows,
});

/** A benchmark, a comparison and a power curve: the charts that a load test has none of. */
export const others = () => {
  const charts = [
    { id: 'bars', kind: 'bars', tables: [table([[''], ['value', 'ms'], ['low', 'ms'], ['high', 'ms']], [['floor', 1.5, 1.4, 1.8], ['python', 240, 200, 300]])] },
    { id: 'ratios', kind: 'ratios', tables: [table([['time'], ['ratio'], ['from'], ['to'], ['verdict']], [['a', 1.3, 1.2, 1.4, 'slower'], ['b', 1.01, 0.9, 1.1, 'no difference']])] },
    { id: 'curve', kind: 'lines', tables: [table([['memory', 'MB'], ['cold', 'ms', 30], ['price', '$']], [[128, 60, 0.2], [256, 25, 0.3], [512, 12, 0.5]])] },
  ].map((chart) => ({ ...chart, title: chart.id, text: `${chart.id} in words` }));
  const section = { id: 'other', title: 'Others', notes: [], tables: [], charts };
  return { ...smoke(), kind: 'benchmark', sections: [section] };
};

/** The results of the benchmark that the README shows. */
export const benchmark = () => JSON.parse(readFileSync(path.join(ROOT, 'docs/figures.json'), 'utf8')).bench;

const folders = mkdtempSync(path.join(tmpdir(), 'report-'));
let made = 0;

/** Writes a report, or a benchmark's results, as the verbs do, and returns the folder and the address of its page. */
export function page(report) {
  const folder = path.join(folders, String(made++));
  mkdirSync(folder);
  writeFileSync(path.join(folder, report.sections ? 'report.json' : 'results.json'), JSON.stringify(report));
  const { status, stdout, stderr } = spawnSync(WORKSHOP, ['report', '--run', folder], { cwd: ROOT, encoding: 'utf8' });
  if (status !== 0) throw new Error(`workshop report ended with ${status}: ${stdout}${stderr}`);
  return { folder, url: pathToFileURL(path.join(folder, 'report.html')).href };
}
