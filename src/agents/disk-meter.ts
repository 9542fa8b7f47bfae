import { availableParallelism } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { JobId } from '../jobs/job.ts';
import type { Log } from '../jobs/ports.ts';
import { diskUsage } from '../process/disk-usage.ts';
import { overDisk } from './agent-outcome.ts';

/** Looks from time to time at what running jobs take on disk. */
export interface DiskMeter {
  /** Looks at a job's directories, absolute paths, until it is stopped. */
  watch(id: JobId, paths: readonly string[]): DiskWatch;
  /** What all that are watched took when each was last looked at. */
  totalBytes(): number;
}

export interface DiskWatch {
  /** Aborted, with `overDisk`, once two looks in a row found more than is allowed. */
  readonly signal: AbortSignal;
  /** The most that a look found; null before the first. */
  peakBytes(): number | null;
  stop(): void;
}

export interface DiskMeterOptions {
  /** What one job may take; 0: as much as there is. */
  readonly limitBytes: number;
  readonly log: Log;
  /** Before the first look, and at least between two. */
  readonly minWaitMs?: number;
}

/** What is known of one job. */
interface Watch {
  readonly id: JobId;
  readonly paths: readonly string[];
  readonly over: AbortController;
  readonly stopping: AbortController;
  bytes: number;
  peak: number | null;
}

/** A job that ends within it is not worth a process that looks at it. */
const defaultMinWaitMs = 1_000;
/** Before a job could have filled what is left to it there is no need to look: few disks take more than this. */
const bytesPerMs = 1024 ** 2;
/** But seldom enough to be free, and often enough to know the peak of a run. */
const maxWaitMs = 30_000;
/** A look reads each inode: one as long as this between two keeps a tree of any size to a tenth of one processor. */
const restPerLook = 9;
/** Ten million files that nothing has read before take longer: then the job is judged by the next look, or by none. */
const lookTimeoutMs = 60_000;
/** Looks at many trees at once only take the disk from the agents; who finds no place comes back. */
const maxLooks = Math.max(2, availableParallelism());

export function createDiskMeter({ limitBytes, log, minWaitMs = defaultMinWaitMs }: DiskMeterOptions): DiskMeter {
  const { isOver, nextWaitMs } = createRule(limitBytes, minWaitMs);
  const watched = new Set<Watch>();
  let looking = 0;

  async function look({ paths, stopping }: Watch): Promise<number | null> {
    looking += 1;
    try {
      return await diskUsage(paths, { timeoutMs: lookTimeoutMs, signal: stopping.signal });
    } finally {
      looking -= 1;
    }
  }

  /** A directory that is moved during a look may be counted twice: nobody is ended by one look alone. */
  async function lookSurely(watch: Watch): Promise<number | null> {
    const bytes = await look(watch);
    return isOver(bytes) ? await look(watch) : bytes;
  }

  async function goOn(watch: Watch): Promise<void> {
    const { id, stopping, over } = watch;
    for (let waitMs = minWaitMs; !over.signal.aborted; ) {
      await delay(waitMs, undefined, { signal: stopping.signal, ref: false });
      waitMs = minWaitMs;
      if (looking >= maxLooks) continue;
      const start = performance.now();
      const bytes = await lookSurely(watch);
      stopping.signal.throwIfAborted();
      waitMs = nextWaitMs(bytes, performance.now() - start);
      if (bytes === null) {
        log.warn({ job_id: id, next_look_ms: Math.round(waitMs) }, 'what a job takes on disk could not be told');
        continue;
      }
      watch.bytes = bytes;
      watch.peak = Math.max(watch.peak ?? 0, bytes);
      if (!isOver(bytes)) continue;
      log.warn({ job_id: id, bytes, allowed: limitBytes }, 'a job takes more disk space than is allowed');
      over.abort(overDisk);
    }
  }

  return {
    watch(id, paths) {
      const abort = { over: new AbortController(), stopping: new AbortController() };
      const watch: Watch = { id, paths, ...abort, bytes: 0, peak: null };
      watched.add(watch);
      goOn(watch).catch((error: unknown) => {
        if (!watch.stopping.signal.aborted) log.error({ job_id: id, err: error }, 'a job is no longer looked at');
      });
      return {
        signal: watch.over.signal,
        peakBytes: () => watch.peak,
        stop() {
          watch.stopping.abort();
          watched.delete(watch);
        },
      };
    },
    totalBytes: () => watched.values().reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

function createRule(limitBytes: number, minWaitMs: number) {
  return {
    isOver: (bytes: number | null): boolean => limitBytes > 0 && bytes !== null && bytes > limitBytes,
    nextWaitMs(bytes: number | null, tookMs: number): number {
      const left = limitBytes === 0 || bytes === null ? Number.POSITIVE_INFINITY : limitBytes - bytes;
      return Math.max(minWaitMs, tookMs * restPerLook, Math.min(maxWaitMs, left / bytesPerMs));
    },
  };
}
