// A stand-in for the shop: the contract in memory, right and fast, or broken in one way on purpose.

import { randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Sha256Node } from '@smithy/core/checksum';
import { SignatureV4 } from '@smithy/signature-v4';

/** The credentials whose signature the stand-in accepts. */
export const CREDENTIALS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' };

/**
 * Listens on 127.0.0.1 and resolves with `{url, close}`. `fault` breaks it:
 * `errors` answers 500 to everything, `errors-under-load` to all but the catalogue, `slow` takes 150 ms for
 * everything but the catalogue, `stuck-orders` leaves every order PENDING, `wrong-statuses` answers 200 where 404 or 412 is right,
 * `slow-route` is slow on `GET /orders/{id}` alone, `no-rejections` never runs out of stock. `iam` is no fault: it answers
 * 403, as API Gateway does, to a PUT or DELETE whose signature is not the one of `CREDENTIALS` for what has arrived.
 *
 * With `accessLog` it writes each answer to that file, in the format of template.yaml, as having taken `loggedMs`.
 *
 * @param {string} [fault]
 * @param {{ accessLog?: string, loggedMs?: number }} [log]
 */
export async function startStandIn(fault, { accessLog, loggedMs } = {}) {
  const shop = { products: new Map(), orders: new Map(), keys: new Map(), fault };
  const server = createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', async () => {
      const text = Buffer.concat(chunks).toString();
      const refused = fault === 'iam' && isWrite(request) && !(await isSigned(request, text));
      const answer = refused ? { status: 403, body: { message: 'Forbidden' } } : respond(shop, request, text);
      const { status, body, headers } =
        fault === 'wrong-statuses' && [404, 412].includes(answer.status)
          ? { ...answer, status: 200 }
          : answer;
      const line = { time: String(Date.now()), route: routeOf(request), status: String(status), latency: String(loggedMs) };
      if (accessLog) appendFileSync(accessLog, `${JSON.stringify(line)}\n`);
      const send = () => {
        response.writeHead(
          status,
          body === undefined
            ? headers
            : {
                'content-type': status >= 400 ? 'application/problem+json' : 'application/json',
                ...headers,
              },
        );
        response.end(body === undefined ? undefined : JSON.stringify(body));
      };
      const slow =
        (fault === 'slow' && !isSeed(request)) ||
        (fault === 'slow-route' && /^GET .orders./.test(`${request.method} ${request.url}`));
      setTimeout(send, slow ? 150 : 0);
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(null)));
  return {
    url: `http://127.0.0.1:${portOf(server)}`,
    close: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  };
}

/** The port that a server listens on. */
export const portOf = (/** @type {import('node:http').Server} */ server) =>
  /** @type {import('node:net').AddressInfo} */ (server.address()).port;

/** @typedef {import('node:http').IncomingMessage} Request */
/** @typedef {{ status: number, body?: any, headers?: Record<string, string> }} Answer */

/** @param {Request} request */
const isWrite = ({ method }) => method === 'PUT' || method === 'DELETE';

/**
 * Signs the request again, at the time that it names, without the headers that the client did not sign.
 *
 * @param {Request} request
 * @param {string} text
 */
async function isSigned({ method, url, headers }, text) {
  const { host, authorization = '' } = headers;
  const date = String(headers['x-amz-date'] ?? '').replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5');
  if (!date) return false;
  const signature = new SignatureV4({ service: 'execute-api', region: 'eu-west-1', credentials: CREDENTIALS, sha256: Sha256Node });
  const { hostname, pathname: path } = new URL(url, `http://${host}`);
  const request = { method, protocol: 'http:', hostname, path, query: {}, headers: { host }, body: text || undefined };
  const { headers: expected } = await signature.sign(request, { signingDate: new Date(date) });
  return expected.authorization === authorization;
}

/**
 * The route of the API that a request takes.
 *
 * @param {Request} request
 */
const routeOf = ({ method, url }) =>
  `${method} ${new URL(url, 'http://stand-in').pathname.replace(/^(\/\w+)\/(?!batch-get$).+/, '$1/{id}')}`;

/**
 * The catalogue is put before the load; under load, clients put products of their own.
 *
 * @param {Request} request
 */
const isSeed = ({ method, url }) => method === 'PUT' && !url.startsWith('/products/own-');

const problem = (status, title) => ({ status, body: { type: 'about:blank', title, status } });

