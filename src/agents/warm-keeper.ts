import { availableParallelism } from 'node:os';
import type { Clock } from '../jobs/ports.ts';
import type { Place, Places, PlacesDeps } from './warm-places.ts';

export const defaultLimits = {
  /** What a CLI reads at its start, such as the day, gets old. */
  maxAgeMs: 600_000,
  /** Between admission and start of a job lie milliseconds; a job that was kept from starting does not keep an agent. */
  holdMs: 5_000,
  /** A CLI waits with 160 MB: one that grew so much is ill. */
  maxRssBytes: 512 * 1024 ** 2,
  /** Left to jobs: below it no agent waits. */
  minFreeBytes: 512 * 1024 ** 2,
  /** How often it is seen whether one is missing, and whether those that are there are fit: that costs some reads of files. */
  fillMs: 250,
  checkMs: 2_000,
  /** The start of an agent takes the better part of a core for that long. */
  startMs: 1_000,
  backoffMs: 1_000,
  maxBackoffMs: 60_000,
};
/** What one more takes. */
const agentBytes = 256 * 1024 ** 2;
/** Starts at once beyond which a further one would delay those of jobs. */
const maxStarts = Math.max(1, Math.floor(availableParallelism() / 2));

export type Limits = typeof defaultLimits;

export interface KeeperOptions extends PlacesDeps {
  /** How many are kept. */
  readonly size: number;
  /** In bytes. */
  readonly availableMemory: () => number;
  readonly limits: Limits;
}

/** Keeps the list full and fresh: one start at a time, and none while jobs start. */
export function createKeeper(
  options: KeeperOptions,
  ready: Place[],
  places: Places,
  starts: ReturnType<typeof createStarts>,
) {
  const { size, log, limits } = options;
  const closing = new AbortController();
  const { signal } = closing;
  const pause = createPause(options);
  const check = createCheck(options, ready, places);
  let timer: NodeJS.Timeout | undefined;
  let tending: Promise<void> | null = null;

  function mayStart(): boolean {
    if (ready.length >= size || starts.areMany() || pause.isOn()) return false;
    return options.availableMemory() >= limits.minFreeBytes + agentBytes;
  }

  async function start(): Promise<void> {
    const begun = starts.begin();
    const place = await places.make(signal).finally(begun.end);
    if (place === null) {
      log.warn({}, 'agents can wait only under a supervisor: none is started ahead of jobs');
      return closing.abort(new Error('agents cannot wait'));
    }
    ready.push(place);
    void place.agent.ended.then(async () => {
      // Otherwise it was taken, or is being replaced.
      if (!takeOut(ready, place)) return;
      pause.begin(new Error('an agent that waited has ended'));
      await places.drop(place);
    });
  }

  async function tend(): Promise<void> {
    try {
      await check(signal);
      if (mayStart()) await start();
    } catch (error) {
      if (!signal.aborted) pause.begin(error);
    }
    tending = null;
  }

  return {
    begin(): void {
      timer ??= setInterval(() => {
        if (!signal.aborted) tending ??= tend();
      }, limits.fillMs).unref();
    },
    /** An agent that waited has got a job. */
    wasOfUse: pause.forget,
    async close(): Promise<void> {
      closing.abort(new Error('the service is shutting down'));
      clearInterval(timer);
      await tending;
    },
  };
}

/** After each failure in a row no start for longer. */
function createPause({ limits, clock, log }: KeeperOptions) {
  let failures = 0;
  let until = 0;
  return {
    begin(error: unknown): void {
      const pauseMs = Math.min(limits.maxBackoffMs, limits.backoffMs * 2 ** failures);
      failures += 1;
      until = clock.now() + pauseMs;
      log.warn({ err: error, pause_ms: pauseMs }, 'no agent waits ahead of jobs; trying again');
    },
    isOn: (): boolean => clock.now() < until,
    forget(): void {
      failures = 0;
    },
  };
}

/** Sees to it that none waits which a job should not get. */
function createCheck({ heads, clock, limits, availableMemory, log }: KeeperOptions, ready: Place[], places: Places) {
  let checkedAt = 0;

  /** Why it is to be replaced; null if it need not be. */
  async function faultOf({ agent, workspace, madeAt }: Place, head: string | null): Promise<string | null> {
    if (availableMemory() < limits.minFreeBytes) return 'memory is short';
    if (clock.now() - madeAt > limits.maxAgeMs) return 'old';
    if (workspace.baseCommit !== head) return 'base moved';
    if (!(await agent.isCurrent())) return 'ended, or another CLI';
    return (await agent.rssBytes()) > limits.maxRssBytes ? 'too large' : null;
  }

  return async (signal: AbortSignal): Promise<void> => {
    if (clock.now() - checkedAt < limits.checkMs || ready.length === 0) return;
    checkedAt = clock.now();
    const head = await heads.known(signal);
    for (const place of [...ready]) {
      const fault = await faultOf(place, head);
      // A job may have taken it while we looked.
      if (fault === null || !takeOut(ready, place)) continue;
      log.debug({ reason: fault }, 'an agent that waited is replaced');
      await places.drop(place);
    }
  };
}

/** False if it was not there. */
function takeOut(ready: Place[], place: Place): boolean {
  const at = ready.indexOf(place);
  if (at !== -1) ready.splice(at, 1);
  return at !== -1;
}

/** Counts what is being started: agents take the processor while they start, and those of jobs go first. */
export function createStarts(startMs: number, clock: Clock) {
  let underWay = 0;
  let recent: number[] = [];
  return {
    begin() {
      underWay += 1;
      return {
        end(): void {
          underWay -= 1;
          recent.push(clock.now());
        },
      };
    },
    areMany(): boolean {
      recent = recent.filter((at) => clock.now() - at < startMs);
      return underWay + recent.length >= maxStarts;
    },
  };
}
