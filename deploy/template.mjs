// The system to deploy: template.yaml, and the profile of samconfig.yaml with the parameters given on the command line.

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { readTemplate } from '../benchmarks/stack.mjs';
import { Failure, ROOT } from './aws.mjs';
import { architectureOf, newestGlibc } from './elf.mjs';

const yaml = createRequire(path.join(ROOT, 'load-tests/package.json'))('js-yaml');

export { readTemplate };

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

/** Every parameter of the template with its value; a failure names the first one that the template would refuse. */
export function parameterValues({ Parameters }, given) {
  for (const [name, value] of Object.entries(given)) {
    const rules = Parameters[name];
    if (!rules)
      throw new Failure(`template.yaml has no parameter "${name}"; it has: ${Object.keys(Parameters).join(', ')}`);
    const wrong = refusal(rules, value);
    if (wrong) throw new Failure(`the parameter ${name} ${wrong}, but is "${value}"`);
  }
  return Object.fromEntries(
    Object.entries(Parameters).map(([name, { Default }]) => [name, given[name] ?? String(Default ?? '')]),
  );
}

/** What is wrong with a value by the template's own rules for it; null if nothing is. */
function refusal({ Type, AllowedValues, AllowedPattern, MinValue, MaxValue }, value) {
  if (AllowedValues && !AllowedValues.map(String).includes(value)) return `must be one of ${AllowedValues.join(', ')}`;
  if (AllowedPattern && !new RegExp(`^(?:${AllowedPattern})$`).test(value)) return `must match ${AllowedPattern}`;
  if (Type !== 'Number') return null;
  if (!/^-?\d+(\.\d+)?$/.test(value)) return 'must be a number';
  if (MinValue !== undefined && Number(value) < MinValue) return `must be ${MinValue} or more`;
  if (MaxValue !== undefined && Number(value) > MaxValue) return `must be ${MaxValue} or less`;
  return null;
}

/** The template's functions, each with its logical `id` and its properties, those of `Globals` included. */
export const functionsOf = ({ Globals, Resources }) =>
  Object.entries(Resources)
    .filter(([, { Type }]) => Type === 'AWS::Serverless::Function')
    .map(([id, { Properties }]) => ({ id, ...Globals?.Function, ...Properties }));

/**
 * `resolve` puts the parameters' values into anything of the template, `holds` says whether a condition does. Ids and
 * attributes of resources, which nothing here asks for, stay as they are; `AWS::NoValue` leaves its property out.
 */
export function resolver({ Conditions = {}, Mappings = {} }, values) {
  const functions = {
    Ref: (name) => values[name] ?? (name === 'AWS::Region' ? process.env.AWS_REGION : undefined) ?? { Ref: name },
    'Fn::Equals': ([a, b]) => String(resolve(a)) === String(resolve(b)),
    'Fn::Not': ([condition]) => !resolve(condition),
    'Fn::And': (all) => all.every((one) => resolve(one)),
    'Fn::Or': (all) => all.some((one) => resolve(one)),
    'Fn::If': ([condition, yes, no]) => resolve(holds(condition) ? yes : no),
    'Fn::Contains': ([list, value]) => list.some((one) => String(resolve(one)) === String(resolve(value))),
    'Fn::FindInMap': (keys) => keys.map((key) => resolve(key)).reduce((found, key) => found?.[key], Mappings),
    Condition: (name) => holds(name),
  };
  const holds = (name) => resolve(Conditions[name]);
  const resolve = (value) => {
    if (Array.isArray(value)) return value.map(resolve);
    if (value === null || typeof value !== 'object') return value;
    const [[name, operand] = [], ...more] = Object.entries(value);
    if (more.length === 0 && functions[name] && !(name === 'Condition' && typeof operand !== 'string'))
      return functions[name](operand);
    return Object.fromEntries(
      Object.entries(value)
        .map(([key, inner]) => [key, resolve(inner)])
        .filter(([, inner]) => inner?.Ref !== 'AWS::NoValue'),
    );
  };
  return { resolve, holds };
}

/** The first assertion of the template's Rules that these values break, as the template words it; null if none. */
export function brokenRule(template, values) {
  const { resolve } = resolver(template, values);
  const broken = Object.values(template.Rules ?? {})
    .filter(({ RuleCondition }) => !RuleCondition || resolve(RuleCondition))
    .flatMap(({ Assertions }) => Assertions)
    .find(({ Assert }) => !resolve(Assert));
  return broken?.AssertDescription ?? null;
}

/** The minor version of glibc 2 in Amazon Linux 2023: https://docs.aws.amazon.com/linux/al2023/ug/compare-with-al2.html */
const LAMBDA_GLIBC = 34;

/** Fails unless every function's binary is there and can run on Lambda's machines of `architecture`. */
export function checkBinaries(template, architecture, root = ROOT) {
  for (const { CodeUri } of functionsOf(template)) {
    const file = path.join(root, CodeUri, 'bootstrap');
    const how = `\`make build ARCH=${architecture}\` builds it`;
    if (!existsSync(file)) throw new Failure(`${path.relative(root, file)} is missing; ${how}`);
    const found = architectureOf(file);
    if (found !== architecture) {
      const what = found ? `is built for ${found}` : 'is no Linux executable';
      throw new Failure(`${path.relative(root, file)} ${what}, and the stack is to run on ${architecture}; ${how}`);
    }
    const glibc = newestGlibc(file);
    if (glibc > LAMBDA_GLIBC) {
      throw new Failure(
        `${path.relative(root, file)} needs glibc 2.${glibc} of this machine, and Lambda has 2.${LAMBDA_GLIBC}; ${how}`,
      );
    }
  }
}
