// The request for each function, and the targets that the results have to reach.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { categories, plentiful, products } from '../load-tests/catalogue.mjs';
import { gate } from '../load-tests/gates.mjs';
import { drain, Failure, logicalId } from './stack.mjs';

/** The product that every peer reads, in its stored form, of an ordinary size for the catalogue. */
export const PRODUCT = JSON.parse(readFileSync(path.join(import.meta.dirname, 'product.json'), 'utf8'));

/** As many products as a person looks at on one page. */
const PAGE = 20;
const BATCH = 10;

function sameProduct(text) {
  const answer = JSON.parse(text);
  for (const [name, value] of Object.entries(PRODUCT)) {
    if (answer[name] !== value) throw new Failure(`the answer has ${name} ${JSON.stringify(answer[name])}: ${text.slice(0, 200)}`);
  }
}

/** A peer's route, or the shop's own `GET /products/{id}` if `prefix` is empty. */
export function getProduct(peer, prefix = `/${peer.name}`) {
  const route = `${prefix}/products/${PRODUCT.id}`;
  return {
    ...peer,
    functionId: prefix ? `Peer${logicalId(peer.name)}` : logicalId(peer.name),
    method: 'GET',
    route,
    check: sameProduct,
    event: httpEvent(route),
  };
}

/** The request for each of the shop's functions. For the one behind a queue, it is the request that fills the queue. */
export function requestsOfTheShop(orderId) {
  const order = {
    method: 'POST',
    route: '/orders',
    body: () => ({ lines: plentiful.slice(0, 2).map(({ id }) => ({ product_id: id, quantity: 1 })) }),
    after: drain, // process-orders runs now, not beside the next target
  };
  return {
    'get-product': { method: 'GET', route: `/products/${PRODUCT.id}`, check: sameProduct, event: httpEvent(`/products/${PRODUCT.id}`) },
    'list-products': { method: 'GET', route: `/products?category=${categories[0]}&limit=${PAGE}` },
    'batch-get-products': { method: 'POST', route: '/products/batch-get', body: () => ({ ids: products.slice(0, BATCH).map(({ id }) => id) }) },
    'put-product': { method: 'PUT', route: '/products/bench', body: () => products[0].body },
    'delete-product': { method: 'DELETE', route: '/products/bench' },
    'place-order': order,
    'process-orders': { ...order, behindQueue: true },
    'get-order': { method: 'GET', route: `/orders/${orderId}` },
  };
}

/** The AWS calls of the functions on the warm path, sent directly to the AWS endpoint; `of` is the function. */
export function awsCalls({ aws_endpoint_url }) {
  // No trigger reads this queue, so nothing runs beside the measurement.
  const queueUrl = `${aws_endpoint_url}/000000000000/local-OrdersDeadLetterQueue`;
  const table = (name) => `local-${name}`; // the host's name for a table without a name
  const [first] = products;
  const dynamodb = (of, operation, body) => ({ of, name: operation, awsTarget: `DynamoDB_20120810.${operation}`, method: 'POST', body: () => body });
  const keys = (count) => products.slice(0, count).map(({ id }) => ({ id: { S: id } }));
  return [
    dynamodb('get-product', 'GetItem', { TableName: table('ProductsTable'), Key: { id: { S: PRODUCT.id } } }),
    dynamodb('list-products', 'Query', {
      TableName: table('ProductsTable'), IndexName: 'by-category', Limit: PAGE, KeyConditionExpression: 'category = :category',
      ExpressionAttributeValues: { ':category': { S: categories[0] } },
    }),
    dynamodb('batch-get-products', 'BatchGetItem', { RequestItems: { [table('ProductsTable')]: { Keys: keys(BATCH) } } }),
    dynamodb('place-order', 'BatchGetItem', { RequestItems: { [table('ProductsTable')]: { Keys: keys(2), ConsistentRead: true } } }),
    { of: 'place-order', name: 'SendMessage', awsTarget: 'AmazonSQS.SendMessage', method: 'POST', body: () => ({ QueueUrl: queueUrl, MessageBody: first.body.description.slice(0, 100) }) },
    dynamodb('place-order', 'PutItem', {
      TableName: table('OrdersTable'),
      Item: { id: { S: 'bench' }, status: { S: 'PENDING' }, lines: { S: JSON.stringify(first).slice(0, 200) }, placed_at: { S: '2026-01-01T00:00:00Z' } },
    }),
  ];
}

