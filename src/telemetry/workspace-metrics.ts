import { Gauge, Histogram, type Registry } from 'prom-client';
import type { FinishedJob } from '../jobs/job.ts';

/** What workspaces cost: time, and disk. Durations in ms. */
export interface WorkspaceMetrics {
  /** How long a change of the base repository waited for another one. */
  lockWaited(ms: number): void;
  /** How long it took to make a workspace, and in which way it was made. */
  prepared(by: string, ms: number): void;
  /** How long it took from being put in the trash, or tried once more, until a directory was gone. */
  removed(ms: number): void;
}

/** What is read each time that the figures are asked for. */
export interface WorkspaceReadings {
  readonly poolReady: () => number;
  readonly removalsPending: () => number;
  readonly removalsQuarantined: () => number;
  /** Of all running jobs, as far as somebody has looked. */
  readonly jobBytes: () => number;
  /** Where workspaces are; NaN where it cannot be told. */
  readonly freeBytes: () => Promise<number>;
}

/** A fetch ends after two minutes at the latest, and holds the lock as long. */
const lockSeconds = [0.001, 0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 120];
/** A ready clone takes a millisecond, a clone of a large repository half a minute. */
const prepareSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const cleanupSeconds = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800];
/** 1 MiB to 256 GiB, each four times the one before. */
const diskBytes = Array.from({ length: 10 }, (_, n) => 1024 ** 2 * 4 ** n);

export function createWorkspaceMetrics(
  registry: Registry,
  readings: WorkspaceReadings | undefined,
): WorkspaceMetrics & { readonly finished: (job: FinishedJob) => void } {
  const registers = [registry];
  const lock = new Histogram({
    name: 'agent_git_lock_wait_seconds',
    help: 'What a change of the base repository waits for another one',
    buckets: lockSeconds,
    registers,
  });
  const prepare = new Histogram({
    name: 'agent_workspace_prepare_seconds',
    help: 'To make a workspace: a ready clone (pool), one brought up to date (update), a used one made good (renewal), a clone (clone)',
    labelNames: ['kind'],
    buckets: prepareSeconds,
    registers,
  });
  const cleanup = new Histogram({
    name: 'agent_workspace_cleanup_seconds',
    help: 'From being put in the trash, or tried once more, until it is gone',
    buckets: cleanupSeconds,
    registers,
  });
  const disk = new Histogram({
    name: 'agent_job_disk_bytes',
    help: 'The most that a job was seen to take on disk',
    buckets: diskBytes,
    registers,
  });
  if (readings !== undefined) addGauges(registry, readings);
  return {
    lockWaited: (ms) => lock.observe(ms / 1000),
    prepared: (by, ms) => prepare.observe({ kind: by }, ms / 1000),
    removed: (ms) => cleanup.observe(ms / 1000),
    finished({ outcome }) {
      const bytes = outcome.report.diskBytes ?? null;
      if (bytes !== null) disk.observe(bytes);
    },
  };
}

function addGauges(registry: Registry, readings: WorkspaceReadings): void {
  const gauge = (name: string, help: string, read: () => number | Promise<number>): void => {
    const collect = async (): Promise<void> => metric.set(await read());
    const metric: Gauge = new Gauge({ name, help, registers: [registry], collect });
  };
  gauge('agent_workspace_pool_ready', 'Clones that wait for a job', readings.poolReady);
  gauge('agent_workspace_disk_free_bytes', 'Free space where workspaces are', readings.freeBytes);
  gauge('agent_jobs_disk_bytes', 'What the running jobs take on disk, when last looked at', readings.jobBytes);
  gauge('agent_removals_pending', 'Directories that wait to be removed', readings.removalsPending);
  gauge('agent_removals_quarantined', 'Directories that could not be removed yet', readings.removalsQuarantined);
}
