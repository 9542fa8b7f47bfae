import type { Log } from '../jobs/ports.ts';
import type { BaseRepo, BaseState } from './base-repo.ts';
import type { Member, Members } from './pool-members.ts';

export interface FillingOptions {
  readonly size: number;
  readonly base: BaseRepo;
  /** Brings what clones are copied from to this state of the base. Never rejects. */
  readonly renew: (state: BaseState) => Promise<void>;
  /** True while jobs make clones for themselves: the pool then leaves disk and processor to them. */
  readonly isBusy: () => boolean;
  /** False while the disk is too full for clones that nobody has asked for. */
  readonly hasRoom: () => Promise<boolean>;
  /** How long more clones than its size stay that nobody takes; a minute by default. */
  readonly surplusMs?: number;
  readonly log: Log;
}

export interface Lists {
  readonly ready: Member[];
  /** As jobs left them. */
  readonly used: Member[];
}

/** Long enough for the pauses of a busy service. They are no more clones than its jobs had at once. */
const defaultSurplusMs = 60_000;

/** Keeps the lists full and fresh, one clone at a time. */
export function createFilling(options: FillingOptions, members: Members, lists: Lists) {
  const { log, isBusy } = options;
  const closing = new AbortController();
  let begun = false;
  let filling: Promise<void> | null = null;
  const isOpen = (): boolean => begun && !closing.signal.aborted;
  const goesOn = (): boolean => isOpen() && !isBusy();
  const use = watchUse(options, members, lists);
  const work = createWork(options, members, lists, closing.signal);

  async function fillUp(): Promise<void> {
    try {
      // Once, for a look costs as much as a clone that was used little: what has moved since is found by who takes it.
      const state = await options.base.peek(closing.signal);
      await options.renew(state);
      while (goesOn() && (await work.refreshOne(state)));
      while (goesOn() && (await work.addOne(state)));
    } catch (error) {
      // Whoever takes the next one tries again.
      if (!closing.signal.aborted) log.warn({ err: error }, 'no clone could be made ready');
    }
    filling = null;
  }

  function fill(): void {
    if (goesOn()) filling ??= fillUp();
  }

  return {
    fill,
    isOpen,
    noteBegin: use.noteBegin,
    noteEnd: use.noteEnd,
    spare: use.spare,
    begin(): void {
      begun = true;
      fill();
    },
    async pause(): Promise<void> {
      begun = false;
      await filling;
    },
    async close(): Promise<void> {
      closing.abort(new Error('the pool is closed'));
      use.close();
      await filling;
    },
  };
}

/** Counts the workspaces of jobs. When none began or ended for a while, what is beyond the pool's size goes. */
function watchUse({ size, surplusMs = defaultSurplusMs }: FillingOptions, members: Members, { ready }: Lists) {
  let living = 0;
  let most = 0;
  const surplus = setTimeout(() => {
    most = living;
    for (const member of ready.splice(size)) void members.drop(member);
  }, surplusMs).unref();
  return {
    noteBegin(): void {
      living += 1;
      most = Math.max(most, living);
      surplus.refresh();
    },
    noteEnd(): void {
      living -= 1;
      surplus.refresh();
    },
    /** How many fewer there are now than there were at once. */
    spare: (): number => most - living,
    close: (): void => clearTimeout(surplus),
  };
}

function createWork(
  { size, base, hasRoom }: FillingOptions,
  members: Members,
  { ready, used }: Lists,
  signal: AbortSignal,
) {
  return {
    /** False if none is stale. A member is out of the list while it is brought up to date: nobody takes what is being changed. */
    async refreshOne(state: BaseState): Promise<boolean> {
      const at = ready.findIndex((member) => members.isStale(member, state.head));
      const [stale] = at === -1 ? [] : ready.splice(at, 1);
      if (stale === undefined) return false;
      const fresh = await members.bring(stale, state, 'later', signal);
      if (fresh !== null) ready.push(fresh);
      return true;
    },
    /** Makes a used clone good, or a new one; false if there is nothing to do. */
    async addOne(state: BaseState): Promise<boolean> {
      if (used.length === 0 && ready.length >= size) return false;
      const hasSpace = await hasRoom();
      const next = used.shift();
      if (next === undefined) {
        if (hasSpace && ready.length < size) ready.push(await members.make(await base.peek(signal), signal));
        return hasSpace;
      }
      const renewed = hasSpace ? await members.renew(next, state, 'later', signal) : await members.drop(next);
      if (renewed) ready.push(renewed);
      return true;
    },
  };
}
