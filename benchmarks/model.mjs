// Predicts wall time on Lambda from CPU time here. docs/cold-start.md gives the reasons, and the distance to published
// figures.

/** MB for one vCPU: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html */
const VCPU_MB = 1769;

/** Lambda schedules CPU in periods of this many ms, as users observed: https://github.com/pwrdrvr/lambda-dispatch/issues/246 */
const PERIOD_MS = 20;

/** A vCPU of Lambda is one of two threads of a core, so the model takes it as half as fast as a core here. */
const SLOWER = 2;

/** Ms before `main`: the 14 ms published for the start of an SDK-free function at any size, less its CPU time. */
const PLATFORM_MS = 11;

/** Ms on the network for a new connection and a first call: three round trips, and DynamoDB's own few ms. */
const FIRST_CALL_MS = 5;

/** Ms of wall time that `cpu` ms here take at `memory` MB: after its share of a period, the process waits for the next. */
export function throttled(cpu, memory) {
  const work = cpu * SLOWER;
  const share = Math.min(1, memory / VCPU_MB) * PERIOD_MS;
  return work + Math.floor(work / share) * (PERIOD_MS - share);
}

/** Ms from the request to the first response of a new environment. Init runs on a whole vCPU at any memory size. */
export function coldStart({ initCpu, firstCpu, calls }, memory) {
  const network = calls ? FIRST_CALL_MS : 0;
  return PLATFORM_MS + initCpu * SLOWER + throttled(firstCpu, memory) + network;
}

export const MEMORY_SIZES = [128, 256, 512, 1024, VCPU_MB];
