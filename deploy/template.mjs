// The system to deploy: template.yaml, and the profile of samconfig.yaml with the parameters given on the command line.

import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { Failure, ROOT } from './aws.mjs';

const yaml = createRequire(path.join(ROOT, 'load-tests/package.json'))('js-yaml');

/** The builds of the local host, which reads templates: of `make host`, and of the tests. */
const BUILDS = ['target/host/local', 'target/debug/local'];

/** The newest of its builds. */
function local() {
  const built = BUILDS.map((file) => path.join(ROOT, file))
    .map((file) => ({ file, at: statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
    .toSorted((a, b) => b.at - a.at);
  if (built[0].at === 0) throw new Failure(`${BUILDS[0]}, which reads template.yaml, is not built: \`make host\` builds it`);
  return built[0].file;
}

/**
 * The template for some of its parameters, as `local template --json` resolves it: the values of all `Parameters`, the
 * `Resources` that there are, each with the properties of `Globals`. References to resources stay as they are. Fails where
 * the template refuses a parameter, or some together.
 */
export function readTemplate(given = {}, { file = 'template.yaml', options = [] } = {}) {
  const parameters = Object.entries(given).flatMap(([name, value]) => ['--parameter', `${name}=${value}`]);
  const { status, stdout, stderr } = spawnSync(
    local(),
    ['template', '--json', '--template', file, ...parameters, ...options],
    { cwd: ROOT, encoding: 'utf8', maxBuffer: 2 ** 26 },
  );
  if (status !== 0) throw new Failure(stderr.trim().replace(/^local: /, ''));
  return JSON.parse(stdout);
}

/** The deploy parameters of a stage's profile, as SAM reads them. */
export function profile(stage) {
  // `default` is for `sam deploy` by hand.
  const { version, default: byHand, ...stages } = yaml.safeLoad(readFileSync(path.join(ROOT, 'samconfig.yaml'), 'utf8'));
  if (!stages[stage])
    throw new Failure(`there is no stage "${stage}" in samconfig.yaml; there are: ${Object.keys(stages).join(', ')}`);
  return stages[stage].deploy.parameters;
}

/** The name of the stack to work on: the one given, else that of the stage's profile. */
export const stackName = ({ stack, stage }) => stack ?? profile(stage).stack_name;

/** The stack beside it that `make power-tune` makes. */
export const powerTuningStack = (stack) => `${stack}-power-tuning`;

/** `Name=value` words of the profile and then of the command line; the later wins. */
export function overrides(stage, given = '') {
  const words = [...profile(stage).parameter_overrides, ...given.split(/\s+/).filter(Boolean)];
  return Object.fromEntries(
    words.map((word) => {
      const [, name, value] = /^(\w+)=(.*)$/.exec(word) ?? [];
      if (!name) throw new Failure(`a parameter is written Name=value, but one is "${word}"`);
      if (value.includes('\\')) throw new Failure(`the parameter ${name} has a backslash, which SAM would take for its own`);
      return [name, value];
    }),
  );
}

/** The value of every parameter as text: those that are given, and the template's defaults. */
export const parameterValues = ({ Parameters }, given) =>
  Object.fromEntries(Object.entries(Parameters).map(([name, value]) => [name, given[name] ?? String(value)]));

/** The template's functions, each with its logical `id` and its properties. */
export const functionsOf = ({ Resources }) =>
  Object.entries(Resources)
    .filter(([, { Type }]) => Type === 'AWS::Serverless::Function')
    .map(([id, { Properties }]) => ({ id, ...Properties }));

/** Fails unless every function's binary is there and can run on Lambda's machines of `architecture`. */
export function checkBinaries(architecture, file) {
  try {
    readTemplate({ Architecture: architecture }, { file, options: ['--check-code'] });
  } catch (error) {
    throw new Failure(`${error.message}; \`make build ARCH=${architecture}\` builds it`);
  }
}
