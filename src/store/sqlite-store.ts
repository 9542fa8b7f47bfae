import { randomUUID } from 'node:crypto';
import { UnavailableError } from '../jobs/errors.ts';
import type { AgentReport, JobRecord, JobSpec } from '../jobs/job.ts';
import type { JobStore, Log, Membership, NewJob, Store } from '../jobs/ports.ts';
import type { Outbox } from '../jobs/webhooks.ts';
import { encodeSpec } from './job-rows.ts';
import type { SubmittedJob } from './store-protocol.ts';
import { createWorkerChannel, type WorkerChannel } from './worker-channel.ts';

const program = new URL('./sqlite-worker.ts', import.meta.url);

/** Characters of a spec whose JSON is made in the event loop: some 0.1 ms. */
const maxEncodedHere = 65_536;

/**
 * The embedded store: an SQLite file that this process alone may use, served by a thread of its own.
 * It opens in the background: `ready` rejects if it cannot, with a message for an operator that names the file.
 */
export function createSqliteStore({ file, log }: { readonly file: string; readonly log: Log }): Store {
  const incarnation = randomUUID();
  const listeners = new Set<(job: JobRecord) => void>();
  const onEnded = (job: JobRecord): void => {
    for (const listener of listeners) listener(job);
  };
  const channel = createWorkerChannel({ program, input: { file, incarnation }, log, onEnded });
  return {
    jobs: createJobs(channel, incarnation),
    keeping: {
      remove: (id) => channel.call('remove', id),
      acknowledge: (id, now) => channel.call('acknowledge', { id, now }),
    },
    outbox: createOutbox(channel),
    membership: createMembership(channel, incarnation),
    onDependentEnded: (listener) => void listeners.add(listener),
    ready: async () => {
      await channel.opened();
      await channel.call('probe', null);
    },
    close: channel.close,
  };
}

function createJobs(channel: WorkerChannel, incarnation: string): JobStore {
  return {
    submit: async (job, { maxUnfinished, goneBefore = Number.MIN_SAFE_INTEGER }) => {
      if (!channel.hasRoom()) throw new UnavailableError('The job store is too slow to take on more now');
      const size = sizeOfSpec(job.spec);
      const admitted = await channel.call('submit', { job: submittedJob(job, size), maxUnfinished, goneBefore }, size);
      if (admitted === null) return { outcome: 'queue_full' };
      if ('outcome' in admitted) return admitted;
      // What the row says, without having it copied back.
      return { outcome: 'admitted', job: admittedJob(job, admitted.seq, admitted.queuePosition) };
    },
    claim: async (freeSlots, startedAt) => {
      const jobs = await channel.call('claim', { freeSlots, startedAt });
      return jobs.map((job) => ({ job, attempt: job.attempt, owner: incarnation }));
    },
    finish: async ({ job, owner, attempt }, outcome, finishedAt) => {
      const input = { id: job.id, owner, attempt, outcome, finishedAt };
      const finished = await channel.call('finish', input, sizeOfReport(outcome.report));
      if (finished === 'requeued') return await channel.call('get', job.id);
      if (!finished) return undefined;
      return { ...job, status: outcome.status, attempt, finishedAt, queuePosition: null, outcome };
    },
    cancelQueued: (id, outcome, finishedAt) => channel.call('cancelQueued', { id, outcome, finishedAt }),
    get: (id) => channel.call('get', id),
    list: (query) => channel.call('list', query),
    evict: (finishedBefore, limit, dueBefore = finishedBefore) =>
      channel.call('evict', { finishedBefore, limit, dueBefore: Math.min(dueBefore, finishedBefore) }),
  };
}

function createOutbox(channel: WorkerChannel): Outbox {
  return {
    take: (limit, now, leaseMs) => channel.call('outboxTake', { limit, now, leaseMs }),
    delivered: async (id) => void (await channel.call('outboxSettle', { id, failure: null })),
    failed: async (id, error, nextAt) => void (await channel.call('outboxSettle', { id, failure: { error, nextAt } })),
    nextAt: () => channel.call('outboxNextAt', null),
    dead: (limit) => channel.call('outboxDead', { limit }),
    resend: (id, now) => channel.call('outboxResend', { id, now }),
    forget: async (createdBefore) => void (await channel.call('outboxForget', { createdBefore })),
  };
}

function createMembership(channel: WorkerChannel, incarnation: string): Membership {
  return {
    adopt: async (ids) => {
      const jobs = await channel.call('adopt', { ids });
      return jobs.map((job) => ({ job, attempt: job.attempt, owner: incarnation }));
    },
    recover: (now) => channel.call('recover', { now }),
    counts: channel.counts,
  };
}

/** Written out, and what is absent left out, not spread: that took a tenth of all the time that a submit takes. */
function submittedJob({ id, caller, createdAt, spec, idempotency }: NewJob, size: number): SubmittedJob {
  const { kind, followUp, after, maxAttempts, metadata } = spec;
  const isShort = size <= maxEncodedHere && spec.history === undefined && spec.outputSchema === undefined;
  const job: { -readonly [Key in keyof SubmittedJob]: SubmittedJob[Key] } = {
    id,
    caller,
    createdAt,
    kind,
    metadata,
    spec: isShort ? { encoded: encodeSpec(spec) } : { whole: spec },
  };
  if (idempotency !== undefined) job.idempotency = idempotency;
  if (followUp !== undefined) job.followUp = followUp;
  if (after !== undefined) job.after = after;
  if (maxAttempts !== undefined) job.maxAttempts = maxAttempts;
  return job;
}

function admittedJob({ id, caller, createdAt, spec }: NewJob, seq: number, queuePosition: number | null): JobRecord {
  const untouched = { status: 'queued', attempt: 0, startedAt: null, finishedAt: null, outcome: null } as const;
  const job = { id, seq, caller, createdAt, spec, queuePosition, ...untouched };
  return spec.followUp === true ? { ...job, followUp: 'due' } : job;
}

function sizeOfSpec({ prompt, systemPrompt, attachments = [], door }: JobSpec): number {
  const attached = attachments.reduce((length, { data }) => length + data.length, 0);
  // A door keeps what was asked in its own words: about as much again.
  return (prompt.length + attached) * (door === undefined ? 1 : 2) + (systemPrompt?.length ?? 0);
}

function sizeOfReport({ output, stderr, result, text }: AgentReport): number {
  const lines = output.reduce((length, line) => length + line.length, 0);
  return lines + stderr.length + (result?.length ?? 0) + (text?.length ?? 0);
}
