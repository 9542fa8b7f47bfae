import type { FastifyRequest } from 'fastify';

/**
 * What is known of a client that gives up by itself and tries again: its SDK says how long it waits, and how often it has tried.
 * Each of its tries would be a run.
 */

/** How long a client waits for a sign of life, as its SDK says in seconds: for the headers, or between two reads. */
const patienceHeaders = ['x-stainless-timeout', 'x-stainless-read-timeout'] as const;
/** The rest is for the way there and for a busy machine. */
const usedShare = 0.75;
/** Who waits for less gives up anyway, and white space every few milliseconds helps nobody. */
const shortestMs = 100;

/**
 * How long an answer may be silent so that this client goes on waiting, in milliseconds; Infinity where it does not say.
 * `seenMs`: how long it waited before.
 */
export function longestSilenceMs(
  { headers }: Pick<FastifyRequest, 'headers'>,
  seenMs = Number.POSITIVE_INFINITY,
): number {
  const patienceMs = patienceHeaders.map((name) => Number(headers[name]) * 1000).filter((ms) => ms > 0);
  return Math.max(shortestMs, Math.min(seenMs, ...patienceMs) * usedShare);
}

/** What SDKs wait for where they do not say: LlamaIndex, and openai from version 5 on unless one request has a time of its own. */
const unsaidMs = [60_000, 600_000] as const;
/** The time began at the client before its request was here, is told in whole seconds, and both sides' timers are late. */
const earlyMs = 1_000;
const lateMs = 2_000;
/** The pauses of the SDKs: half a second, doubled with each try up to this. LangChain's first is up to two seconds. */
const firstPauseMs = 500;
const longestPauseMs = 8_000;
/** The least where it is likely that the client comes back. */
const leastMs = 3_000;
/** A time that somebody set is a round one. Of the hang-ups that are meant, one in ten comes so near to such a time by chance. */
const roundMs = 5_000;
const nearMs = 250;
/** The first pause and the way here: not more, for a hang-up that is meant is to end its run within a second. */
const perhapsMs = 600;
/** The same where the time is the client's own word; but it may have been told to try once only, and nobody says so. */
const firstReturnMs = 800;

/**
 * How long after its hang-up a client may come back with the same request, in milliseconds; 0 where it does not. `waitedMs`: how
 * long its request had been here; `seenMs`: how long one like it waited before.
 */
export function returnsWithinMs(
  { headers }: Pick<FastifyRequest, 'headers'>,
  waitedMs: number,
  seenMs = Number.POSITIVE_INFINITY,
): number {
  const tries = Number(headers['x-stainless-retry-count']);
  // Also where the header is missing.
  if (!(tries >= 0)) return 0;
  const said = headers['x-stainless-timeout'];
  const timesMs = said === undefined ? [...unsaidMs, seenMs] : [Number(said) * 1000];
  if (timesMs.some((ms) => ms > 0 && waitedMs >= ms - earlyMs && waitedMs <= ms + lateMs)) {
    if (said !== undefined && tries === 0) return firstReturnMs;
    return Math.max(leastMs, Math.min(firstPauseMs * 2 ** tries, longestPauseMs) + lateMs);
  }
  return said === undefined && tries === 0 && isRound(waitedMs) ? perhapsMs : 0;
}

function isRound(ms: number): boolean {
  const times = Math.round(ms / roundMs);
  return times > 0 && Math.abs(ms - times * roundMs) <= nearMs;
}
