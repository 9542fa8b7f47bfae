/**
 * What a supervisor per job costs, against a bare spawn in the same run: `node bench/supervisor.ts [jobs]`. Figures are
 * medians; compare those of one run, not of two machines. With a number of jobs it also runs that many through a service,
 * each leaving a process behind that has left its session and emptied its environment, and counts what is left.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { supervisorFile } from '../src/process/choose-containment.ts';
import type { Containment } from '../src/process/containment.ts';
import { createGroupContainment } from '../src/process/group-containment.ts';
import { runProcess } from '../src/process/run-process.ts';
import { createSupervisorContainment } from '../src/process/supervisor-containment.ts';
import { buildZoo, isReady, survivors } from '../test/fixtures/zoo/zoo.ts';
import { waitFor } from '../test/helpers/wait.ts';

const root = join(import.meta.dirname, '..');
const rounds = 200;
const cancels = 20;
const MiB = 1024 ** 2;
const dir = await mkdtemp(join(tmpdir(), 'bench-supervisor-'));
const file = (name: string): string => join(dir, name);
const env = { PATH: '/usr/bin:/bin' };
const never = new AbortController().signal;
const supervisor = createSupervisorContainment({ file: supervisorFile });

try {
  await writeFile(file('stdin'), '');
  await costPerRun();
  await memory();
  for (const megabytes of [100, 500]) await stall(megabytes);
  await throughService(Number(process.argv[2] ?? 0));
} finally {
  await rm(dir, { recursive: true, maxRetries: 5 });
}

async function costPerRun(): Promise<void> {
  const times: Record<string, number[]> = { bare: [], group: [], supervisor: [] };
  const ways: Record<string, () => Promise<unknown>> = {
    bare: bareSpawn,
    group: () => run(createGroupContainment()),
    supervisor: () => run(supervisor),
  };
  for (let i = 0; i < rounds; i += 1) {
    for (const [name, way] of Object.entries(ways)) times[name]?.push(await timed(way));
  }
  for (const [name, list] of Object.entries(times)) say(`/bin/true, ${name}`, `${median(list).toFixed(2)} ms`);
}

async function bareSpawn(): Promise<void> {
  const fds = [openSync(file('stdin'), 'r'), openSync(file('out'), 'a'), openSync(file('err'), 'a')];
  const child = spawn('/bin/true', { env, stdio: fds, detached: true });
  await once(child, 'exit');
  fds.forEach(closeSync);
}

async function run(containment: Containment, args: readonly string[] = [], program = '/bin/true', signal = never) {
  return await runProcess(
    {
      command: { file: program, args, env, cwd: dir },
      ...{ stdinFile: file('stdin'), stdoutFile: file('out'), stderrFile: file('err') },
      ...{ timeoutMs: 60_000, graceMs: 5_000, maxOutputBytes: 1024 ** 3, containment },
      ...{ recordFile: file('record'), exitFile: file('exit') },
    },
    signal,
  );
}

async function memory(): Promise<void> {
  const cancel = new AbortController();
  await rm(file('record'));
  const running = run(supervisor, ['60'], '/bin/sleep', cancel.signal);
  const record = await waitFor(
    () => readFile(file('record'), 'utf8').catch(() => ''),
    (text) => text.endsWith('\n'),
  );
  const { guard, keeper }: { readonly guard: number; readonly keeper: number } = JSON.parse(record);
  const sizes = await Promise.all(
    [guard, keeper].map(async (pid) => {
      const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
      return ['Rss', 'Pss'].map((name) => Number(new RegExp(`^${name}: +(\\d+)`, 'm').exec(text)?.[1] ?? 0));
    }),
  );
  const sum = (at: number): number => sizes.reduce((total, size) => total + (size[at] ?? 0), 0);
  say('memory of guard and keeper', `${sum(0)} KiB RSS together, ${sum(1)} KiB with shared pages counted once`);
  cancel.abort();
  await running;
}

/** How long the event loop stands still while a process is started. */
async function stall(megabytes: number): Promise<void> {
  const ballast = Buffer.alloc(Math.max(0, megabytes * MiB - process.memoryUsage().rss), 1);
  const streams = {
    stdin: openSync(file('stdin'), 'r'),
    stdout: openSync(file('out'), 'a'),
    stderr: openSync(file('err'), 'a'),
  };
  const limits = { timeoutMs: 60_000, idleMs: null, maxOutputBytes: 1024 ** 3, graceMs: 5_000 };
  const command = { file: '/bin/true', args: [], env, cwd: dir };
  for (const containment of [createGroupContainment(), supervisor]) {
    const times: number[] = [];
    for (let i = 0; i < 50; i += 1) {
      const start = performance.now();
      const program = containment.start({ command, streams, limits });
      times.push(performance.now() - start);
      await program.ended;
    }
    const rss = Math.round(process.memoryUsage().rss / MiB);
    say(`event loop held by a start at ${rss} MB RSS, ${containment.level}`, `${median(times).toFixed(2)} ms`);
  }
  for (const fd of Object.values(streams)) closeSync(fd);
  ballast.fill(0);
}

