import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const root = join(import.meta.dirname, '..', '..');
const token = 'chaos-token-0123456789';
const startMs = 30_000;
const settleMs = 120_000;
/** Between two submits of a client: the service is to be caught running jobs, not to be flooded. */
const pauseMs = 60;

export interface ChaosOptions {
  /** An empty directory of its own. */
  readonly directory: string;
  readonly kills: number;
  readonly clients: number;
  /** From the moment that the service listens to its death: up to this, at random. */
  readonly maxLifeMs: number;
}

/** What must be empty is a list of what broke a promise. */
export interface ChaosReport {
  readonly kills: number;
  readonly acknowledged: number;
  readonly byStatus: Readonly<Record<string, number>>;
  /** Acknowledged, and later unknown, not ended, or another job. */
  readonly missing: readonly string[];
  readonly ranTwice: readonly string[];
  /** Said to be completed, without having run. */
  readonly notRun: readonly string[];
  /** Two jobs that began in another order than they were admitted in. */
  readonly outOfOrder: readonly string[];
  /** Events with a gap, without an end, or different at the second reading. */
  readonly brokenEvents: readonly string[];
}

interface Service {
  readonly url: string;
  kill(): Promise<void>;
}

/** One wish for a job, repeated with the same key until it is acknowledged. */
interface Wish {
  readonly name: string;
  id: string | null;
}

interface Job {
  readonly job_id: string;
  readonly status: string;
  readonly created_at: string;
  readonly started_at: string | null;
}

/**
 * Submits without pause while the service is killed at random points, again and again; then lets it end its work, and compares what
 * was acknowledged and what the agents themselves wrote down with what the service says.
 */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { directory, kills, clients, maxLifeMs } = options;
  const ledger = join(directory, 'ledger');
  await writeFile(ledger, '');
  const wishes: Wish[] = [];
  const open: Wish[] = [];
  const missing: string[] = [];

  for (let round = 0; round < kills; round += 1) {
    const service = await startService(directory);
    const stop = new AbortController();
    const load = Array.from({ length: clients }, () => submitUntil(service, stop.signal, { wishes, open, missing }));
    await delay(Math.random() * maxLifeMs);
    await service.kill();
    stop.abort();
    await Promise.all(load);
  }
  const service = await startService(directory);
  try {
    const acknowledged = wishes.flatMap(({ id, name }) => (id === null ? [] : [{ id, name }]));
    const jobs = await settled(
      service,
      acknowledged.map(({ id }) => id),
      missing,
    );
    const runs = countLines(await readFile(ledger, 'utf8'));
    const byStatus: Record<string, number> = {};
    for (const { status } of jobs.values()) byStatus[status] = (byStatus[status] ?? 0) + 1;
    const completed = acknowledged.filter(({ id }) => jobs.get(id)?.status === 'completed');
    return {
      kills,
      acknowledged: acknowledged.length,
      byStatus,
      missing,
      ranTwice: [...runs].flatMap(([name, times]) => (times > 1 ? [`${name}: ${times}`] : [])),
      notRun: completed.filter(({ name }) => !runs.has(name)).map(({ name }) => name),
      outOfOrder: await outOfOrder(service),
      brokenEvents: await brokenEvents(service, [...jobs.keys()].slice(-sampledJobs)),
    };
  } finally {
    await service.kill();
  }
}

/** Jobs of which all events are read twice. */
const sampledJobs = 50;

async function startService(directory: string): Promise<Service> {
  const child = spawn(process.execPath, [join(root, 'src', 'main.ts')], {
    cwd: root,
    env: {
      PATH: `${join(root, 'node_modules', '.bin')}:/usr/local/bin:/usr/bin:/bin`,
      ...{ HOME: directory, DATA_DIR: join(directory, 'data'), HOST: '127.0.0.1', PORT: '0', API_BEARER_TOKEN: token },
      ...{ CLAUDE_BIN: join(root, 'test', 'fixtures', 'agents', 'ledger.sh'), ANTHROPIC_API_KEY: 'dummy' },
      ...{ AGENT_ENV: 'CHAOS_LEDGER', CHAOS_LEDGER: join(directory, 'ledger') },
      ...{ MAX_QUEUE_DEPTH: '100000', MAX_CONCURRENCY: '4' },
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(child, 'exit');
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exit;
  };
  return { url: await listening(child), kill };
}

async function listening(child: ChildProcess): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const timer = setTimeout(() => reject(new Error('the service did not start')), startMs);
  let output = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-10_000);
    const url = /"url":"([^"]+)".*"msg":"listening"/.exec(output)?.[1];
    if (url !== undefined) resolve(url);
  });
  child.once('exit', () => reject(new Error(`the service ended: ${output}`)));
  return await promise.finally(() => clearTimeout(timer));
}

