// One parser for Lambda's REPORT lines from any source: the log files of `local`, `aws logs tail`,
// `aws logs filter-log-events`, and results of Logs Insights as JSON or CSV.
//
// The line is tab-separated (https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-view.html):
//   REPORT RequestId: …  Duration: 1.44 ms  Billed Duration: 20 ms  Memory Size: 512 MB  Max Memory Used: 15 MB
//   Init Duration: 18.45 ms
// with `Status`, `Error Type` and X-Ray's fields where they apply. `local` adds `CPU Time` and `Init CPU Time`.

import csv from 'csv-parse/lib/sync.js';

const NUMBER_FIELDS = {
  Duration: 'duration_ms',
  'Billed Duration': 'billed_ms',
  'Memory Size': 'memory_mb',
  'Max Memory Used': 'peak_memory_mb',
  'Init Duration': 'init_ms',
  'CPU Time': 'cpu_ms',
  'Init CPU Time': 'init_cpu_ms',
};

const TEXT_FIELDS = { 'REPORT RequestId': 'request_id', Status: 'status', 'Error Type': 'error_type' };

/**
 * Every REPORT in `text`, in any of the forms above, as
 * `{function, request_id, duration_ms, billed_ms, memory_mb, peak_memory_mb, init_ms, cpu_ms, init_cpu_ms, status, error_type}`.
 * Values that a line does not contain are null. `function` is the last part of the log group, if the export names it.
 */
export function parseReports(text) {
  const start = text.trimStart();
  if (start.startsWith('{') || start.startsWith('[')) {
    const json = parseJson(text);
    if (json !== undefined) return fromJson(json);
  }
  if (/^"?@\w+"?(,|\n)/.test(start)) return csv(start, { columns: true }).flatMap(fromInsights);
  return parseLog(text);
}

/** Every REPORT in a plain log with any other lines: the log files of `local`, the text of `aws logs tail`. */
export function parseLog(text) {
  return text.split('\n').flatMap(fromLine);
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // lines that are JSON each, or a log line that opens with a bracket
  }
}

function fromJson(json) {
  if (json.events) return json.events.flatMap(({ message }) => message.split('\n').flatMap(fromLine));
  const rows = json.results ?? json;
  if (!Array.isArray(rows)) throw new Error('not an export of log events or of a Logs Insights query');
  // The CLI returns each row as a list of {field, value}, the console as an object.
  return rows.flatMap((row) => {
    return fromInsights(
      Array.isArray(row) ? Object.fromEntries(row.map(({ field, value }) => [field, value])) : row,
    );
  });
}

function empty() {
  return Object.fromEntries(
    ['function', ...Object.values(TEXT_FIELDS), ...Object.values(NUMBER_FIELDS)].map((key) => [key, null]),
  );
}

function fromLine(line) {
  const begin = line.indexOf('REPORT RequestId: ');
  if (begin < 0) return [];
  const report = empty();
  for (const field of line.slice(begin).split('\t')) {
    const colon = field.indexOf(': ');
    const [key, value] = [field.slice(0, colon).trim(), field.slice(colon + 2).trim()];
    if (key in NUMBER_FIELDS) report[NUMBER_FIELDS[key]] = Number.parseFloat(value);
    if (key in TEXT_FIELDS) report[TEXT_FIELDS[key]] = value;
  }
  return [report];
}

/** A row of Logs Insights. Its memory is in bytes: megabytes × 1000 × 1000. */
function fromInsights(row) {
  const number = (field, divisor = 1) => (row[field] ? Number(row[field]) / divisor : null);
  const name = row['@log']?.split('/').at(-1) ?? null;
  if (row['@message']?.includes('REPORT RequestId: ')) {
    return fromLine(row['@message']).map((report) => ({ ...report, function: name }));
  }
  if (!row['@duration'] || (row['@type'] ?? 'REPORT') !== 'REPORT') return [];
  return [
    {
      ...empty(),
      function: name,
      request_id: row['@requestId'] ?? null,
      duration_ms: number('@duration'),
      billed_ms: number('@billedDuration'),
      memory_mb: number('@memorySize', 1_000_000),
      peak_memory_mb: number('@maxMemoryUsed', 1_000_000),
      init_ms: number('@initDuration'),
    },
  ];
}

/**
 * The nearest-rank percentile: the smallest of `values` that is not exceeded by at least `percent` % of them. Exact,
 * never interpolated; null if there are no values.
 */
export function percentile(values, percent) {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)];
}

/**
 * One row for each function. Latency, CPU, errors and billing count `reports`, those under load. Cold starts and init
 * count `allReports`: an environment that started while the catalogue was loaded is a cold start too.
 */
export function summariseFunction(name, reports, allReports = reports) {
  const known = (list, key) => list.map((report) => report[key]).filter((value) => value !== null);
  const cold = allReports.filter(({ init_ms }) => init_ms !== null);
  const warm = reports.filter(({ init_ms }) => init_ms === null);
  const coldCpu = cold.filter(({ cpu_ms, init_cpu_ms }) => cpu_ms !== null && init_cpu_ms !== null);
  const billed = reports.filter(({ billed_ms, memory_mb }) => billed_ms !== null && memory_mb !== null);
  const peak = known(allReports, 'peak_memory_mb');
  return {
    name,
    invocations: reports.length,
    cold_starts: cold.length,
    cold_starts_under_load: known(reports, 'init_ms').length,
    init_p50_ms: percentile(known(cold, 'init_ms'), 50),
    init_p99_ms: percentile(known(cold, 'init_ms'), 99),
    duration_p50_ms: percentile(known(reports, 'duration_ms'), 50),
    duration_p99_ms: percentile(known(reports, 'duration_ms'), 99),
    warm_cpu_p50_ms: percentile(known(warm, 'cpu_ms'), 50),
    cold_cpu_p50_ms: percentile(
      coldCpu.map(({ cpu_ms, init_cpu_ms }) => cpu_ms + init_cpu_ms),
      50,
    ),
    peak_memory_mb: peak.length ? Math.max(...peak) : null,
    errors: reports.filter(({ status }) => status === 'error').length,
    timeouts: reports.filter(({ status }) => status === 'timeout').length,
    gb_seconds: billed.reduce(
      (sum, { billed_ms, memory_mb }) => sum + (billed_ms / 1000) * (memory_mb / 1024),
      0,
    ),
  };
}
