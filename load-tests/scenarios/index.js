// All scenarios together. Artillery takes one script; this one is made of the files beside it, each of which is
// a script of its own too: `artillery run --config artillery.yml scenarios/browse.yml`.
import { readdirSync, readFileSync } from 'node:fs';
import yaml from 'js-yaml';

export const scenarios = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.yml'))
  .flatMap((file) => yaml.safeLoad(readFileSync(`${import.meta.dirname}/${file}`, 'utf8')).scenarios);
