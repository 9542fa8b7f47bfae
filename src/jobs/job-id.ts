import { randomBytes } from 'node:crypto';
import type { JobId } from './job.ts';

/** 160 random bits: more than the 128 that make an id unguessable, and no padding in base64url. */
const idBytes = 20;
const idPattern = /^job_[A-Za-z0-9_-]{27}$/;

/** A new id, `job_` and 27 URL-safe characters. It is also the name of the job's directories, hence the strict form. */
export function createJobId(): JobId {
  return `job_${randomBytes(idBytes).toString('base64url')}` as JobId;
}

/** True for what `createJobId` makes: all else names no job, and never reaches a path or a query. */
export function isJobId(text: string): text is JobId {
  return idPattern.test(text);
}
