import { adoptRuns } from './adoption.ts';
import type { Dispatcher } from './dispatcher.ts';
import { isFinished, type JobId } from './job.ts';
import { defaultFollowUpTtlMs } from './job-access.ts';
import type { JobService, JobServiceControl, JobServiceParts } from './job-service.ts';
import type { JobSignals } from './job-signals.ts';
import type { JobPage } from './ports.ts';
import { startRetention } from './retention.ts';
import type { RunningJobs } from './running-jobs.ts';

interface LifecycleDeps extends JobServiceParts {
  readonly signals: JobSignals;
  readonly running: RunningJobs;
  readonly dispatcher: Dispatcher;
  readonly cancel: JobService['cancel'];
}

type Lifecycle = Pick<JobServiceControl, 'recover' | 'begin' | 'drain' | 'hurry'> & { isDraining(): boolean };

/** Jobs read together: a full queue of them may have been left. */
const toldAtOnce = 100;

/** How the service comes to work and how it stops. */
export function createLifecycle(deps: LifecycleDeps): Lifecycle {
  const { store, queue, clock, log, runner, signals, running, dispatcher } = deps;
  let draining: Promise<void> | undefined;
  let stopRetention: (() => Promise<void>) | undefined;

  async function drain(drainMs: number): Promise<void> {
    // First of all: a store that hangs must not keep agents running past their time.
    // Runs that outlive this process are left as they are; the next one adopts them.
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(() => (deps.adoptsRuns ? late.resolve() : running.endAll('shutdown')), drainMs);
    await dispatcher.stop();
    await cancelQueuedChats(deps);
    signals.settle();
    await Promise.race([queue.idle(), late.promise]);
    clearTimeout(timer);
    await stopRetention?.();
  }

  return {
    isDraining: () => draining !== undefined,
    async recover() {
      // They need nothing that is still to be prepared: not the base, not a place that is swept.
      if (deps.adoptsRuns) for (const claim of await adoptRuns(deps)) queue.add(() => running.run(claim));
      const changed = await store.membership.recover(clock.now());
      if (changed.length > 0)
        log.warn({ jobs: changed.length }, 'jobs of an earlier process were ended or queued again');
      await tellOfEnds(deps, changed);
    },
    async begin() {
      // First the agents that outlived their service: they may still be writing in their workspaces.
      const isKnown = async (id: JobId): Promise<boolean> => (await store.jobs.get(id)) !== undefined;
      await runner.sweep(isKnown);
      await deps.workspaces.sweep(isKnown);
      if (draining !== undefined) return;
      stopRetention = startRetention({
        ...{ store: store.jobs, runner, clock: deps.setClocks?.ages ?? clock, log, ttlMs: deps.ttlMs },
        followUpTtlMs: deps.followUpTtlMs ?? defaultFollowUpTtlMs,
      });
      dispatcher.begin();
    },
    drain(drainMs) {
      draining ??= drain(drainMs);
      return draining;
    },
    hurry() {
      runner.hurry();
      running.endAll('shutdown');
    },
  };
}

/** Their own process could not count them any more. */
async function tellOfEnds({ store, onFinished }: LifecycleDeps, changed: readonly JobId[]): Promise<void> {
  for (let from = 0; from < changed.length; from += toldAtOnce) {
    const jobs = await Promise.all(changed.slice(from, from + toldAtOnce).map((id) => store.jobs.get(id)));
    for (const job of jobs) if (job !== undefined && isFinished(job)) onFinished(job);
  }
}

/** Their callers wait on a connection that is about to close: they are told now, not by a later start. */
async function cancelQueuedChats({ store, cancel, log }: LifecycleDeps): Promise<void> {
  try {
    let beforeSeq: number | null = null;
    do {
      const page: JobPage = await store.jobs.list({ status: 'queued', caller: null, limit: 200, beforeSeq });
      for (const job of page.jobs) if (job.spec.kind === 'chat') await cancel(job.id, 'shutdown');
      beforeSeq = page.nextBeforeSeq;
    } while (beforeSeq !== null);
  } catch (error) {
    log.warn({ err: error }, 'queued chat jobs could not be cancelled; the next start does it');
  }
}
