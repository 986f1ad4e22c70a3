// Wall time on Lambda, predicted from CPU time here. docs/cold-start.md says why, and how far it is from what was published.

/** MB for one vCPU: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html */
const VCPU_MB = 1769;

/** Lambda hands out CPU in slices of so many ms, as users observed: https://github.com/pwrdrvr/lambda-dispatch/issues/246 */
const PERIOD_MS = 20;

/** A vCPU of Lambda is one of two threads of a core, so it is taken to be half as fast as a core here. */
const SLOWER = 2;

/** Ms before `main`: of the 14 ms that an SDK-free function is published to start in at any size, what its CPU leaves. */
const PLATFORM_MS = 11;

/** Ms on the network for a new connection and a first call: three round trips, and DynamoDB's own few ms. */
const FIRST_CALL_MS = 5;

/** Ms of wall time that `cpu` ms here take at `memory` MB: once a period's share is used, the process waits for the next. */
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
