import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { categories, plentiful, products, scarce, SCARCE_STOCK } from '../catalogue.mjs';

test('there are 1,000 products with ids of their own, 100 in each of 10 categories', () => {
  assert.equal(new Set(products.map(({ id }) => id)).size, 1000);
  assert.equal(categories.length, 10);
  for (const category of categories) {
    assert.equal(products.filter(({ body }) => body.category === category).length, 100);
  }
});

test('every product keeps to the contract of PUT /products/{id}', () => {
  for (const { id, body } of products) {
    assert.match(id, /^[A-Za-z0-9_-]{1,64}$/);
    assert.deepEqual(Object.keys(body), ['name', 'category', 'price_cents', 'stock', 'description']);
    assert.ok(Number.isInteger(body.price_cents) && body.price_cents > 0);
    assert.ok(Number.isInteger(body.stock) && body.stock >= 0);
  }
});

test('descriptions have 300 to 1,200 characters and no two are alike', () => {
  for (const { id, body } of products) {
    assert.ok(
      body.description.length >= 300 && body.description.length <= 1200,
      `${id}: ${body.description.length}`,
    );
  }
  assert.equal(new Set(products.map(({ body }) => body.description)).size, products.length);
});

test('names are unique within their category, as far as a shop would have it', () => {
  assert.ok(new Set(products.map(({ body }) => body.category + body.name)).size === products.length);
});

test('every product is either plentiful or scarce, and 50 are scarce', () => {
  assert.equal(scarce.length, 50);
  assert.equal(plentiful.length + scarce.length, products.length);
  assert.ok(scarce.every(({ body }) => body.stock <= SCARCE_STOCK));
});

test('the catalogue is the same on every machine', () => {
  const hash = createHash('sha256').update(JSON.stringify(products)).digest('hex');
  assert.equal(hash, 'a1377836107bec5431178dfa57fa7fff4bacf2f162ec6b1b8ef01b70002e8a17');
});
