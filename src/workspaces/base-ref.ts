import { WorkspaceError } from '../jobs/errors.ts';
import type { Clock, Log } from '../jobs/ports.ts';
import { type Git, GitError } from './git.ts';
import type { Mutex } from './mutex.ts';
import type { OpenBase } from './open-base.ts';
import { until } from './until.ts';

/** A commit that a job asked for by name. */
export interface Target {
  readonly commit: string;
  /** The branch that the clone stands on; null: on the commit alone. */
  readonly branch: string | null;
}

export interface BaseRefs {
  /** Finds what a ref names, in the remote as it is now. Rejects with `WorkspaceError` that names it if nobody knows it. */
  resolve(base: OpenBase, ref: string, signal: AbortSignal): Promise<Target>;
}

interface BaseRefsDeps {
  readonly git: Git;
  readonly fetchDebounceMs: number;
  readonly changes: Mutex;
  readonly closing: AbortSignal;
  readonly log: Log;
  readonly clock: Clock;
  /** Told before and after each fetch. */
  readonly onFetch: () => void;
}

/** What the remote says of a name; `unknown` where it cannot be asked. */
type Kind = 'branch' | 'tag' | 'absent' | 'unknown';

interface Asked {
  readonly at: number;
  readonly kind: Promise<Kind>;
}

const fetchTimeoutMs = 120_000;
const readTimeoutMs = 60_000;
/** Names that were asked for lately. */
const maxRemembered = 1_000;
const commitPattern = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;
const abbreviationPattern = /^[0-9a-f]{7,64}$/;

/** Every ref that comes here has matched a strict pattern: nothing in it is an option, a path upwards or a refspec. */
export function createBaseRefs(deps: BaseRefsDeps): BaseRefs {
  const asked = new Map<string, Asked>();

  function ask(base: OpenBase, ref: string): Promise<Kind> {
    const last = asked.get(ref);
    if (last !== undefined && deps.clock.now() - last.at < deps.fetchDebounceMs) return last.kind;
    const kind = deps.changes.run(() => fetchRef(base, ref, deps));
    asked.delete(ref);
    asked.set(ref, { at: deps.clock.now(), kind });
    const oldest = asked.keys().next();
    if (asked.size > maxRemembered && oldest.done !== true) asked.delete(oldest.value);
    return kind;
  }

  return {
    async resolve(base, ref, signal) {
      const inBase = (name: string) => commitOf(base, name, deps.git, signal);
      if (abbreviationPattern.test(ref)) {
        const commit = await inBase(ref);
        if (commit?.startsWith(ref)) return { commit, branch: null };
      }
      const kind = base.originUrl === null ? 'unknown' : await until(() => ask(base, ref), signal);
      const heads = base.originUrl === null ? 'refs/heads' : 'refs/remotes/origin';
      const branch = kind === 'branch' || kind === 'unknown' ? await inBase(`${heads}/${ref}`) : null;
      if (branch !== null) return { commit: branch, branch: ref };
      const tag = kind === 'tag' || kind === 'unknown' ? await inBase(`refs/tags/${ref}`) : null;
      const commit = tag ?? (commitPattern.test(ref) ? await inBase(ref) : null);
      if (commit !== null) return { commit, branch: null };
      throw new WorkspaceError(`The base repository has no branch, tag or commit "${ref}"`);
    },
  };
}

/** Never rejects: whoever waits then looks at what the base has. */
async function fetchRef(base: OpenBase, ref: string, { git, closing, log, onFetch }: BaseRefsDeps): Promise<Kind> {
  const fetch = async (refspec: string) => {
    const args = ['fetch', '--no-tags', '--no-write-fetch-head', 'origin', refspec];
    await git({ cwd: base.path, args, transport: base.transport, timeoutMs: fetchTimeoutMs, signal: closing });
  };
  const tries: readonly (readonly [kind: Kind, refspec: string])[] = commitPattern.test(ref)
    ? [['unknown', ref]]
    : [
        ['branch', `+refs/heads/${ref}:refs/remotes/origin/${ref}`],
        ['tag', `+refs/tags/${ref}:refs/tags/${ref}`],
      ];
  onFetch();
  try {
    for (const [kind, refspec] of tries) {
      try {
        await fetch(refspec);
        return kind;
      } catch (error) {
        if (error instanceof GitError && error.failure === 'no_branch') continue;
        if (!closing.aborted) log.warn({ ref, err: error }, 'ref could not be fetched, what the base has is used');
        return 'unknown';
      }
    }
    return 'absent';
  } finally {
    onFetch();
  }
}

async function commitOf({ path }: OpenBase, name: string, git: Git, signal: AbortSignal): Promise<string | null> {
  try {
    const args = ['rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`];
    const commit = (await git({ cwd: path, args, timeoutMs: readTimeoutMs, signal })).split('\n').at(-1) ?? '';
    return commitPattern.test(commit) ? commit : null;
  } catch {
    signal.throwIfAborted();
    return null; // No such name, or not one of a commit.
  }
}
