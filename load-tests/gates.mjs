// The gates of a run: read from `ensure` in artillery.yml, and checked against Artillery's JSON report.
//
// Artillery evaluates the same lines itself (its `ensure` plugin), but prints neither values nor JSON.
// Both verdicts count: run.mjs adds Artillery's exit code as a gate. Where the latency is judged that API Gateway logged, the
// plugin is off, since it knows the client's only.

const COMPARE = {
  '<': (value, limit) => value < limit,
  '<=': (value, limit) => value <= limit,
  '>': (value, limit) => value > limit,
  '>=': (value, limit) => value >= limit,
  '==': (value, limit) => value === limit,
};

/** One gate of the summary. A `value` of null (never occurred, or unknown) never passes. */
export function gate(name, operator, limit, value) {
  return {
    name,
    limit: `${operator} ${limit}`,
    value,
    pass: value !== null && COMPARE[operator](value, limit),
  };
}

/** All gates of `ensure` against `aggregate`, the totals of an Artillery report. Throws on a line it cannot read. */
export function evaluate(ensure, aggregate) {
  const gates = [];
  for (const threshold of ensure.thresholds ?? []) {
    const [[metric, limit]] = Object.entries(threshold);
    gates.push(gate(metric, '<', limit, figure(metric, aggregate)));
  }
  for (const { expression } of ensure.conditions ?? []) {
    const parts = /^(.+) (<|<=|>|>=|==) (-?\d+(?:\.\d+)?)$/.exec(expression);
    if (!parts)
      throw new Error(`artillery.yml: a gate must read "metric operator number", but one is "${expression}"`);
    const [, metric, operator, limit] = parts;
    gates.push(gate(metric, operator, Number(limit), figure(metric, aggregate)));
  }
  if (ensure.maxErrorRate !== undefined) {
    gates.push(gate('maxErrorRate', '<=', ensure.maxErrorRate, errorRate(aggregate)));
  }
  return gates;
}

/**
 * The gates of `ensure` against the latency that API Gateway logged, `{lines, summaries}` by the same names, in place of the
 * client's own, none of which counts; and one that all `requests` that were answered are in that log.
 */
export function evaluateLogged(ensure, aggregate, requests, { lines, summaries }) {
  const others = Object.entries(aggregate.summaries).filter(([name]) => !name.startsWith('http.response_time.'));
  return [
    ...evaluate(ensure, { ...aggregate, summaries: { ...Object.fromEntries(others), ...summaries } }),
    gate("requests in the API's log", '>=', requests, lines),
  ];
}

/** A counter or rate by its name, a histogram's figure by `<histogram>.<p95, max, …>`; null if it never occurred. */
function figure(metric, { counters = {}, rates = {}, summaries = {} }) {
  const dot = metric.lastIndexOf('.');
  return (
    counters[metric] ?? rates[metric] ?? summaries[metric.slice(0, dot)]?.[metric.slice(dot + 1)] ?? null
  );
}

/** Users who did not finish their scenario, in percent, as Artillery defines `maxErrorRate`. */
function errorRate({ counters = {} }) {
  const created = counters['vusers.created'];
  return created ? ((created - (counters['vusers.completed'] ?? 0)) / created) * 100 : null;
}