interface Ledger {
  readonly wishes: Wish[];
  /** Wishes of which nobody knows whether they were taken. */
  readonly open: Wish[];
  readonly missing: string[];
}

async function submitUntil(service: Service, signal: AbortSignal, { wishes, open, missing }: Ledger): Promise<void> {
  while (!signal.aborted) {
    const wish = open.pop() ?? again(wishes) ?? create(wishes);
    try {
      const { job_id: id } = await submit(service, wish, signal);
      if (wish.id !== null && wish.id !== id) missing.push(`${wish.name}: was ${wish.id}, then ${id}`);
      wish.id = id;
      await delay(pauseMs, undefined, { signal });
    } catch {
      // Killed before it answered: the next life is asked again.
      if (wish.id === null) open.push(wish);
    }
  }
}

function create(wishes: Wish[]): Wish {
  const wish = { name: `job-${wishes.length}`, id: null };
  wishes.push(wish);
  return wish;
}

/** Now and then a caller repeats what was acknowledged already. */
function again(wishes: readonly Wish[]): Wish | undefined {
  const known = wishes[Math.floor(Math.random() * wishes.length)];
  return known !== undefined && known.id !== null && Math.random() < 0.2 ? known : undefined;
}

async function submit(service: Service, { name }: Wish, signal: AbortSignal): Promise<Job> {
  const response = await fetch(`${service.url}/execute`, {
    ...{ method: 'POST', body: JSON.stringify({ prompt: name }), signal },
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'idempotency-key': name },
  });
  if (!response.ok) throw new Error(`answered ${response.status}`);
  return (await response.json()) as Job;
}

async function read<T>(service: Service, path: string): Promise<T | null> {
  const response = await fetch(`${service.url}${path}`, { headers: { authorization: `Bearer ${token}` } });
  return response.ok ? ((await response.json()) as T) : null;
}

/** Every job once it is final. */
async function settled(service: Service, ids: readonly string[], missing: string[]): Promise<ReadonlyMap<string, Job>> {
  const jobs = new Map<string, Job>();
  const deadline = performance.now() + settleMs;
  for (const id of ids) {
    let job = await read<Job>(service, `/jobs/${id}`);
    while (job !== null && ['queued', 'running'].includes(job.status) && performance.now() < deadline) {
      job = await read<Job>(service, `/jobs/${id}?wait=30`);
    }
    if (job === null) missing.push(`${id}: unknown`);
    else if (['queued', 'running'].includes(job.status)) missing.push(`${id}: still ${job.status}`);
    else jobs.set(id, job);
  }
  return jobs;
}

/** The list is in the order of admission, newest first: so nobody started later than the one before it in the list. */
async function outOfOrder(service: Service): Promise<readonly string[]> {
  const wrong: string[] = [];
  let later: Job | null = null;
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page: { jobs: readonly Job[]; next_cursor: string | null } | null = await read(
      service,
      `/jobs?limit=200${cursor === '' ? '' : `&cursor=${cursor}`}`,
    );
    for (const job of page?.jobs ?? []) {
      if (job.started_at === null) continue;
      if (later?.started_at != null && job.started_at > later.started_at)
        wrong.push(`${later.job_id} before ${job.job_id}`);
      later = job;
    }
    cursor = page?.next_cursor ?? null;
  }
  return wrong;
}

async function brokenEvents(service: Service, ids: readonly string[]): Promise<readonly string[]> {
  const broken: string[] = [];
  const text = async (id: string): Promise<string> => {
    const headers = { authorization: `Bearer ${token}` };
    return await (await fetch(`${service.url}/jobs/${id}/events`, { headers })).text();
  };
  for (const id of ids) {
    const first = await text(id);
    const numbers = [...first.matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]));
    const isGapless = numbers.every((number, i) => number === i + 1);
    if (!isGapless || !/event: end\ndata: .*\n\n$/.test(first) || first !== (await text(id))) broken.push(id);
  }
  return broken;
}

function countLines(text: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const line of text.split('\n')) if (line !== '') counts.set(line, (counts.get(line) ?? 0) + 1);
  return counts;
}
