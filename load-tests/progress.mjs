// A reporter for Artillery (CUSTOM_REPORTERS): writes one line for each ten seconds of load to the fourth descriptor,
// which run.mjs connects to its own output.

import { writeSync } from 'node:fs';

export default function progress(events) {
  const began = Date.now();
  events.on('stats', ({ period, counters = {}, rates = {}, summaries = {} }) => {
    const seconds = Math.round((Number(period) + 10_000 - began) / 1000);
    const { p95 = '-', p99 = '-' } = summaries['http.response_time.2xx'] ?? {};
    const failed = counters['vusers.failed'] ?? 0;
    writeSync(
      3,
      `  ${String(seconds).padStart(4)} s: ${rates['http.request_rate'] ?? 0} requests/s, ` +
        `p95 ${p95} ms, p99 ${p99} ms, ${failed} users failed\n`,
    );
  });
  return {};
}