/** An event of the HTTP API, for counting instructions without the host. */
function httpEvent(route) {
  return {
    version: '2.0',
    routeKey: 'GET /products/{id}',
    rawPath: route,
    rawQueryString: '',
    headers: { accept: '*/*', host: '127.0.0.1:3000' },
    pathParameters: { id: PRODUCT.id },
    requestContext: {
      accountId: '000000000000', apiId: 'local', domainName: '127.0.0.1', domainPrefix: '127', requestId: 'r', routeKey: 'GET /products/{id}',
      stage: '$default', time: '01/Jan/2026:00:00:00 +0000', timeEpoch: 1767225600000,
      http: { method: 'GET', path: route, protocol: 'HTTP/1.1', sourceIp: '127.0.0.1', userAgent: 'bench' },
    },
    isBase64Encoded: false,
  };
}

const MB = 1_000_000; // the usual unit of zip sizes

/**
 * The project's targets. A value of null fails: a target that was not measured is not reached.
 *
 * @param {Record<string, any>} results
 */
export function targets({ functions, peers, host, scaling }) {
  const ours = (name) => functions.find((row) => row.name === name);
  const peer = (name) => peers.find((row) => row.name === name);
  const get = ours('get-product');
  const floor = peer('floor');
  const ratio = (a, b) => (a && b ? a / b : null);
  const calls = (row) => row?.warm_calls.reduce((sum, { calls }) => sum + calls, 0) ?? null;
  const median = (row, key) => row?.[key].p50 ?? null;
  return [
    gate('cold CPU of get-product / floor, as on AWS', '<=', 1.9, ratio(median(get, 'cold_cpu_ms'), median(floor, 'cold_cpu_ms'))),
    gate('cold CPU of sdk-defaults / get-product', '>=', 10, ratio(median(peer('sdk-defaults'), 'cold_cpu_ms'), median(get, 'cold_cpu_ms'))),
    gate('cold CPU of python / get-product', '>=', 80, ratio(median(peer('python'), 'cold_cpu_ms'), median(get, 'cold_cpu_ms'))),
    gate('first / warm CPU of get-product', '<=', 1.2, ratio(median(get, 'first_cpu_ms'), median(get, 'warm_cpu_ms'))),
    gate('warm CPU of get-product / floor', '<=', 4, ratio(median(get, 'warm_cpu_ms'), median(floor, 'warm_cpu_ms'))),
    gate('zip of get-product, MB', '<=', 1.6, get.zip_bytes / MB),
    gate('largest zip of a function without SQS, MB', '<=', 1.7, Math.max(...functions.filter(({ name }) => name !== 'place-order').map(({ zip_bytes }) => zip_bytes)) / MB),
    gate('zip of place-order, MB', '<=', 2, ours('place-order').zip_bytes / MB),
    gate('peak memory of any function, MB', '<=', 8, Math.max(...functions.map(({ peak_memory_mb }) => peak_memory_mb))),
    gate('AWS calls of get-product', '==', 1, calls(get)),
    gate('AWS calls of place-order', '==', 3, calls(ours('place-order'))),
    gate('AWS calls of process-orders for one order', '==', 1, calls(ours('process-orders'))),
    gate('host: added at p50, 1 connection, ms', '<=', 0.3, host?.p50_ms ?? null),
    gate('host: added at p99, 1 connection, ms', '<=', 2, host?.p99_ms ?? null),
    // No request should wait for more than one cold start; a tenth more is for HTTP on both sides.
    gate('host: longest wait / slowest cold start', '<=', 1.1, scaling?.wait_in_cold_starts.p50 ?? null),
  ];
}
