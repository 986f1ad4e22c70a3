#!/usr/bin/env node
// A stand-in for `local` around the stand-in shop: its options, ready file, control address, logs, and its end on
// SIGTERM.

import { appendFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { portOf, startStandIn } from './stand-in.mjs';

const option = (name) => process.argv[process.argv.indexOf(`--${name}`) + 1];

if (option('template').startsWith('missing')) {
  console.error(`${option('template')}: no such template`);
  process.exit(1);
}

const report = (...fields) =>
  appendFileSync(
    `${option('log-dir')}/GetProduct.log`,
    `REPORT RequestId: 1\tDuration: 1.50 ms\tBilled Duration: 2 ms\tMemory Size: 256 MB\tMax Memory Used: 8 MB\t${fields.join('\t')}\n`,
  );
mkdirSync(option('log-dir'));
report('Init Duration: 3.00 ms', 'CPU Time: 1.00 ms', 'Init CPU Time: 2.00 ms');

const shop = await startStandIn();
const idle = { visible: 0, in_flight: 0, delayed: 0 };
const control = createServer((request, response) => {
  if (request.url === '/meter') report('CPU Time: 0.40 ms'); // asked once, after the load
  response.end(
    request.url === '/meter'
      ? JSON.stringify({
          functions: {
            GetProduct: {
              connections: 1,
              tls_handshakes: 1,
              operations: {
                'DynamoDB.GetItem': { calls: 120, errors: 0, throttles: 0, read_units: 60, write_units: 0 },
              },
            },
          },
          queues: {
            OrdersQueue: {
              ...idle,
              invocations: 3,
              received: 10,
              queue_time_ms: { p50: 1, p95: 2, p99: 2, max: 2 },
            },
            OrdersDeadLetterQueue: idle,
          },
        })
      : undefined,
  );
}).listen(0, '127.0.0.1', () => {
  const control_url = `http://127.0.0.1:${portOf(control)}`;
  const ready = option('ready-file');
  writeFileSync(
    `${ready}.new`,
    JSON.stringify({ api_url: shop.url, control_url, log_dir: option('log-dir'), pid: process.pid }),
  );
  renameSync(`${ready}.new`, ready);
});

process.on('SIGTERM', () => {
  report('CPU Time: 0.40 ms');
  rmSync(option('ready-file'));
  process.exit(0);
});
