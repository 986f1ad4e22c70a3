// Prints the outputs of a deployed stack: `make outputs`.
//
//   node deploy/outputs.mjs [--stage dev] [--stack NAME]

import { options, requireStack, say, useRegion, verb } from './aws.mjs';
import { stackName } from './template.mjs';

/** One line an output, its name first. */
export async function showOutputs(stack) {
  const { Outputs = [], StackStatus } = await requireStack(stack);
  const width = Math.max(...Outputs.map(({ OutputKey }) => OutputKey.length), 0);
  say(`${stack} in ${process.env.AWS_REGION}: ${StackStatus}`);
  for (const { OutputKey, OutputValue } of Outputs) say(`  ${OutputKey.padEnd(width)}  ${OutputValue}`);
}

if (process.argv[1] === import.meta.filename) {
  await verb('outputs', async () => {
    const given = options({ stage: { type: 'string', default: 'dev' }, stack: { type: 'string' } });
    await useRegion();
    await showOutputs(stackName(given));
  });
}
