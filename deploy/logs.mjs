// Follows the logs of a deployed stack, all functions and the API's, until Ctrl-C: `make logs`.
//
//   node deploy/logs.mjs [--stage dev] [--stack NAME] [--function GetProduct] [--filter TEXT] [--no-follow]

import { interruption, options, requireStack, sam, useRegion, verb } from './aws.mjs';
import { stackName } from './template.mjs';

await verb('logs', async () => {
  const given = options({
    stage: { type: 'string', default: 'dev' },
    stack: { type: 'string' },
    function: { type: 'string' },
    filter: { type: 'string' },
    'no-follow': { type: 'boolean', default: false },
  });
  await useRegion();
  const stack = stackName(given);
  await requireStack(stack);
  try {
    return await sam(
      'logs',
      ...['--stack-name', stack, '--region', process.env.AWS_REGION],
      ...(given.function ? ['--name', given.function] : []),
      ...(given.filter ? ['--filter', given.filter] : []),
      ...(given['no-follow'] ? [] : ['--tail']),
    );
  } catch (error) {
    if (interruption.aborted) return 0; // that is how it ends
    throw error;
  }
});
