// All scenarios together. Artillery takes one script, so this one joins the files beside it. Each of them is also a
// script by itself: `artillery run --config artillery.yml scenarios/browse.yml`.
import { readdirSync, readFileSync } from 'node:fs';
import yaml from 'js-yaml';

export const scenarios = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.yml'))
  .flatMap((file) => yaml.safeLoad(readFileSync(`${import.meta.dirname}/${file}`, 'utf8')).scenarios);
