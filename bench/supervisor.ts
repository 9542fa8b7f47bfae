/**
 * What a supervisor per job costs, against a bare spawn in the same run, and how long a service takes to end what it holds
 * and to take over what an earlier one left: `node bench/supervisor.ts`. Figures are medians; compare those of one run, not
 * of two machines.
 */
import { spawn } from 'node:child_process';
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
import { buildZoo, isReady } from '../test/fixtures/zoo/zoo.ts';
import { waitFor } from '../test/helpers/wait.ts';
import { print, quantile, timed } from './figures.ts';
import { startService } from './running-service.ts';

const rounds = 200;
const cancels = 20;
const restarts = 5;
const agents = 10;
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
  await cancelling();
  await adopting();
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

async function cancelling(): Promise<void> {
  await using service = await startService({ CLAUDE_BIN: await buildZoo(dir) });
  const times: number[] = [];
  for (let i = 0; i < cancels; i += 1) {
    const { job_id } = await service.call('/execute', { prompt: `leaves-a-child ${file(`obedient${i}`)} stay` });
    await waitFor(() => isReady(file(`obedient${i}`)), Boolean);
    times.push(
      await timed(async () => {
        await service.call(`/jobs/${String(job_id)}/cancel`, {});
        await service.call(`/jobs/${String(job_id)}?wait=60`);
      }),
    );
  }
  say('cancel of an obedient agent until its final status is read', `${median(times).toFixed(0)} ms`);
}

/** How long after its start a service has taken over what one before it left, against its start alone. */
async function adopting(): Promise<void> {
  const settings = {
    ...{ CLAUDE_BIN: await buildZoo(dir), DATA_DIR: file('data'), MAX_CONCURRENCY: String(agents) },
    ...{ RESTART_POLICY: 'adopt', KILL_GRACE_SECONDS: '0' },
  };
  const listening: number[] = [];
  const adopted: number[] = [];
  for (let round = 0; round < restarts; round += 1) {
    const first = await startService(settings);
    const ids = await Promise.all(
      Array.from({ length: agents }, async (_, i) => {
        const name = file(`adopted${round}-${i}`);
        const { job_id } = await first.call('/execute', { prompt: `leaves-a-child ${name} stay` });
        await waitFor(() => isReady(name), Boolean);
        return String(job_id);
      }),
    );
    process.kill(first.pid, 'SIGKILL');
    await first[Symbol.asyncDispose]();
    const start = Date.now();
    await using second = await startService(settings);
    const times = linesOf(second.output());
    listening.push(...times.filter(({ msg }) => msg === 'listening').map(({ time }) => Date.parse(time) - start));
    const taken = times.filter(({ msg }) => msg === 'agent adopted').map(({ time }) => Date.parse(time) - start);
    if (taken.length !== agents) throw new Error(`${taken.length} of ${agents} were adopted`);
    adopted.push(Math.max(...taken));
    await Promise.all(ids.map((id) => second.call(`/jobs/${id}/cancel`, {})));
    await Promise.all(ids.map((id) => second.call(`/jobs/${id}?wait=60`)));
  }
  say(
    `from the start of the service until ${agents} agents are adopted`,
    `${median(adopted).toFixed(0)} ms, until it listens ${median(listening).toFixed(0)} ms`,
  );
}

interface Line {
  readonly time: string;
  readonly msg: string;
}

function linesOf(output: string): readonly Line[] {
  return output
    .split('\n')
    .slice(0, -1)
    .map((text) => {
      const line: Line = JSON.parse(text);
      return line;
    });
}

function median(list: readonly number[]): number {
  return quantile(list, 0.5);
}

function say(what: string, value: string): void {
  print(`${what}: ${value}`);
}
