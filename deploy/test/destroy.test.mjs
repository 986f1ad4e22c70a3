// `make destroy`, while SQS still names deleted queues. `aws` and `sam` are scripts.

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { whatStays } from '../destroy.mjs';
import { environment, fakePath, lastLine, run, temporaryFolder } from './verbs.mjs';

const QUEUE = { type: 'AWS::SQS::Queue', id: 'https://sqs.us-east-1.amazonaws.com/123456789012/shop-dev-OrdersQueue' };
const TABLE = { type: 'AWS::DynamoDB::Table', id: 'shop-dev-ProductsTable' };

/** `whatStays` of an account that answers with each of these in turn, and then with the last; how long it waited. */
async function after(...answers) {
  let waited = 0;
  const look = async () => (answers.length > 1 ? answers.shift() : answers[0]);
  const left = await whatStays([QUEUE, TABLE], look, async (ms) => {
    waited += ms;
  });
  return { left, seconds: waited / 1000 };
}

test('a queue that SQS still names is looked for again, for longer than SQS may take', async () => {
  assert.deepEqual(await after([QUEUE], [QUEUE], []), { left: [], seconds: 10 });
  const { left, seconds } = await after([QUEUE]);
  assert.deepEqual(left, [QUEUE]);
  assert.ok(seconds > 60 && seconds < 120, String(seconds));
});

test('for anything else nobody waits: it was not deleted', async () => {
  assert.deepEqual(await after([QUEUE, TABLE]), { left: [QUEUE, TABLE], seconds: 0 });
});

test('make destroy waits for a queue that goes a while after its stack, and says so', async () => {
  const asked = path.join(temporaryFolder(), 'asked');
  const aws = `case "$*" in
    "sts get-caller-identity"*) echo '{"Account": "1", "Arn": "arn:aws:iam::1:user/u"}';;
    *"--stack-name shop-dev-power-tuning"*) echo "An error occurred (ValidationError): it does not exist" >&2; exit 254;;
    "cloudformation describe-stacks"*) echo '{"Stacks": [{"StackId": "id", "StackName": "shop-dev", "StackStatus": "CREATE_COMPLETE"}]}';;
    "cloudformation list-stack-resources"*) echo '{"StackResourceSummaries": [{"ResourceType": "${QUEUE.type}", "PhysicalResourceId": "${QUEUE.id}"}]}';;
    "logs describe-log-groups"*) echo '{"logGroups": []}';;
    "s3api list-buckets"*) echo '{"Buckets": []}';;
    "sqs list-queues"*) test -e ${asked} || echo '{"QueueUrls": ["${QUEUE.id}"]}'; : > ${asked};;
    *) echo "unexpected: aws $*" >&2; exit 99;;
    esac`;
  const env = environment({ PATH: fakePath({ sh: null, aws, sam: 'exit 0' }), AWS_REGION: 'us-east-1' });
  const { code, output } = await run('destroy', ['--yes'], { env });
  assert.equal(code, 0, output);
  assert.match(output, /^SQS still names 1 queues, as it may for 60 s: looking again in 5 s/m);
  assert.equal(lastLine(output), 'gone: all 1 of them');
});
