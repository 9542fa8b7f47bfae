import type { JobId, JobSpec } from '../jobs/job.ts';
import { createJobId } from '../jobs/job-id.ts';
import type { Clock, Log, Workspace, WorkspaceManager } from '../jobs/ports.ts';
import type { EarlyAgent, EarlyRunner } from './early-agents.ts';

/** A workspace and the agent that waits in it, both under the id that a job will get. */
export interface Place {
  readonly id: JobId;
  readonly workspace: Workspace;
  readonly agent: EarlyAgent;
  readonly madeAt: number;
}

export interface PlacesDeps {
  /** They can be used by jobs that settle the same at their start. */
  readonly spec: JobSpec;
  readonly workspaces: WorkspaceManager;
  /** The commit that a workspace made now would start from: after a look at the remote, and without one. */
  readonly heads: Readonly<Record<'latest' | 'known', (signal: AbortSignal) => Promise<string | null>>>;
  readonly runner: EarlyRunner;
  readonly log: Log;
  readonly clock: Clock;
}

/** Makes places, and unmakes them. */
export function createPlaces({ spec, runner, workspaces, heads, clock, log }: PlacesDeps) {
  const dropping = new Map<JobId, Promise<void>>();

  async function unmake({ id, agent, workspace }: Place): Promise<void> {
    // First the agent: it stands in the workspace.
    await agent.discard();
    await workspace[Symbol.asyncDispose]();
    dropping.delete(id);
  }

  async function drop(place: Place): Promise<void> {
    const dropped = dropping.get(place.id) ?? unmake(place);
    dropping.set(place.id, dropped);
    await dropped;
  }

  return {
    drop,
    /** Resolves when what is being dropped under this id is gone: then there is room for another. */
    dropped: (id: JobId): Promise<void> => dropping.get(id) ?? Promise.resolve(),
    /** Rejects with what kept it from that. Null where agents cannot be started ahead of jobs. */
    async make(signal: AbortSignal): Promise<Place | null> {
      const id = createJobId();
      const workspace = await workspaces.create(id, signal);
      try {
        signal.throwIfAborted();
        const agent = await runner.startEarly({ id, spec, workspacePath: workspace.path });
        if (agent !== null) return { id, workspace, agent, madeAt: clock.now() };
      } catch (error) {
        await workspace[Symbol.asyncDispose]();
        throw error;
      }
      await workspace[Symbol.asyncDispose]();
      return null;
    },
    /** The workspace, if it is what the job would get now; null, and all of it is gone, if not. */
    async use(place: Place, ref: string | null, signal: AbortSignal): Promise<Workspace | null> {
      const { agent, workspace } = place;
      try {
        const [isCurrent, head] = await Promise.all([agent.isCurrent().catch(() => false), heads.latest(signal)]);
        // Another CLI is started in the same workspace.
        if (!isCurrent) await agent.discard();
        if (ref === null && head === workspace.baseCommit) return workspace;
        log.debug({ job_id: place.id }, 'the base has moved since an agent was started');
      } catch (error) {
        await drop(place);
        throw error;
      }
      await drop(place);
      return null;
    },
  };
}

export type Places = ReturnType<typeof createPlaces>;
