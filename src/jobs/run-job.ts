import type { ChangeSummary } from './change-set.ts';
import { WorkspaceError } from './errors.ts';
import { type JobOutcome, type JobSpec, outcomeWithoutAgent } from './job.ts';
import type { AgentRunner, Claim, EndReason, Log, Workspace, WorkspaceManager } from './ports.ts';

export interface RunJobDeps {
  readonly workspaces: WorkspaceManager;
  readonly runner: AgentRunner;
  readonly log: Log;
  /** Called when the agent is about to start: from then on `AgentRunner.follow` has something to follow. */
  readonly onAgentStart: () => void;
}

/**
 * Runs one claimed job: workspace, agent, what it changed, workspace gone. Never rejects: whatever happens is an outcome. When it resolves, no
 * process of the job is left and its workspace is out of sight; the rest of the removal goes on in the background.
 */
export async function runJob(claim: Claim, deps: RunJobDeps, signal: AbortSignal): Promise<JobOutcome> {
  const { id, spec } = claim.job;
  try {
    const adopted = claim.adopted === true;
    const workspace =
      (adopted ? deps.workspaces.adopt?.(id) : null) ??
      (await deps.workspaces.create(id, signal, { ref: spec.ref ?? null }));
    let isOver = false;
    try {
      const running = deps.runner.run(
        { id, spec, attempt: claim.attempt, workspacePath: workspace.path, adopted },
        signal,
      );
      deps.onAgentStart();
      const outcome = await running;
      const changes = await changesOf(workspace, spec, outcome);
      isOver = isSurelyOver(outcome);
      return { ...outcome, changes };
    } finally {
      await (isOver ? workspace.giveBack() : workspace[Symbol.asyncDispose]());
    }
  } catch (error) {
    if (signal.aborted) return endedOutcome(endReasonOf(signal));
    deps.log.error({ job_id: id, err: error }, 'job could not be run');
    if (error instanceof WorkspaceError) return outcomeWithoutAgent('error', 'workspace_error', error.message);
    return outcomeWithoutAgent('error', 'spawn_error', 'The agent could not be started');
  }
}

/**
 * True if every process of the job is known to be gone. Agents that are shut in are kept from the workspaces of others, so nothing
 * of theirs is passed on: two that work together could keep a directory open for each other.
 */
function isSurelyOver({ report: { containment } }: JobOutcome): boolean {
  return containment?.level === 'supervisor' && containment.survivors === 0;
}

/** Only what its agent calls complete is pushed: of the rest the patch is kept. */
async function changesOf(
  workspace: Workspace,
  { pushBranch: branch }: JobSpec,
  { status }: JobOutcome,
): Promise<ChangeSummary | null> {
  if (branch === undefined || status === 'completed') return await workspace.changes(branch);
  const changes = await workspace.changes();
  const problem = 'The branch was not pushed: the job did not complete';
  return changes && { ...changes, push: { branch, commit: null, problem } };
}

/** The outcome of a job that was ended while it was queued: whatever the reason, it never began. */
export function withdrawnOutcome(reason: EndReason): JobOutcome {
  if (reason !== 'shutdown') return endedOutcome(reason);
  return outcomeWithoutAgent('cancelled', reason, 'The service was stopped before the job began');
}

/** The outcome of a running job that was ended from outside before it had one of its own. */
export function endedOutcome(reason: EndReason): JobOutcome {
  switch (reason) {
    case 'cancelled':
      return outcomeWithoutAgent('cancelled', reason, 'The job was cancelled');
    case 'client_gone':
      return outcomeWithoutAgent('cancelled', reason, 'The caller hung up');
    case 'shutdown':
      return outcomeWithoutAgent('lost', reason, 'The service was stopped before the job ended');
  }
}

/** What `RunningJobs.end` aborted it with. */
function endReasonOf({ reason }: { readonly reason: unknown }): EndReason {
  return reason === 'client_gone' || reason === 'shutdown' ? reason : 'cancelled';
}