/** @returns {Answer} */
function respond(shop, request, text) {
  if (shop.fault === 'errors' || (shop.fault === 'errors-under-load' && !isSeed(request))) {
    return problem(500, 'Internal Server Error');
  }
  const { method, url, headers } = request;
  const { pathname, searchParams } = new URL(url, 'http://stand-in');
  const [, collection, id] = pathname.split('/');
  const body = text ? JSON.parse(text) : undefined;
  switch (`${method} /${collection}${id ? '/{id}' : ''}`) {
    case 'PUT /products/{id}':
      return putProduct(shop, id, body, headers);
    case 'GET /products/{id}':
      return getProduct(shop, id, searchParams, headers);
    case 'DELETE /products/{id}':
      return deleteProduct(shop, id, headers);
    case 'GET /products':
      return listProducts(shop, searchParams);
    case 'POST /products/{id}':
      return batchGet(shop, body);
    case 'POST /orders':
      return placeOrder(shop, body, headers['idempotency-key']);
    case 'GET /orders/{id}':
      return shop.orders.has(id) ? { status: 200, body: shop.orders.get(id) } : problem(404, 'Not Found');
    default:
      return problem(404, 'Not Found');
  }
}

const isStale = (product, headers) =>
  headers['if-match'] !== undefined && headers['if-match'] !== `"${product?.version}"`;

function putProduct({ products }, id, body, headers) {
  const present = products.get(id);
  if (isStale(present, headers) || (headers['if-none-match'] === '*' && present))
    return problem(412, 'Precondition Failed');
  const product = { id, ...body, version: (present?.version ?? 0) + 1 };
  products.set(id, product);
  return { status: present ? 200 : 201, body: product, headers: { etag: `"${product.version}"` } };
}

const project = (product, fields) =>
  fields
    ? Object.fromEntries(fields.filter((field) => field in product).map((field) => [field, product[field]]))
    : product;

function deleteProduct({ products }, id, headers) {
  if (isStale(products.get(id), headers)) return problem(412, 'Precondition Failed');
  products.delete(id);
  return { status: 204 };
}

function getProduct({ products }, id, query, headers) {
  const fields = query.get('fields')?.split(',');
  if (fields?.includes('wings')) return problem(400, 'Bad Request');
  const product = products.get(id);
  if (!product) return problem(404, 'Not Found');
  const etag = `"${product.version}"`;
  if (headers['if-none-match'] === etag) return { status: 304, headers: { etag } };
  return { status: 200, body: project(product, fields), headers: { etag } };
}

function listProducts({ products }, query) {
  const from = query.has('cursor') ? Number(query.get('cursor')) : 0;
  if (Number.isNaN(from)) return problem(400, 'Bad Request');
  const to = from + Number(query.get('limit') ?? 20);
  const all = [...products.values()].filter(({ category }) => category === query.get('category'));
  const page = all.slice(from, to).map((product) => project(product, query.get('fields')?.split(',')));
  return { status: 200, body: { products: page, next_cursor: to < all.length ? String(to) : null } };
}

function batchGet({ products }, { ids, fields }) {
  return {
    status: 200,
    body: {
      products: ids.filter((id) => products.has(id)).map((id) => project(products.get(id), fields)),
      missing: ids.filter((id) => !products.has(id)),
    },
  };
}

function placeOrder(shop, { lines }, key) {
  if (lines.some(({ product_id }) => !shop.products.has(product_id)))
    return problem(422, 'Unprocessable Content');
  if (key !== undefined && shop.keys.has(key)) {
    const id = shop.keys.get(key);
    return {
      status: 202,
      body: shop.orders.get(id),
      headers: { location: `/orders/${id}`, 'idempotent-replayed': 'true' },
    };
  }
  const now = new Date().toISOString();
  const order = {
    id: randomUUID(),
    status: 'PENDING',
    lines,
    total_cents: 1,
    placed_at: now,
    updated_at: now,
  };
  shop.orders.set(order.id, order);
  if (key !== undefined) shop.keys.set(key, order.id);
  if (shop.fault !== 'stuck-orders') setTimeout(() => settle(shop, order), 20);
  return { status: 202, body: { ...order }, headers: { location: `/orders/${order.id}` } };
}

function settle({ products, fault }, order) {
  const taken = order.lines.map(({ product_id, quantity }) => [products.get(product_id), quantity]);
  const enough = fault === 'no-rejections' || taken.every(([product, quantity]) => product.stock >= quantity);
  if (enough) for (const [product, quantity] of taken) product.stock -= quantity;
  order.status = enough ? 'FULFILLED' : 'REJECTED';
  order.updated_at = new Date().toISOString();
}
