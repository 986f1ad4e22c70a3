// A browser of this machine, through Playwright, which downloads none.
//
// CHROMIUM=<path> names one. Without any, the tests are skipped with a message; with BROWSER_REQUIRED=1, as in CI, they fail.

import { existsSync } from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const ELSEWHERE = [
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  chromium.executablePath(), // where `playwright install` puts it
];

/** The path of a Chromium, or nothing. */
export function browserOfThisMachine() {
  const folders = (process.env.PATH ?? '').split(path.delimiter).filter(Boolean);
  const onPath = NAMES.flatMap((name) => folders.map((folder) => path.join(folder, name)));
  const candidates = process.env.CHROMIUM ? [process.env.CHROMIUM] : [...onPath, ...ELSEWHERE];
  return candidates.find((file) => file && existsSync(file));
}

/** Why the tests cannot run here, or false. In CI that is a failure. */
export function missing() {
  if (browserOfThisMachine()) return false;
  const why = 'there is no Chromium on this machine (`apt-get install chromium`, or CHROMIUM=<path>)';
  if (process.env.BROWSER_REQUIRED) throw new Error(why);
  console.log(`skipped: ${why}`);
  return why;
}

export const launch = () =>
  chromium.launch({
    executablePath: browserOfThisMachine(),
    // Chromium's own sandbox does not run as root, as in containers.
    args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
  });
