// Reports in a browser, opened from their files.

import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launch, missing } from '../browser.mjs';
import { benchmark, empty, failed, hostile, others, page, partial, smoke } from '../reports.mjs';

const skip = missing();

describe('a report in a browser', { skip }, () => {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser?.close());

  /** Opens a report, and collects what it asks for and what goes wrong. */
  async function opened(report, { width = 1200, colorScheme = 'light', javaScriptEnabled = true } = {}) {
    const { url, folder } = page(report);
    const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, javaScriptEnabled });
    const tab = await context.newPage();
    const [asked, wrong] = [[], []];
    tab.on('request', (request) => asked.push(request.url()));
    tab.on('console', (message) => wrong.push(message.text()));
    tab.on('pageerror', (error) => wrong.push(error.message));
    await tab.goto(url);
    return { tab, url, folder, asked, wrong, close: () => context.close() };
  }

  /** How many shapes of a name a chart has. */
  const shapes = (tab, id, name) => tab.locator(`#${id} .plot g.${name} > *, #${id} .plot path.${name}`).count();
  const charts = (report) => report.sections.flatMap((section) => section.charts);
  const text = (tab, selector) => tab.locator(selector).first().textContent();

  for (const [name, report] of Object.entries({ smoke, failed, empty, partial, others, hostile, benchmark })) {
    test(`opens without a request elsewhere and without an error: ${name}`, async () => {
      const { tab, url, asked, wrong, close } = await opened(report());
      await tab.locator('#theme').waitFor();
      const elsewhere = asked.filter((it) => it !== url && !it.startsWith('data:'));
      assert.deepEqual(elsewhere, []);
      assert.deepEqual(wrong, []);
      await close();
    });

    for (const [how, options] of Object.entries({ phone: { width: 400 }, dark: { colorScheme: 'dark' } })) {
      test(`is as wide as the window, ${how}: ${name}`, async () => {
        const { tab, wrong, close } = await opened(report(), options);
        const [page, window] = await tab.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(page <= window, `${page} of ${window}`);
        // No chart is cut off either.
        const beyond = await tab.evaluate(() =>
          [...document.querySelectorAll('.plot svg')].filter((svg) => svg.getBoundingClientRect().right > innerWidth + 1).length,
        );
        assert.equal(beyond, 0);
        assert.deepEqual(wrong, []);
        await close();
      });
    }
  }

  test('every chart has as many points as its numbers', async () => {
    const report = smoke();
    const { tab, close } = await opened(report);
    for (const { id, kind, tables } of charts(report)) {
      const [first, second, third] = tables;
      switch (kind) {
        case 'histogram': {
          const bars = first.rows.flatMap((row) => row.slice(2)).filter((count) => count > 0);
          assert.equal(await shapes(tab, id, 'bars'), bars.length, id);
          break;
        }
        case 'latency':
          assert.equal(await shapes(tab, id, 'cold-starts'), second.rows.length, id);
          assert.equal(await shapes(tab, id, 'other-answers'), third.rows.length, id);
          assert.equal(await shapes(tab, id, 'p50'), 1, id);
          break;
        case 'states': {
          const levels = first.rows.flatMap((row) => row.slice(1, 4)).filter((level) => level > 0);
          assert.equal(await shapes(tab, id, 'levels'), levels.length, id);
          break;
        }
        case 'waterfall':
          assert.equal(await shapes(tab, id, 'steps'), first.rows.length, id);
          break;
        case 'lines': {
          const drawn = first.columns.slice(1).filter((_, index) => first.rows.some((row) => row[index + 1]));
          assert.equal(await tab.locator(`#${id} .plot svg`).count(), drawn.length, id);
          break;
        }
        default:
          assert.fail(`${id}: nobody tests ${kind}`);
      }
    }
    const kinds = new Set(charts(report).map(({ kind }) => kind));
    assert.deepEqual([...kinds].sort(), ['histogram', 'latency', 'lines', 'states', 'waterfall']);
    await close();
  });

  test('a benchmark, a comparison and a power curve have their points', async () => {
    const { tab, close } = await opened(others());
    assert.equal(await shapes(tab, 'bars', 'values'), 2);
    assert.equal(await shapes(tab, 'bars', 'spread'), 2);
    assert.equal(await shapes(tab, 'ratios', 'intervals'), 2);
    assert.equal(await tab.locator('#curve .plot svg').count(), 2);
    assert.equal(await shapes(tab, 'curve', 'values'), 6);
    await close();
  });

  test('the page of the benchmark in the README has a bar for each figure, and its own targets', async () => {
    const results = benchmark();
    const { tab, folder, close } = await opened(results);
    const report = JSON.parse(readFileSync(path.join(folder, 'report.json'), 'utf8'));
    const bars = charts(report);
    assert.deepEqual([...new Set(bars.map(({ kind }) => kind))], ['bars']);
    for (const { id, tables } of bars) {
      const drawn = tables[0].rows.filter((row) => row[1] !== null);
      assert.ok(drawn.length > 0, id);
      assert.equal(await shapes(tab, id, 'values'), drawn.length, id);
      assert.equal(await shapes(tab, id, 'spread'), drawn.length, id);
    }
    const named = (pass) => results.targets.filter((it) => it.pass === pass).map(({ name }) => name);
    const rows = async (id) => (await tab.locator(`#${id} tbody tr th`).allTextContents()).map((it) => it.trim());
    assert.deepEqual(await rows('failed'), named(false));
    assert.deepEqual(await rows('passed'), named(true));
    assert.ok(statSync(path.join(folder, 'report.html')).size < 1_000_000);
    await close();
  });

  test('the limit of 100 ms is a line in every latency chart, between its values', async () => {
    const report = smoke();
    const { tab, close } = await opened(report);
    const latency = charts(report).filter(({ kind }) => ['latency', 'histogram'].includes(kind));
    assert.ok(latency.length >= 14);
    for (const { id } of latency) assert.equal(await shapes(tab, id, 'limit'), 1, id);
    await close();
  });

  test('gates and totals are those of the JSON', async () => {
    for (const report of [smoke(), failed()]) {
      const { tab, close } = await opened(report);
      const rows = async (id) => (await tab.locator(`#${id} tbody tr th`).allTextContents()).map((it) => it.trim());
      const named = (pass) => report.gates.filter((gate) => gate.pass === pass).map(({ name }) => name);
      assert.deepEqual(await rows('failed'), named(false));
      assert.deepEqual(await rows('passed'), named(true));
      assert.equal(await text(tab, '.badge'), report.outcome);
      assert.equal(await text(tab, '.verdict'), report.verdict);
      const [routes] = report.sections[0].tables;
      const counts = await tab.locator('#requests table').first().locator('tbody tr td:nth-child(2)').allTextContents();
      const sum = (numbers) => numbers.reduce((all, one) => all + Number(one), 0);
      assert.equal(sum(counts), sum(routes.rows.map((row) => row[1])));
      await close();
    }
  });

  test('a run that failed says which gate, and by how much, before everything else', async () => {
    const { tab, close } = await opened(failed());
    const first = await text(tab, '#failed tbody tr');
    assert.match(first, /latency of GET \/products.*<= 100.*1235.*12\.3 times the limit/s);
    const [top, height] = await tab.evaluate(() => [document.querySelector('#failed').getBoundingClientRect().bottom, innerHeight]);
    assert.ok(top < height, 'it is on the first screen');
    await close();
  });

  test('a run that was cut short, and an empty one, say so', async () => {
    for (const [report, word] of [[partial(), 'partial'], [empty(), 'not judged']]) {
      const { tab, close } = await opened(report);
      assert.equal(await text(tab, '.badge'), word);
      assert.equal(await tab.locator('#failed, #passed').count(), 0);
      await close();
    }
    const { tab, close } = await opened(empty());
    const words = await tab.locator('.plot').allTextContents();
    assert.ok(words.length > 10 && words.every((it) => it === 'There is nothing to draw.'), words[0]);
    await close();
  });

  test('each chart has its numbers as a table, to the last digit', async () => {
    const report = smoke();
    const { tab, close } = await opened(report);
    for (const { id, tables } of charts(report)) {
      await tab.locator(`#${id} summary`).focus();
      await tab.keyboard.press('Enter');
      await tab.locator(`#${id} .numbers table`).last().waitFor();
      const found = await tab.locator(`#${id} .numbers table`).evaluateAll((all) =>
        all.map((table) => [...table.querySelectorAll('tbody tr')].map((row) => [...row.children].map((cell) => cell.textContent))),
      );
      const expected = tables.map(({ rows }) => rows.map((row) => row.map((cell) => (cell === null ? '-' : String(cell)))));
      assert.deepEqual(found, expected, id);
    }
    await close();
  });

  test('each chart is an image with its picture in words', async () => {
    const report = smoke();
    const { tab, close } = await opened(report);
    for (const { id, text } of charts(report)) {
      const labels = await tab.locator(`#${id} .plot svg[role=img]`).evaluateAll((all) => all.map((svg) => svg.getAttribute('aria-label')));
      assert.ok(labels.every((label) => label === text), id);
    }
    await close();
  });

  test('everything that can be used is reached by keyboard, and the switch of colours works', async () => {
    const { tab, close } = await opened(smoke());
    const ground = () => tab.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await tab.keyboard.press('Tab');
    assert.equal(await tab.evaluate(() => document.activeElement.className), 'skip');
    await tab.keyboard.press('Tab');
    assert.equal(await tab.evaluate(() => document.activeElement.id), 'theme');
    await tab.keyboard.press('Enter');
    assert.equal(await text(tab, '#theme'), 'Colours: light');
    await tab.keyboard.press('Enter');
    assert.equal(await text(tab, '#theme'), 'Colours: dark');
    assert.notEqual(await ground(), light);
    const reached = await tab.evaluate(() =>
      [...document.querySelectorAll('a, button, summary, .scroll')].every((it) => it.tabIndex >= 0),
    );
    assert.ok(reached);
    await close();
  });

  test('light and dark are told apart from the ground by enough contrast', async () => {
    for (const colorScheme of ['light', 'dark']) {
      const { tab, close } = await opened(smoke(), { colorScheme });
      const ratios = await tab.evaluate(() => {
        const channel = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        const luminance = (colour) => {
          const [r, g, b] = colour.match(/[\d.]+/g).map((it) => channel(Number(it) / 255));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const probe = document.body.appendChild(document.createElement('i'));
        const of = (name) => {
          probe.style.color = `var(--${name})`;
          return luminance(getComputedStyle(probe).color);
        };
        const ground = of('card');
        const ratio = (name) => (Math.max(of(name), ground) + 0.05) / (Math.min(of(name), ground) + 0.05);
        // WCAG 2.2: 4.5 for text, 3 for shapes that carry a meaning.
        const texts = ['ink', 'soft', 'accent', 'good', 'bad'].map((name) => [name, ratio(name), 4.5]);
        const marks = ['warm', 'cold', 'limit', 'platform', 'init', 'call', 'api', 'connection', 'handshake'].map((name) => [name, ratio(name), 3]);
        return [...texts, ...marks];
      });
      for (const [name, ratio, least] of ratios) assert.ok(ratio >= least, `${colorScheme} ${name}: ${ratio.toFixed(2)}`);
      await close();
    }
  });

  test('text from outside is shown as text, and never becomes markup', async () => {
    const report = hostile();
    const clean = await opened(smoke());
    const elements = (tab) => tab.evaluate(() => document.querySelectorAll('*').length);
    const tags = (tab) => tab.evaluate(() => [...new Set([...document.querySelectorAll('*')].map((it) => it.localName))].sort());
    const expected = await tags(clean.tab);
    await clean.close();
    const { tab, wrong, asked, url, close } = await opened(report);
    for (const summary of await tab.locator('summary').all()) await summary.evaluate((it) => it.click());
    assert.equal(await tab.evaluate(() => window.struck), undefined);
    assert.equal(await tab.locator('img').count(), 0);
    assert.ok((await elements(tab)) > 100);
    const more = (await tags(tab)).filter((tag) => !expected.includes(tag) && !['table', 'caption', 'thead', 'tbody', 'tr', 'th', 'td', 'small'].includes(tag));
    assert.deepEqual(more, []);
    assert.ok((await text(tab, 'h1')).startsWith('"\'><img src='));
    assert.deepEqual(wrong, []);
    assert.deepEqual(asked.filter((it) => it !== url && !it.startsWith('data:')), []);
    await close();
  });

  test('without JavaScript the answer and the tables are there', async () => {
    const report = failed();
    const { tab, close } = await opened(report, { javaScriptEnabled: false });
    assert.equal(await text(tab, '.badge'), 'failed');
    assert.match(await text(tab, 'noscript'), /report\.json/);
    await close();
  });

  test('a page is less than 1 MB', () => {
    const { folder } = page(smoke());
    const { size } = statSync(path.join(folder, 'report.html'));
    assert.ok(size < 1_000_000, `${size} bytes`);
    assert.match(readFileSync(path.join(folder, 'report.md'), 'utf8'), /^# Load test/);
  });
});
