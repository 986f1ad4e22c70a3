// The shop's own template with the peers added to it, and the host that runs it.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { start } from '../load-tests/processes.mjs';
import { OUT } from './peers.mjs';

const ROOT = path.dirname(import.meta.dirname);
const yaml = createRequire(path.join(ROOT, 'load-tests/package.json'))('js-yaml');

/** Ms for `local` to start, as in the load test. */
const START_TIMEOUT_MS = 60_000;

/** An error with a complete message for the user: printed as one line, without a stack. */
export class Failure extends Error {}

/** The shop's template, with the short forms of CloudFormation's functions written out. */
export function readTemplate() {
  const functions = ['Ref', 'Sub', 'GetAtt', 'If', 'Equals', 'Not', 'And', 'Or', 'Join', 'Select', 'Split', 'FindInMap'];
  const types = functions.flatMap((name) =>
    ['scalar', 'sequence', 'mapping'].map(
      (kind) =>
        new yaml.Type(`!${name}`, {
          kind,
          construct: (data) => ({
            [name === 'Ref' ? name : `Fn::${name}`]: name === 'GetAtt' && kind === 'scalar' ? data.split('.') : data,
          }),
        }),
    ),
  );
  return yaml.load(readFileSync(path.join(ROOT, 'template.yaml'), 'utf8'), { schema: yaml.Schema.create(types) });
}

export const logicalId = (name) =>
  name
    .split('-')
    .map((word) => word[0].toUpperCase() + word.slice(1))
    .join('');

/** Adds each peer as one more function, with a route of its own on the same table, and runs `shop` from its copies. */
export function withPeers(template, peers, shop = []) {
  const resources = structuredClone(template.Resources);
  for (const { Type, Properties } of Object.values(resources)) {
    if (Type === 'AWS::Serverless::Function') Properties.CodeUri = path.join(ROOT, Properties.CodeUri);
  }
  for (const { functionId, codeDir, environment } of shop) {
    const { Properties } = resources[functionId];
    Properties.CodeUri = codeDir;
    Properties.Environment = { Variables: { ...Properties.Environment?.Variables, ...environment } };
  }
  for (const { name, codeDir, environment } of peers) {
    resources[`Peer${logicalId(name)}`] = {
      Type: 'AWS::Serverless::Function',
      Properties: {
        CodeUri: codeDir,
        Environment: { Variables: { PRODUCTS_TABLE: { Ref: 'ProductsTable' }, ...environment } },
        Events: {
          Http: {
            Type: 'HttpApi',
            Properties: { ApiId: { Ref: 'Api' }, Method: 'GET', Path: `/${name}/products/{id}` },
          },
        },
      },
    };
  }
  return { ...template, Resources: resources };
}

/** The requests of a measurement come as fast as they are answered; API Gateway would answer most of them 429. */
const PARAMETERS = ['CatalogueWrites=open', 'ThrottleRate=10000', 'ThrottleBurst=5000'].concat([
  'OrderThrottleRate=10000',
  'OrderThrottleBurst=5000',
]);

/** Starts `local` on free ports; resolves with the content of its ready file. */
export async function startLocal({ local }, template) {
  mkdirSync(OUT, { recursive: true });
  const templateFile = path.join(OUT, 'template.json');
  const readyFile = path.join(OUT, 'ready.json');
  const output = path.join(OUT, 'local.log');
  for (const old of [readyFile, output, path.join(OUT, 'logs')]) rmSync(old, { recursive: true, force: true });
  writeFileSync(templateFile, JSON.stringify(template, null, 2));
  const child = start(
    local,
    ['--template', templateFile, '--port', '0', '--control-port', '0']
      .concat(['--log-dir', path.join(OUT, 'logs'), '--ready-file', readyFile])
      .concat(PARAMETERS.flatMap((value) => ['--parameter', value])),
    output,
  );
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!existsSync(readyFile)) {
    if (child.ended) throw new Failure(`${local} ended (${child.ended})\n${readFileSync(output, 'utf8')}`.trim());
    if (Date.now() > deadline) throw new Failure(`${local} was not ready in time; see ${output}`);
    await sleep(50);
  }
  return { ...JSON.parse(readFileSync(readyFile, 'utf8')), child };
}

const agent = new http.Agent({ keepAlive: true });

/** One request; resolves with status, text and time in ms. Any other status than success fails the benchmark. */
export function request(method, url, body) {
  return new Promise((resolve, reject) => {
    const failed = (why) => reject(new Failure(`${method} ${url}: ${why}`));
    const begin = performance.now();
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const sent = http.request(url, { method, agent, headers, timeout: 30_000 }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const { statusCode: status } = response;
        if (status < 200 || status > 299) failed(`${status} ${text.slice(0, 300)}`);
        else resolve({ status, text, ms: performance.now() - begin });
      });
    });
    sent.on('timeout', () => sent.destroy(new Error('no answer in 30 s')));
    sent.on('error', (error) => failed(error.message));
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

export async function control({ control_url }, method, route) {
  const { text } = await request(method, control_url + route);
  return text ? JSON.parse(text) : null;
}

/** Waits until the queue with a trigger is empty, so that the worker does not run beside another target. */
export async function drain(stack) {
  for (;;) {
    const { queues } = await control(stack, 'GET', '/meter');
    const left = Object.values(queues).filter(({ invocations }) => invocations !== undefined);
    if (left.every(({ visible, in_flight, delayed }) => visible + in_flight + delayed === 0)) return;
    await sleep(20);
  }
}
