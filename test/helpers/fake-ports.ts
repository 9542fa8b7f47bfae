import type { ChangeSummary } from '../../src/jobs/change-set.ts';
import {
  emptyReport,
  isFinal,
  type JobId,
  type JobOutcome,
  type JobRecord,
  outcomeWithoutAgent,
} from '../../src/jobs/job.ts';
import type {
  AgentEvent,
  AgentRun,
  AgentRunner,
  Claim,
  Clock,
  EndReason,
  JobStore,
  Log,
  Store,
  WorkspaceManager,
} from '../../src/jobs/ports.ts';
import { endedOutcome } from '../../src/jobs/run-job.ts';
import type { RunLog } from '../../src/jobs/run-log.ts';
import { createEventLog, type EventLog } from './event-log.ts';

/** Stand-ins for the ports, in memory, for tests of what is in front of them. They keep the ports' promises for one process. */

export const systemClock: Clock = { now: () => Date.now() };

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };

export function createFakeStore(): Store {
  const rows = new Map<string, JobRecord>();
  const keys = new Map<string, { readonly id: JobId; readonly hash: string | undefined }>();
  const all = (): JobRecord[] => [...rows.values()];
  const unfinished = (): JobRecord[] => all().filter((job) => !isFinal(job.status));
  const queued = (): JobRecord[] => all().filter((job) => job.status === 'queued');
  const shown = (job: JobRecord): JobRecord => {
    const place = queued().findIndex(({ id }) => id === job.id);
    return { ...job, queuePosition: place === -1 ? null : place + 1 };
  };
  const put = (job: JobRecord): JobRecord => {
    rows.set(job.id, job);
    return shown(job);
  };
  const jobs: JobStore = {
    async submit({ idempotency, ...job }, { maxUnfinished }) {
      const name = `${job.caller} ${idempotency?.key ?? job.id}`;
      const first = keys.get(name);
      const known = first === undefined ? undefined : rows.get(first.id);
      if (known !== undefined) {
        const outcome = first?.hash === idempotency?.hash ? 'replayed' : 'idempotency_conflict';
        return { outcome, job: shown(known) };
      }
      if (unfinished().length >= maxUnfinished) return { outcome: 'queue_full' };
      const row = {
        ...job,
        seq: rows.size + 1,
        status: 'queued' as const,
        attempt: 0,
        startedAt: null,
        finishedAt: null,
      };
      keys.set(name, { id: job.id, hash: idempotency?.hash });
      return { outcome: 'admitted', job: put({ ...row, queuePosition: null, outcome: null }) };
    },
    async claim(freeSlots, startedAt) {
      return queued()
        .slice(0, freeSlots)
        .map(
          (job): Claim => ({
            job: put({ ...job, status: 'running', attempt: 1, startedAt }),
            attempt: 1,
            owner: 'test',
          }),
        );
    },
    async finish({ job }, outcome, finishedAt) {
      const row = rows.get(job.id);
      return row?.status === 'running' ? put({ ...row, status: outcome.status, outcome, finishedAt }) : undefined;
    },
    async cancelQueued(id, outcome, finishedAt) {
      const row = rows.get(id);
      if (row === undefined) return undefined;
      if (row.status !== 'queued') return { job: shown(row), changed: false };
      return { job: put({ ...row, status: outcome.status, outcome, finishedAt }), changed: true };
    },
    async get(id) {
      const row = rows.get(id);
      return row === undefined ? undefined : shown(row);
    },
    async list({ status, caller, limit, beforeSeq }) {
      const found = all()
        .reverse()
        .filter((job) => (status ?? job.status) === job.status && (caller ?? job.caller) === job.caller)
        .filter((job) => beforeSeq === null || job.seq < beforeSeq);
      const page = found.slice(0, limit).map(shown);
      return { jobs: page, nextBeforeSeq: found.length > limit ? (page.at(-1)?.seq ?? null) : null };
    },
    async evict(finishedBefore, limit) {
      const old = all().filter((job) => job.finishedAt !== null && job.finishedAt < finishedBefore);
      const ids = old.slice(0, limit).map((job) => job.id);
      for (const id of ids) rows.delete(id);
      return ids;
    },
  };
  return {
    jobs,
    keeping: {
      async remove(id) {
        const row = rows.get(id);
        return row === undefined ? undefined : isFinal(row.status) && rows.delete(id);
      },
      async acknowledge(id) {
        const row = rows.get(id);
        return row === undefined || row.followUp === undefined ? row : put({ ...row, followUp: 'done' });
      },
    },
    outbox: {
      take: async () => [],
      delivered: async () => {},
      failed: async () => {},
      nextAt: async () => null,
      dead: async () => [],
      resend: async () => false,
      forget: async () => {},
    },
    membership: {
      async recover(now) {
        const lost = all().filter((job) => job.status === 'running');
        const gone = queued().filter((job) => job.spec.kind === 'chat');
        const end = (job: JobRecord, outcome: JobOutcome): void => {
          put({ ...job, status: outcome.status, outcome, finishedAt: now });
        };
        for (const job of lost) end(job, outcomeWithoutAgent('lost', 'lost', 'The service stopped'));
        for (const job of gone) end(job, outcomeWithoutAgent('cancelled', 'client_gone', 'The service was restarted'));
        return [...lost, ...gone].map((job) => job.id);
      },
      counts: () => ({ queued: queued().length, running: unfinished().length - queued().length }),
    },
    ready: async () => {},
    close: async () => {},
  };
}

