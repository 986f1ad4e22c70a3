// The parts of the scenarios that YAML cannot express: the catalogue, the choice of orders, and metrics that Artillery does
// not have.
//
// Metrics: `http.response_time.<class>.<route>` (ms to the response's first byte, with fractions) for each class of status,
// 2xx, 3xx, 4xx and 5xx; counters `orders.accepted`, `.fulfilled`, `.rejected` and `.unfinished`; `orders.placed_to_final`
// (ms).
//
// With RECORDS=<file> each response is a line of that file as well: {"at": ms since 1970, "route", "status", "ms", "id"}. The
// id is the function's request id (`x-request-id`), as in its log; a response of the API alone has none.

import { randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { categories, plentiful, scarce, SCARCE_STOCK, seededRandom } from './catalogue.mjs';
import { apiUrlOf, seed } from './seed.mjs';
import { regionOf, signer } from './sign.mjs';

/** Ms between two writes of records: a run that is cut short loses at most so much. */
const RECORDS_EVERY_MS = 250;

/** Ms between two polls of an order: at first as often as a page would poll, then less and less often. */
const FIRST_POLL_MS = 250;
const SLOWEST_POLL_MS = 5_000;

const random = seededRandom(3);
const pick = (list) => list[Math.floor(random() * list.length)];

/** The region to sign for, if any: given, or that of an address of API Gateway. */
const signRegion = process.env.SIGN_REGION || (process.env.API_URL && regionOf(process.env.API_URL));

/** Loads the catalogue once, before all users; CATALOGUE=loaded says that it is there. */
export async function loadCatalogue() {
  if (process.env.CATALOGUE === 'loaded') return;
  const say = (line) => process.stdout.write(`${line}\n`);
  try {
    await seed(apiUrlOf(process.env.API_URL), { signRegion: signRegion || undefined, say });
  } catch (error) {
    // Artillery would go on, and load a stack without products.
    console.error(`seed failed: ${error.message}`);
    process.exit(1);
  }
}

let records = '';

/** Ms since 1970, with fractions: a waterfall has tenths of a ms. */
const now = () => performance.timeOrigin + performance.now();

function flushRecords() {
  if (records) appendFileSync(process.env.RECORDS, records);
  records = '';
}

if (process.env.RECORDS) {
  setInterval(flushRecords, RECORDS_EVERY_MS).unref();
  process.on('exit', flushRecords);
}

const observed = new WeakSet();

/**
 * Times every request from its start, including the wait for a connection, to the first byte of its response. Artillery's
 * own timings are whole milliseconds, for all routes together.
 */
export function observe(_context, events, done) {
  if (!observed.has(events)) {
    observed.add(events);
    const started = new Map();
    events.on('trace:http:request', (request, id) =>
      started.set(id, { route: request.name, at: performance.now() }),
    );
    events.on('trace:http:error', (_error, id) => started.delete(id));
    events.on('trace:http:response', ({ statusCode, headers }, id) => {
      const { route, at } = started.get(id);
      started.delete(id);
      const ms = performance.now() - at;
      events.emit('histogram', `http.response_time.${Math.floor(statusCode / 100)}xx.${route}`, ms);
      if (process.env.RECORDS) records += `${JSON.stringify({ at: now(), route, status: statusCode, ms, id: headers?.['x-request-id'] })}\n`;
    });
  }
  done();
}

export function chooseCategory({ vars }, _events, done) {
  vars.category = pick(categories);
  done();
}

export function chooseWishList({ vars }, _events, done) {
  const ids = new Set();
  while (ids.size < 20) ids.add(pick(plentiful).id);
  vars.ids = [...ids, `sold-out-${randomUUID()}`];
  done();
}

export function chooseOwnProduct({ vars }, _events, done) {
  vars.ownId = `own-${randomUUID()}`;
  vars.ownProduct = { name: 'Trial product', category: 'trial', price_cents: 1250, stock: 3 };
  done();
}

const sign = signRegion ? signer(signRegion) : null;

/**
 * Signs changes of the catalogue if the stack requires it (see sign.mjs). Artillery fills in a request's variables later,
 * so they are filled in here: the signed text must be the text sent.
 */
export async function signCatalogueWrites(request, { vars }) {
  if (!sign || !['PUT', 'DELETE'].includes(request.method)) return;
  const fill = (text) => text.replaceAll(/{{ (\w+) }}/g, (_, name) => vars[name]);
  request.url = fill(request.url);
  request.headers = { ...request.headers };
  if (request.json) {
    const variable = /^{{ (\w+) }}$/.exec(request.json)[1];
    request.body = JSON.stringify(vars[variable]);
    request.headers['content-type'] = 'application/json';
    delete request.json;
  }
  Object.assign(request.headers, await sign(request.method, new URL(request.url, process.env.API_URL), request.body));
}

let orders = 0;

/**
 * One to three lines. One order in five asks for more than the stock, and one in four is sent twice. A counter decides,
 * not chance, so that a short run has them too.
 */
export function chooseOrder({ vars }, _events, done) {
  const products = new Set();
  while (products.size < 1 + (orders % 3)) products.add(pick(plentiful));
  vars.lines = [...products].map(({ id }) => ({ product_id: id, quantity: 1 + Math.floor(random() * 3) }));
  if (orders % 5 === 0) vars.lines[0] = { product_id: pick(scarce).id, quantity: SCARCE_STOCK + 1 };
  vars.replays = orders % 4 === 1;
  vars.idempotencyKey = randomUUID();
  vars.pollMs = FIRST_POLL_MS;
  orders += 1;
  done();
}

/** `orders.unfinished` goes up here and down in `orderSettled`, so a user that ends early leaves it above zero. */
export function orderAccepted(_request, _response, { vars }, events, done) {
  vars.givesUpAt = Date.now() + vars.order_watch_seconds * 1000;
  events.emit('counter', 'orders.accepted', 1);
  events.emit('counter', 'orders.unfinished', 1);
  done();
}

export function orderIsOpen({ vars }, done) {
  vars.pollMs = Math.min(vars.pollMs * 2, SLOWEST_POLL_MS);
  done(vars.status === 'PENDING' && Date.now() < vars.givesUpAt);
}

export function orderSettled({ vars }, events, done) {
  if (vars.status === 'FULFILLED' || vars.status === 'REJECTED') {
    events.emit('counter', `orders.${vars.status.toLowerCase()}`, 1);
    events.emit('counter', 'orders.unfinished', -1);
    events.emit(
      'histogram',
      'orders.placed_to_final',
      Date.parse(vars.updatedAt) - Date.parse(vars.placedAt),
    );
  }
  done();
}
