import { onTestFinished } from 'vitest';
import type { FinishedJob, JobId, JobOutcome, JobRecord, JobSpec } from '../../src/jobs/job.ts';
import { createJobService, type JobServiceControl } from '../../src/jobs/job-service.ts';
import type {
  AgentRunner,
  Clock,
  JobEvent,
  JobStore,
  Log,
  ReadyIds,
  Store,
  WorkspaceManager,
} from '../../src/jobs/ports.ts';
import { createMemoryQueue } from '../../src/queue/memory-queue.ts';
import { newJob } from '../contracts/job-builders.ts';
import {
  completed,
  createFakeStore,
  createFakeWorkspaces,
  createScriptedRunner,
  emptyRunLog,
  type ScriptedRun,
  type ScriptedRunner,
  silentLog,
  systemClock,
} from '../helpers/fake-ports.ts';
import { waitFor } from '../helpers/wait.ts';

export const hourMs = 3_600_000;

export interface ServiceOptions {
  readonly store?: Store;
  readonly workspaces?: WorkspaceManager;
  readonly runner?: AgentRunner;
  readonly readyIds?: ReadyIds;
  readonly clock?: Clock;
  readonly log?: Log;
  readonly capacity?: number;
  readonly maxUnfinished?: number;
  readonly ttlMs?: number;
  readonly onFinished?: (job: FinishedJob) => void;
}

/** A job service on stand-ins, drained with the test. It has not begun. */
export function createTestService(options: ServiceOptions = {}): JobServiceControl {
  const capacity = options.capacity ?? 10;
  const service = createJobService({
    store: options.store ?? createFakeStore(),
    queue: createMemoryQueue(capacity),
    workspaces: options.workspaces ?? createFakeWorkspaces(),
    runLog: emptyRunLog,
    runner: options.runner ?? createScriptedRunner(async () => completed()),
    clock: options.clock ?? systemClock,
    log: options.log ?? silentLog,
    ...(options.readyIds !== undefined && { readyIds: options.readyIds }),
    onFinished: options.onFinished ?? (() => undefined),
    capacity,
    maxUnfinished: options.maxUnfinished ?? 10_000,
    ttlMs: options.ttlMs ?? hourMs,
  });
  onTestFinished(() => service.drain(0));
  return service;
}

/** As `createTestService`, at work. */
export async function beginService(options: ServiceOptions = {}): Promise<JobServiceControl> {
  const service = createTestService(options);
  await service.begin();
  return service;
}

/** The store with some of its members replaced. */
export function withJobs(store: Store, replace: (jobs: JobStore) => Partial<JobStore>): Store {
  return { ...store, jobs: { ...store.jobs, ...replace(store.jobs) } };
}

export function spec(overrides: Partial<JobSpec> = {}): JobSpec {
  return newJob({ spec: overrides }).spec;
}

export interface HeldRuns {
  readonly runner: ScriptedRunner;
  /** Waits until the job's agent runs. */
  started(id: JobId): Promise<ScriptedRun>;
  /** Ends the run of a job whose agent runs. */
  end(id: JobId, outcome?: JobOutcome): void;
  /** Jobs whose agents run now, in the order of their starts. */
  active(): readonly JobId[];
}

/** Agents that run until the test ends them. */
export function createHeldRuns(): HeldRuns {
  const held = new Map<JobId, { readonly run: ScriptedRun; readonly ended: PromiseWithResolvers<JobOutcome> }>();
  const runner = createScriptedRunner(async (run) => {
    const ended = Promise.withResolvers<JobOutcome>();
    held.set(run.id, { run, ended });
    run.signal.addEventListener('abort', () => held.delete(run.id));
    if (run.signal.aborted) held.delete(run.id);
    return await ended.promise;
  });
  return {
    runner,
    async started(id) {
      await waitFor(() => held.has(id), Boolean, { what: 'the start of an agent' });
      return runOf(id).run;
    },
    end(id, outcome = completed()) {
      runOf(id).ended.resolve(outcome);
      held.delete(id);
    },
    active: () => [...held.keys()],
  };

  function runOf(id: JobId) {
    const found = held.get(id);
    if (found === undefined) throw new Error('the agent of this job does not run');
    return found;
  }
}

/** A door that stays shut until the test opens it. */
export interface Gate {
  pass(): Promise<void>;
  open(): void;
  /** Waits until somebody stands before it. */
  reached(): Promise<void>;
}

export function createGate(): Gate {
  const opened = Promise.withResolvers<void>();
  const arrived = Promise.withResolvers<void>();
  return {
    pass() {
      arrived.resolve();
      return opened.promise;
    },
    open: () => opened.resolve(),
    reached: () => arrived.promise,
  };
}

export interface Collected {
  readonly events: JobEvent[];
  /** Resolves with undefined at the end, with the error if there was one. */
  readonly done: Promise<unknown>;
}

/** Follows a job to the end of its events. */
export function collect(service: JobServiceControl, id: string, signal: AbortSignal = never): Collected {
  const events: JobEvent[] = [];
  const read = async (): Promise<void> => {
    for await (const event of service.follow(id, signal)) events.push(event);
  };
  return {
    events,
    done: read().then(
      () => undefined,
      (error: unknown) => error,
    ),
  };
}

const never: AbortSignal = new AbortController().signal;

/** What a follower saw, in short: `queued`, `running`, `"text"`, `end completed`. */
export function story(events: readonly JobEvent[]): readonly string[] {
  return events.map((event) => {
    if (event.type === 'agent')
      return event.event.type === 'text' ? JSON.stringify(event.event.text) : event.event.type;
    return event.type === 'end' ? `end ${event.job.status}` : event.job.status;
  });
}

export async function finalOf(service: JobServiceControl, { id }: Pick<JobRecord, 'id'>): Promise<JobRecord> {
  return await service.wait(id, 15_000, null);
}

/** Lets everything go on that waits for nothing but its turn. */
export async function settled(): Promise<void> {
  for (let turns = 0; turns < 5; turns += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** A store whose claims, once they are written, arrive only when the gate is opened. */
export function createLateClaims(): { readonly gate: Gate; readonly store: Store } {
  const gate = createGate();
  const store = withJobs(createFakeStore(), (jobs) => ({
    async claim(...args) {
      const claims = await jobs.claim(...args);
      await gate.pass();
      return claims;
    },
  }));
  return { gate, store };
}
