import type { JobId } from '../jobs/job.ts';
import type { ReadyIds, WorkspaceManager } from '../jobs/ports.ts';
import { createKeeper, createStarts, defaultLimits, type KeeperOptions, type Limits } from './warm-keeper.ts';
import { createPlaces, type Place } from './warm-places.ts';

/** Agents that were started, each in a workspace of its own, before a job needs them. */
export interface WarmAgents extends ReadyIds {
  /** The same workspaces, except that a job with a reserved id gets the one in which its agent waits. */
  readonly workspaces: WorkspaceManager;
  /** From now on agents are started. Call after the sweeps. */
  begin(): void;
  /** How many wait for a job. */
  ready(): number;
  /** Ends all that wait. Idempotent. */
  close(): Promise<void>;
}

export interface WarmAgentsOptions extends Omit<KeeperOptions, 'limits'> {
  readonly limits?: Partial<Limits>;
}

export function createWarmAgents(options: WarmAgentsOptions): WarmAgents {
  const { spec, runner, workspaces } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const ready: Place[] = [];
  const reserved = new Map<JobId, { readonly place: Place; readonly timer: NodeJS.Timeout }>();
  const places = createPlaces(options);
  const starts = createStarts(limits.startMs, options.clock);
  const keeper = createKeeper({ ...options, limits }, ready, places, starts);

  /** Takes a place out of the hands of everybody else. */
  function claim(id: JobId): Place | null {
    const held = reserved.get(id);
    if (held === undefined) return null;
    clearTimeout(held.timer);
    reserved.delete(id);
    return held.place;
  }

  async function lapse(id: JobId): Promise<void> {
    const place = claim(id);
    if (place !== null) await places.drop(place);
  }

  const create: WorkspaceManager['create'] = async (id, signal, wanted) => {
    const start = starts.begin();
    try {
      const place = claim(id);
      await places.dropped(id);
      const found = place === null ? null : await places.use(place, wanted?.ref ?? null, signal);
      if (found !== null) keeper.wasOfUse();
      return found ?? (await workspaces.create(id, signal, wanted));
    } finally {
      start.end();
    }
  };

  return {
    workspaces: { ...workspaces, create },
    reserve(wanted) {
      // The oldest first: it is the one that has surely come to its prompt.
      const place = ready.length > 0 && runner.canUse(wanted, spec) ? ready.shift() : undefined;
      if (place === undefined) return null;
      reserved.set(place.id, { place, timer: setTimeout(() => void lapse(place.id), limits.holdMs) });
      return place.id;
    },
    release(id) {
      const place = claim(id);
      if (place !== null) ready.unshift(place);
    },
    begin: keeper.begin,
    ready: () => ready.length,
    async close() {
      await keeper.close();
      await Promise.all([...[...reserved.keys()].map(lapse), ...ready.splice(0).map(places.drop)]);
    },
  };
}
