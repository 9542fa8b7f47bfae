import { randomFillSync, randomInt } from 'node:crypto';
import type { JobId } from './job.ts';

/** 136 random bits: more than the 128 that make an id unguessable. With the three bytes before them no padding in base64url. */
const randomBytes = 17;
const idPattern = /^job_[A-Za-z0-9_-]{27}$/;

/** Random bytes are fetched for many ids at once: each fetch costs as much as parsing a request. Each byte is used once. */
const pool = Buffer.alloc(randomBytes * 256);
let used = pool.length;

/**
 * Ids begin with the time, so that those of one moment stand together in the index of the store: one page is written where
 * wholly random ones write a page each. In units so short that a full server makes no more than a few pages of ids in one,
 * and counted from a random moment: it tells nobody when the job was made.
 */
const unitMs = 16;
const units = 0x1_00_00_00;
const origin = randomInt(units);
const id = Buffer.alloc(3 + randomBytes);

/** A new id, `job_` and 27 URL-safe characters. It is also the name of the job's directories, hence the strict form. */
export function createJobId(): JobId {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  id.writeUIntBE((origin + Math.floor(performance.now() / unitMs)) % units, 0, 3);
  used += pool.copy(id, 3, used, used + randomBytes);
  return `job_${id.toString('base64url')}` as JobId;
}

/** True for what `createJobId` makes: all else names no job, and never reaches a path or a query. */
export function isJobId(text: string): text is JobId {
  return idPattern.test(text);
}
