// SQS for the local host: fauxqs on loopback only.
// Run as `node server.mjs ENDPOINT_URL [DATA_DIR]`. It prints its port as one line of JSON and ends
// when its standard input closes. Without DATA_DIR all state is in memory.
import { buildApp } from "fauxqs";
// The package exports `startFauxqs` alone, which listens on every address of the machine. The code
// below does the same on loopback.
import { PersistenceManager } from "./node_modules/fauxqs/dist/persistence.js";
import { SnsStore } from "./node_modules/fauxqs/dist/sns/snsStore.js";
import { SqsQueue, SqsStore } from "./node_modules/fauxqs/dist/sqs/sqsStore.js";

const [endpointUrl, dataDir] = process.argv.slice(2);

const sqsStore = new SqsStore();
const snsStore = new SnsStore();
// Clients reach this server through the host's TLS endpoint, so queue URLs name that endpoint.
sqsStore.buildQueueUrl = (name) => `${endpointUrl}/000000000000/${name}`;

// Senders may set one system attribute, AWSTraceHeader, and fauxqs drops it. It is kept here as a
// message attribute, which fauxqs does store, under a name that SQS reserves.
const TRACE = "AWS.TraceHeader";
const traceHeaders = new WeakMap(); // by a message's object of attributes
const { createMessage } = SqsStore;
SqsStore.createMessage = (body, attributes, ...rest) => {
  const message = createMessage(body, attributes, ...rest);
  const header = traceHeaders.get(attributes);
  if (header) message.messageAttributes = { ...attributes, [TRACE]: header };
  return message;
};

let persistence;
if (dataDir) {
  persistence = new PersistenceManager(dataDir);
  // State must survive the end of this process, not a power cut: no fsync for each write.
  persistence.db.exec("PRAGMA synchronous = NORMAL");
  // Loaded before the stores know of the persistence, or every load would be written again.
  persistence.loadSqsAndSns(sqsStore, snsStore);
  // The endpoint's port may differ from the last run's.
  const queues = [...sqsStore.allQueues()];
  sqsStore.queues.clear();
  for (const queue of queues) {
    queue.url = sqsStore.buildQueueUrl(queue.name);
    queue.persistence = persistence;
    sqsStore.queues.set(queue.url, queue);
  }
  sqsStore.persistence = persistence;
  snsStore.persistence = persistence;

  // A move to the dead-letter queue is a delete and an insert. One transaction holds both, so a
  // kill between them loses no message.
  const dequeue = SqsQueue.prototype.dequeue;
  SqsQueue.prototype.dequeue = function (...args) {
    let received;
    persistence.transaction(() => {
      received = dequeue.apply(this, args);
    });
    return received;
  };
  // Here fauxqs 2.4.1 writes null into `approximate_receive_count`, which its own schema forbids. A
  // change of visibility to 0 would fail, and the message be lost until the next start.
  persistence.updateMessageReady = (messageId) => {
    persistence.db
      .prepare("UPDATE sqs_messages SET receipt_handle = NULL, visibility_deadline = NULL WHERE message_id = ?")
      .run(messageId);
  };
}

const app = buildApp({ logger: false, stores: { sqsStore, snsStore } });

// fauxqs does not notice a client that leaves during a long poll. It would send that client the
// next messages, and they would stay invisible until their timeout. So when one client leaves, all
// waiting polls are answered at once, and the clients that are still there ask again.
app.addHook("onRequest", async (_request, reply) => {
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) sqsStore.shutdown();
  });
});

// Takes the trace header from each message sent, and adds it to each message received.
app.addHook("preHandler", async ({ body }) => {
  for (const entry of [body?.Entries ?? body].flat()) {
    const header = entry?.MessageSystemAttributes?.AWSTraceHeader?.StringValue;
    if (header) traceHeaders.set((entry.MessageAttributes ??= {}), header);
  }
});
app.addHook("preSerialization", async ({ body }, _reply, answer) => {
  const names = [body?.AttributeNames ?? [], body?.MessageSystemAttributeNames ?? []].flat();
  const asked = names.includes("All") || names.includes("AWSTraceHeader");
  for (const message of answer?.Messages ?? []) {
    const inFlight = sqsStore.getQueue(body.QueueUrl)?.inflightMessages.get(message.ReceiptHandle);
    const header = inFlight?.message.messageAttributes[TRACE];
    if (!header) continue;
    const { [TRACE]: _, ...own } = message.MessageAttributes ?? {};
    message.MessageAttributes = Object.keys(own).length > 0 ? own : undefined;
    if (asked) message.Attributes = { ...message.Attributes, AWSTraceHeader: header };
  }
  return answer;
});

async function stop() {
  await app.close();
  persistence?.close();
  process.exit(0);
}

const address = await app.listen({ port: 0, host: "127.0.0.1" });
console.log(JSON.stringify({ port: Number(new URL(address).port) }));
process.stdin.on("end", stop).on("error", stop).resume();