export interface FakeWorkspaces extends WorkspaceManager {
  /** The jobs whose workspaces were made, in order. */
  readonly made: readonly JobId[];
  /** The jobs whose workspaces were disposed of, in order; a job is named as often as that happened. */
  /** In whichever way. */
  readonly disposed: readonly JobId[];
  readonly givenBack: readonly JobId[];
}
/** Nothing changed. */
const unchanged: ChangeSummary = {
  baseCommit: null,
  headCommit: null,
  filesChanged: 0,
  insertions: 0,
  deletions: 0,
  commitsMade: 0,
  patchBytes: 0,
  truncated: false,
  problem: null,
};

/** Workspaces that are nothing but a name. `create` may be replaced, to fail or to wait. */
export function createFakeWorkspaces(
  create: (signal: AbortSignal, id: JobId) => Promise<void> = async () => {},
): FakeWorkspaces {
  const made: JobId[] = [];
  const disposed: JobId[] = [];
  const givenBack: JobId[] = [];
  return {
    made,
    disposed,
    givenBack,
    async create(id, signal) {
      await create(signal, id);
      made.push(id);
      return {
        path: `/workspaces/${id}`,
        baseCommit: null,
        changes: async () => unchanged,
        async giveBack() {
          givenBack.push(id);
          disposed.push(id);
        },
        async [Symbol.asyncDispose]() {
          disposed.push(id);
        },
      };
    },
    changesOf: async () => ({ ...unchanged, files: [], commits: [] }),
    patchOf: async () => null,
    sweep: async () => {},
    check: async () => null,
    close: async () => {},
  };
}

/** What a script sees of its run. */
export interface ScriptedRun extends AgentRun {
  readonly signal: AbortSignal;
  /** Lets followers see an event. */
  emit(event: AgentEvent): void;
  /** Emits a piece of the answer. */
  say(text: string): void;
  /** Resolves when a follower has taken all that was emitted so far. */
  heard(): Promise<void>;
}

export interface ScriptedRunner extends AgentRunner {
  /** Every run that began, in order. */
  readonly runs: readonly AgentRun[];
  /** How many events followers took. */
  taken(): number;
}

/** An agent that does what `script` says. A run that is ended from outside is over at once, whatever the script does. */
export function createScriptedRunner(script: (run: ScriptedRun) => Promise<JobOutcome>): ScriptedRunner {
  const runs: AgentRun[] = [];
  const logs = new Map<JobId, EventLog>();
  let taken = 0;
  return {
    runs,
    taken: () => taken,
    async run(run, signal) {
      runs.push(run);
      const log = createEventLog();
      logs.set(run.id, log);
      const { promise: ended, resolve } = Promise.withResolvers<JobOutcome>();
      const onAbort = (): void => {
        const reason: EndReason = signal.reason;
        resolve(endedOutcome(reason));
      };
      signal.addEventListener('abort', onAbort);
      if (signal.aborted) onAbort();
      try {
        const say = (text: string): void => log.add({ type: 'text', text });
        return await Promise.race([script({ ...run, signal, emit: log.add, say, heard: log.heard }), ended]);
      } finally {
        signal.removeEventListener('abort', onAbort);
        log.end();
        logs.delete(run.id);
      }
    },
    follow(id, signal) {
      const log = logs.get(id);
      return (async function* () {
        for await (const event of log?.read(signal) ?? []) {
          taken += 1;
          yield event;
        }
      })();
    },
    forget: async () => {},
    sweep: async () => {},
    hurry() {},
    check: async () => null,
  };
}

/** The outcome of a run that went well. */
export function completed(report: Partial<JobOutcome['report']> = {}): JobOutcome {
  return { status: 'completed', reason: 'ok', error: null, report: { ...emptyReport, exitCode: 0, ...report } };
}

/** Of runs that printed nothing. */
export const emptyRunLog: RunLog = {
  async *read() {
    yield* [];
    return 0;
  },
  open: async () => ({ size: 0, async *read() {}, async [Symbol.asyncDispose]() {} }),
};
