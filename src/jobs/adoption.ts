import type { JobId } from './job.ts';
import type { AgentRunner, Claim, Log, Store, WorkspaceManager } from './ports.ts';

interface AdoptionDeps {
  readonly store: Store;
  readonly runner: AgentRunner;
  readonly workspaces: WorkspaceManager;
  readonly log: Log;
}

const pageSize = 200;

/** Takes over the jobs whose agents outlived the process that started them; nothing else of their state changes. */
export async function adoptRuns({ store, runner, workspaces, log }: AdoptionDeps): Promise<readonly Claim[]> {
  const { membership, jobs } = store;
  if (membership.adopt === undefined || runner.canAdopt === undefined || workspaces.adopt === undefined) return [];
  const ids: JobId[] = [];
  for (let beforeSeq: number | null = Number.MAX_SAFE_INTEGER; beforeSeq !== null; ) {
    const page = await jobs.list({ status: 'running', caller: null, limit: pageSize, beforeSeq });
    const possible = await Promise.all(
      page.jobs.map(async ({ id, spec, attempt }) => isExecute(spec.kind) && (await runner.canAdopt?.(id, attempt))),
    );
    ids.push(...page.jobs.filter((_, i) => possible[i] === true).map(({ id }) => id));
    beforeSeq = page.nextBeforeSeq;
  }
  if (ids.length === 0) return [];
  const claims = await membership.adopt(ids);
  for (const { job } of claims) workspaces.adopt(job.id);
  log.info({ jobs: claims.length }, 'jobs of an earlier process were adopted');
  return claims.map((claim) => ({ ...claim, adopted: true }));
}

/** The caller of a chat went with the connection. */
function isExecute(kind: string): boolean {
  return kind === 'execute';
}