async function throughService(jobs: number): Promise<void> {
  const zoo = await buildZoo(dir);
  const { child, url } = await startService(zoo);
  try {
    const times: number[] = [];
    for (let i = 0; i < cancels; i += 1) {
      const id = await submit(url, `leaves-a-child ${file(`obedient${i}`)} stay`);
      await waitFor(() => isReady(file(`obedient${i}`)), Boolean);
      times.push(
        await timed(async () => {
          await call(`${url}/jobs/${id}/cancel`, { method: 'POST' });
          await call(`${url}/jobs/${id}?wait=60`);
        }),
      );
    }
    say('cancel of an obedient agent until its final status is read', `${median(times).toFixed(0)} ms`);
    if (jobs > 0) await escapees(url, jobs);
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
}

async function escapees(url: string, jobs: number): Promise<void> {
  const start = performance.now();
  let next = 0;
  let left = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < jobs; i = next++) {
      const name = file(`escapee${i}`);
      const id = await submit(url, `emptied-environment ${name} leave`);
      let job = await call(`${url}/jobs/${id}?wait=60`);
      while (job['status'] === 'queued' || job['status'] === 'running') job = await call(`${url}/jobs/${id}?wait=60`);
      if (job['status'] !== 'completed') throw new Error(JSON.stringify(job));
      left += (await survivors(name)).length;
      await rm(name);
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  const { active } = await call(`${url}/health`);
  const seconds = (performance.now() - start) / 1000;
  say(
    `${jobs} jobs with an escapee each`,
    `${left} processes left, ${String(active)} places taken, ${seconds.toFixed(0)} s`,
  );
}

async function startService(program: string): Promise<{ readonly child: ChildProcess; readonly url: string }> {
  const child = spawn(process.execPath, [join(root, 'src/main.ts')], {
    env: {
      PATH: '/usr/local/bin:/usr/bin:/bin',
      ...{ HOME: dir, DATA_DIR: file('data'), PORT: '0', API_BEARER_TOKEN: 'bench', CLAUDE_BIN: program },
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-10_000);
  });
  const url = await waitFor(() => /"url":"([^"]+)".*"listening"/.exec(output)?.[1] ?? '', Boolean);
  await waitFor(
    async () => (await fetch(`${url}/readyz`)).status,
    (status) => status === 200,
  );
  return { child, url };
}

async function submit(url: string, prompt: string): Promise<string> {
  const { job_id } = await call(`${url}/execute`, { method: 'POST', body: JSON.stringify({ prompt }) });
  return String(job_id);
}

async function call(url: string, init: RequestInit = {}): Promise<Readonly<Record<string, unknown>>> {
  const type = init.body === undefined ? {} : { 'content-type': 'application/json' };
  const response = await fetch(url, { ...init, headers: { authorization: 'Bearer bench', ...type } });
  const body: unknown = await response.json();
  return typeof body === 'object' && body !== null ? { ...body } : {};
}

async function timed(way: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await way();
  return performance.now() - start;
}

function median(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;
}

function say(what: string, value: string): void {
  process.stdout.write(`${what}: ${value}\n`);
}
