import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  baseEnvironment,
  isAlive,
  type ServiceProcess,
  startServiceProcess,
  temporaryDirectory,
} from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';

// Beside the agents there is one more process, which starts git: nothing of it may stay either.

/** Above what it gives its last work, 10 s; it needs that only where a program does not end. */
const goneWithinMs = 15_000;

/** A service and a job whose clone never ends. */
async function startHanging(env: Readonly<Record<string, string>> = {}) {
  const dir = await temporaryDirectory();
  const gate = join(dir, 'gate');
  const pidFile = join(dir, 'pid');
  const dataDir = join(dir, 'data');
  const path = baseEnvironment(dataDir)['PATH'] ?? '';
  await mkdir(join(dir, 'bin'));
  const hang = `if [ -e ${gate} ]; then echo $$ >${pidFile}; exec sleep 300; fi`;
  await writeFile(
    join(dir, 'bin', 'git'),
    `#!/bin/sh\ncase "$*" in *clone*) ${hang} ;; esac\nPATH=${path} exec git "$@"\n`,
  );
  await chmod(join(dir, 'bin', 'git'), 0o755);
  const PATH = `${join(dir, 'bin')}:${path}`;
  const service = await startServiceProcess({ dataDir, env: { PATH, POOL_SIZE: '0', DRAIN_SECONDS: '0', ...env } });
  const ofWorkspaces = await workspaceProcess(service);
  await writeFile(gate, '');
  await service.submit({ prompt: 'say: one' });
  const git = Number(
    await waitFor(
      () => readFile(pidFile, 'utf8').catch(() => ''),
      (text) => text.endsWith('\n'),
      { what: 'the clone to hang' },
    ),
  );
  return { service, pids: [ofWorkspaces, git] };
}

/** The one that the service has. */
async function workspaceProcess({ pid }: ServiceProcess): Promise<number> {
  const tasks = await readdir(`/proc/${pid}/task`);
  const lists = await Promise.all(tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, 'utf8')));
  const children = lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number));
  const commands = await Promise.all(
    children.map((child) => readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => '')),
  );
  const found = children.filter((_, i) => commands[i]?.includes('workspace-process.ts'));
  expect(found).toHaveLength(1);
  return found[0] ?? 0;
}

/** How many are there when they should all be gone. */
async function left(pids: readonly number[]): Promise<number> {
  const living = async () => (await Promise.all(pids.map(isAlive))).filter(Boolean).length;
  return await waitFor(living, (count) => count === 0, { timeoutMs: goneWithinMs }).catch(living);
}

test.each(['SIGTERM', 'SIGKILL'] as const)(
  '%s of the service leaves neither it nor what it started',
  async (signal) => {
    const { service, pids } = await startHanging();
    service.signal(signal);
    await service.exited();
    expect(await left(pids)).toBe(0);
  },
);

test('SIGKILL of it and of the service leaves what it started to the next service, which ends that', async () => {
  const { service, pids } = await startHanging({ RESTART_POLICY: 'adopt' });
  service.signal('SIGSTOP');
  for (const pid of [service.pid, pids[0] ?? 0]) process.kill(pid, 'SIGKILL');
  await service.exited();
  await startServiceProcess({ dataDir: service.dataDir });
  expect(await left(pids)).toBe(0);
});

test('it is no agent: whatever ends a job leaves it as it is', async () => {
  const service = await startServiceProcess({ env: { KILL_GRACE_SECONDS: '0' } });
  const pid = await workspaceProcess(service);
  const run = async (prompt: string, body: object = {}) => await service.submit({ prompt, ...body });
  await service.finished(await run('say: one'));
  await service.finished(await run('forever', { timeout_seconds: 1 }));
  const cancelled = await run('forever');
  await service.post(`/jobs/${cancelled}/cancel`, {});
  await service.finished(cancelled);
  const lost = await run('forever');
  const record = await waitFor(
    () => readFile(join(service.dataDir, 'runs', lost, 'supervisor.json'), 'utf8').catch(() => ''),
    (text) => text.endsWith('\n'),
  );
  const { guard, keeper }: { readonly guard: number; readonly keeper: number } = JSON.parse(record);
  // Stopped first, and the keeper killed first: the kernel makes a stopped one go on whose guard ends.
  for (const signal of ['SIGSTOP', 'SIGKILL'] as const) for (const each of [keeper, guard]) process.kill(each, signal);
  expect(await service.finished(lost)).toMatchObject({ status: 'lost' });
  expect(await workspaceProcess(service)).toBe(pid);
});
