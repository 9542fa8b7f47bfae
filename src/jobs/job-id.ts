import { randomFillSync } from 'node:crypto';
import type { JobId } from './job.ts';

/** 160 random bits: more than the 128 that make an id unguessable, and no padding in base64url. */
const idBytes = 20;
const idPattern = /^job_[A-Za-z0-9_-]{27}$/;

/** Random bytes are fetched for many ids at once: each fetch costs as much as parsing a request. Each byte is used once. */
const pool = Buffer.alloc(idBytes * 256);
let used = pool.length;

/** A new id, `job_` and 27 URL-safe characters. It is also the name of the job's directories, hence the strict form. */
export function createJobId(): JobId {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += idBytes;
  return `job_${pool.toString('base64url', used - idBytes, used)}` as JobId;
}

/** True for what `createJobId` makes: all else names no job, and never reaches a path or a query. */
export function isJobId(text: string): text is JobId {
  return idPattern.test(text);
}
