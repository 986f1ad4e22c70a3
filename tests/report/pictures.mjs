// `make pictures`: the pictures of the README and the docs, drawn by a report's own page.
//
//   node tests/report/pictures.mjs [target/load-test] [target/bench]
//
// Each is two SVG files, light and dark, for a <picture>. They need a Chromium.

import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { browserOfThisMachine, launch } from './browser.mjs';
import { ROOT } from './reports.mjs';

const OUT = path.join(ROOT, 'docs/pictures');
const WIDTH = 760;
const HEAD = 62;

/** For each run the names of its files, and their charts: by id, or the most telling of a kind. */
const PICTURES = {
  'load-test': {
    latency: (charts) =>
      charts
        .filter(({ kind }) => kind === 'latency')
        .toSorted((a, b) => b.tables[1].rows.length - a.tables[1].rows.length || b.tables[2].rows.length - a.tables[2].rows.length)[0]?.id,
    'cold-start': () => 'cold-start',
  },
  bench: { peers: () => 'cold-128' },
};

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** An SVG file of a chart: its title, its legend, its own colours, and no script. */
function file({ svg, height, title, text, legend }, scheme) {
  const colours = Object.entries(scheme).map(([name, value]) => `--${name}:${value}`).join(';');
  let x = 12;
  const words = legend.map(([word, tone]) => {
    const at = x;
    x += 36 + word.length * 6.8;
    return `<rect x="${at}" y="40" width="10" height="10" rx="3" fill="var(--${tone})"/><text x="${at + 15}" y="49" font-size="12" fill="var(--soft)">${escaped(word)}</text>`;
  });
  // Places with fourteen digits are half of the file.
  const places = (numbers) => numbers.replaceAll(/-?\d+\.\d{3,}/g, (number) => String(Number(Number(number).toFixed(2))));
  const shorter = svg.replaceAll(/="[^"<>]*"/g, places);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH + 24} ${height + HEAD + 8}" width="${WIDTH + 24}" role="img" font-family="system-ui, 'Segoe UI', Roboto, sans-serif">
<title>${escaped(title)}</title><desc>${escaped(text)}</desc>
<style>:root{${colours};color:var(--ink)}</style>
<rect x=".5" y=".5" width="${WIDTH + 23}" height="${height + HEAD + 7}" rx="10" fill="var(--card)" stroke="var(--line)"/>
<text x="12" y="26" font-size="15" font-weight="600" fill="var(--ink)">${escaped(title)}</text>
${words.join('')}
<g transform="translate(12 ${HEAD})" color="var(--ink)">${shorter}</g>
</svg>
`;
}

/** The page's colours, of which a picture takes those that it uses. */
async function coloursOf(page, theme) {
  return page.evaluate((wanted) => {
    document.documentElement.dataset.theme = wanted;
    const style = getComputedStyle(document.documentElement);
    const names = ['ink', 'soft', 'card', 'line', 'warm', 'cold', 'limit', 'quiet', 'client', 'api', 'platform', 'init', 'connection', 'handshake', 'call', 'run', 'held', 'queue', 'answer'];
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }, theme);
}

/** Draws the pictures of one run. */
async function draw(page, verb, html) {
  await page.goto(pathToFileURL(html).href);
  const schemes = { light: await coloursOf(page, 'light'), dark: await coloursOf(page, 'dark') };
  const report = JSON.parse(await page.locator('#report').textContent());
  const charts = report.sections.flatMap((section) => section.charts);
  for (const [name, choose] of Object.entries(PICTURES[verb])) {
    const id = choose(charts);
    const picture = id && (await page.evaluate(([id, width]) => window.pictureOf(id, width), [id, WIDTH]));
    if (!picture) throw new Error(`this report has no chart for the picture "${name}": take that of a \`make ${verb}\``);
    for (const [theme, scheme] of Object.entries(schemes)) {
      const svg = file(picture, scheme);
      writeFileSync(path.join(OUT, `${name}-${theme}.svg`), svg);
      console.log(`docs/pictures/${name}-${theme}.svg: ${picture.title}, ${Math.ceil(svg.length / 1024)} KB`);
    }
  }
}

async function main() {
  const [loadTest, bench] = process.argv.slice(2);
  const runs = { 'load-test': loadTest || 'target/load-test', bench: bench || 'target/bench' };
  if (!browserOfThisMachine()) throw new Error('there is no Chromium on this machine (`apt-get install chromium`, or CHROMIUM=<path>)');
  const browser = await launch();
  try {
    const page = await browser.newPage({ viewport: { width: WIDTH + 60, height: 900 } });
    mkdirSync(OUT, { recursive: true });
    for (const [verb, folder] of Object.entries(runs)) {
      const html = path.resolve(ROOT, folder, 'report.html');
      if (existsSync(html)) await draw(page, verb, html);
      else console.log(`there is no report in ${folder} (\`make ${verb}\` writes one): its pictures stay as they are`);
    }
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(`pictures failed: ${error.message}`);
  process.exit(1);
});
