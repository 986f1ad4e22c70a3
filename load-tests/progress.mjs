// A reporter for Artillery (CUSTOM_REPORTERS): appends a line for each ten seconds of load to the file PROGRESS, which
// `workshop load-test` shows.

import { appendFileSync } from 'node:fs';

export default function progress(events) {
  events.on('stats', ({ counters = {}, rates = {}, summaries = {} }) => {
    const { p95 = '-', p99 = '-' } = summaries['http.response_time.2xx'] ?? {};
    const [rate, failed] = [rates['http.request_rate'] ?? 0, counters['vusers.failed'] ?? 0];
    appendFileSync(process.env.PROGRESS, `${rate} requests/s, p95 ${p95} ms, p99 ${p99} ms, ${failed} users failed\n`);
  });
  return {};
}
