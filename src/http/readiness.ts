import type { Clock } from '../jobs/ports.ts';

/** One thing that the service needs. Answers why it is not there, a sentence with the fix, or null. */
export interface ReadinessCheck {
  /** A noun for the sentence "... does not answer". */
  readonly what: string;
  readonly check: () => Promise<string | null>;
  /** How long an answer holds, in ms: probes come by the second, and some checks cost a write or a process. */
  readonly maxAgeMs: number;
}

/** A probe's own timeout is a second by default; what takes longer is answered from the last time. */
const patienceMs = 700;
/** A check that takes this long hangs. */
const stuckMs = 15_000;

/** Why the service is not ready, one sentence each. Answers within a second, whatever hangs. */
export function createReadiness(checks: readonly ReadinessCheck[], clock: Clock): () => Promise<readonly string[]> {
  const kept = checks.map((check) => keep(check, clock));
  return async () => {
    const reasons = await Promise.all(kept.map((check) => check()));
    return reasons.filter((reason) => reason !== null);
  };
}

function keep({ what, check, maxAgeMs }: ReadinessCheck, clock: Clock): () => Promise<string | null> {
  let last: { readonly at: number; readonly reason: string | null } | undefined;
  let pending: { readonly since: number; readonly done: Promise<void> } | undefined;

  async function look(): Promise<void> {
    try {
      last = { reason: await Promise.try(check), at: clock.now() };
    } catch {
      // The check's own adapter has logged why; a prober may read no more than this.
      last = { reason: `${what} failed: see the log`, at: clock.now() };
    } finally {
      pending = undefined;
    }
  }

  return async () => {
    if (last !== undefined && clock.now() - last.at < maxAgeMs) return last.reason;
    pending ??= { since: clock.now(), done: look() };
    const { since, done } = pending;
    await within(done, patienceMs);
    const isStuck = pending !== undefined && clock.now() - since > stuckMs;
    return last === undefined || isStuck ? `${what} does not answer` : last.reason;
  };
}

async function within(done: Promise<void>, ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([done, promise]);
  clearTimeout(timer);
}
