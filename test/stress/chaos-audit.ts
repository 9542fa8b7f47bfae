import type { Wish } from './chaos-load.ts';
import type { ChaosJob, ChaosService } from './chaos-service.ts';

const settleMs = 120_000;
/** Jobs of which all events are read twice. */
const sampledJobs = 50;

/** What broke a promise: each list must be empty. */
export interface Faults {
  /** Acknowledged, and later unknown, not ended, or another job. */
  readonly missing: readonly string[];
  /** More often than the caller allowed. */
  readonly ranTooOften: readonly string[];
  /** Two attempts at the same time. */
  readonly overlapped: readonly string[];
  /** Said to be completed, without having run. */
  readonly notRun: readonly string[];
  /** Begun before the job that it was to start after had completed, or although that one never did. */
  readonly tooEarly: readonly string[];
  /** Two jobs that began in another order than they were admitted in. */
  readonly outOfOrder: readonly string[];
  /** Events with a gap, without an end, or different at the second reading. */
  readonly brokenEvents: readonly string[];
}

/** Lets the service end its work, and compares what was acknowledged and what the agents wrote down with what it says. */
export async function audit(service: ChaosService, wishes: readonly Wish[], readLedger: () => Promise<string>) {
  const missing: string[] = [];
  const acknowledged = wishes.flatMap(({ id, retries }) => (id === null ? retries : [id, ...retries]));
  const jobs = await settled(service, acknowledged, missing);
  const lines = (await readLedger()).split('\n').filter((line) => line !== '');
  const runs = new Map<string, number>();
  for (const [name = ''] of lines.map((line) => line.split(' '))) runs.set(name, (runs.get(name) ?? 0) + 1);
  const runsOf = ({ name }: Wish): number => runs.get(name) ?? 0;
  const completed = wishes.filter(({ id }) => id !== null && jobs.get(id)?.status === 'completed');
  const faults: Faults = {
    missing,
    ranTooOften: wishes
      .filter((wish) => runsOf(wish) > (wish.body.max_attempts ?? 1) * (1 + wish.triedAgain))
      .map((wish) => `${wish.name}: ${runsOf(wish)}`),
    overlapped: lines.filter((line) => line.startsWith('overlap ')),
    notRun: completed.filter((wish) => runsOf(wish) === 0).map(({ name }) => name),
    tooEarly: [...jobs.values()].filter((job) => isTooEarly(job, jobs)).map(({ job_id: id }) => id),
    outOfOrder: await outOfOrder(service),
    brokenEvents: await brokenEvents(service, [...jobs.keys()].slice(-sampledJobs)),
  };
  return { jobs, faults };
}

/** Every job once it is final. */
async function settled(service: ChaosService, ids: readonly string[], missing: string[]) {
  const jobs = new Map<string, ChaosJob>();
  const deadline = performance.now() + settleMs;
  const isOpen = (job: ChaosJob): boolean => ['queued', 'running'].includes(job.status);
  for (const id of ids) {
    let job = await service.read<ChaosJob>(`/jobs/${id}`).catch(() => null);
    while (job !== null && isOpen(job) && performance.now() < deadline) {
      job = await service.read<ChaosJob>(`/jobs/${id}?wait=30`).catch(() => null);
    }
    if (job === null) missing.push(`${id}: unknown`);
    else if (isOpen(job)) missing.push(`${id}: still ${job.status}`);
    else jobs.set(id, job);
  }
  return jobs;
}

function isTooEarly({ after, status, reason, started_at: at }: ChaosJob, jobs: ReadonlyMap<string, ChaosJob>): boolean {
  const first = after === null ? undefined : jobs.get(after);
  if (first === undefined) return false;
  if (first.status !== 'completed') return status !== 'cancelled' || reason !== 'dependency' || at !== null;
  return status === 'cancelled' || (at !== null && at < (first.finished_at ?? ''));
}

/** The list is in the order of admission, newest first: so nobody started later than the one before it in the list. */
async function outOfOrder(service: ChaosService): Promise<readonly string[]> {
  const wrong: string[] = [];
  let later: ChaosJob | null = null;
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page: { jobs: readonly ChaosJob[]; next_cursor: string | null } = await service.read(
      `/jobs?limit=200${cursor === '' ? '' : `&cursor=${cursor}`}`,
    );
    // What waits for another job, or is started again, begins after those that came later.
    const orderly = page.jobs.filter(({ after, attempt }) => after === null && attempt === 1);
    for (const job of orderly) {
      if (job.started_at === null) continue;
      if (later?.started_at != null && job.started_at > later.started_at) {
        wrong.push(`${later.job_id} before ${job.job_id}`);
      }
      later = job;
    }
    cursor = page.next_cursor;
  }
  return wrong;
}

async function brokenEvents(service: ChaosService, ids: readonly string[]): Promise<readonly string[]> {
  const broken: string[] = [];
  for (const id of ids) {
    const first = await service.text(`/jobs/${id}/events`);
    const numbers = [...first.matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]));
    const isGapless = numbers.every((number, i) => number === i + 1);
    const isSame = first === (await service.text(`/jobs/${id}/events`));
    if (!isGapless || !isSame || !/event: end\ndata: .*\n\n$/.test(first)) broken.push(id);
  }
  return broken;
}
