import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { WorkspaceError } from '../../src/jobs/errors.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import { createWorkspaceClient } from '../../src/workspaces/workspace-client.ts';
import type { WorkspaceMeter } from '../../src/workspaces/workspace-meter.ts';
import type { WorkspaceSettings } from '../../src/workspaces/workspace-protocol.ts';
import { describeWorkspaceManager } from '../contracts/workspace-manager.ts';
import { createGitRepo, gitEnv } from '../helpers/git-repo.ts';
import { isAlive as isRunning } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';
import {
  cleanUpAfterEach,
  cleanUpLater,
  isAlive,
  namesIn,
  never,
  recordingLog,
  temporaryDirectory,
  wrapGit,
} from './fixture.ts';

cleanUpAfterEach();

async function startedClient(settings: Partial<WorkspaceSettings> = {}, meter?: WorkspaceMeter) {
  const root = await temporaryDirectory();
  const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'first\n' });
  const jobsDir = join(root, 'jobs');
  const log = recordingLog();
  const before = await processes();
  const given = {
    basePath: join(root, 'base'),
    baseUrl: origin.path,
    baseBranch: null,
    jobsDir,
    fetchDebounceMs: 15_000,
    poolSize: 0,
    gitCryptKey: join(root, 'no-key'),
    scratchDir: join(root, 'scratch'),
    resultsDir: join(root, 'runs'),
    gitEnv,
    ...settings,
  };
  const client = createWorkspaceClient(given, log, meter);
  cleanUpLater(() => client.close());
  await client.start(never);
  const ours = async () => (await processes()).filter((pid) => !before.includes(pid));
  const commit = await origin.git('rev-parse', 'HEAD');
  return { client, jobsDir, log, commit, processes: ours };
}

/** The processes of workspaces that this one started. */
async function processes(): Promise<readonly number[]> {
  const lists = await Promise.all(
    (await readdir('/proc/self/task')).map((task) => readFile(`/proc/self/task/${task}/children`, 'utf8')),
  );
  const pids = lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number));
  const commands = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return pids.filter((_, index) => commands[index]?.includes('workspace-process.ts'));
}

async function theProcess({ processes: ours }: Awaited<ReturnType<typeof startedClient>>): Promise<number> {
  const [pid, ...others] = await ours();
  if (pid === undefined || others.length > 0) throw new Error('there should be one process');
  return pid;
}

describeWorkspaceManager('workspaces made by a process of their own', async () => {
  const { client, jobsDir, commit } = await startedClient();
  return { manager: client, jobsDir, file: { name: 'a.txt', text: 'first\n' }, commit, close: () => client.close() };
});

describe('the process', () => {
  test('is started again when it has ended; what runs keeps its workspace and its changes', async () => {
    const started = await startedClient();
    const { client, jobsDir, log } = started;
    await client.sweep();
    const id = createJobId();
    const workspace = await client.create(id, never);
    const pid = await theProcess(started);
    process.kill(pid, 'SIGKILL');
    await writeFile(join(workspace.path, 'a.txt'), 'second\n');
    expect(await workspace.changes()).toMatchObject({ filesChanged: 1, insertions: 1, deletions: 1, problem: null });
    expect(await client.check()).toBeNull();
    expect(await theProcess(started)).not.toBe(pid);
    expect(log.lines.map(({ message }) => message)).toContain(
      'The process of the workspaces has ended; it is started again',
    );
    await workspace[Symbol.asyncDispose]();
    expect(await namesIn(jobsDir)).not.toContain(id);
  });

  test('that ends under a clone costs the job nothing but time', async () => {
    const { env, count } = await wrapGit({ clone: 'sleep 1' });
    const started = await startedClient({ gitEnv: env });
    await started.client.sweep();
    const seen = await count('clone');
    const creating = started.client.create(createJobId(), never);
    await waitFor(
      () => count('clone'),
      (calls) => calls > seen,
      { what: 'the clone of the job' },
    );
    process.kill(await theProcess(started), 'SIGKILL');
    await using workspace = await creating;
    expect(await readFile(join(workspace.path, 'a.txt'), 'utf8')).toBe('first\n');
  });

  test('that is killed leaves nothing that it had started', async () => {
    const gate = join(await temporaryDirectory(), 'gate');
    const { env, pids } = await wrapGit({
      clone: `if [ -e ${gate} ]; then rm ${gate}; echo $$ >>"$PIDS"; exec sleep 300; fi`,
    });
    const started = await startedClient({ gitEnv: env });
    await started.client.sweep();
    await writeFile(gate, '');
    const creating = started.client.create(createJobId(), never);
    const [pid = 0] = await waitFor(pids, (found) => found.length > 0, { what: 'the clone to hang' });
    process.kill(await theProcess(started), 'SIGKILL');
    await using workspace = await creating;
    expect(workspace.baseCommit).toBe(started.commit);
    // Whoever adopted it may be slow to collect it.
    expect(await isRunning(pid)).toBe(false);
  });

  test('pushes the result of a job where it is asked for', async () => {
    const { client } = await startedClient();
    await using workspace = await client.create(createJobId(), never);
    expect((await workspace.changes('result'))?.push).toEqual({
      branch: 'result',
      commit: null,
      problem: 'The branch was not pushed: the job changed nothing',
    });
    await writeFile(join(workspace.path, 'a.txt'), 'second\n');
    expect((await workspace.changes('result'))?.push).toMatchObject({ branch: 'result', problem: null });
  });

  test('tells a caller what is wrong in the words of the workspaces', async () => {
    const { client } = await startedClient();
    const wrong = client.create(createJobId(), never, { ref: 'no-such-branch' });
    await expect(wrong).rejects.toBeInstanceOf(WorkspaceError);
    await expect(wrong).rejects.toThrow(/no-such-branch/);
  });

  test('leaves the signals of its group to the service, and ends with the channel', async () => {
    const started = await startedClient();
    const pid = await theProcess(started);
    process.kill(pid, 'SIGTERM');
    process.kill(pid, 'SIGINT');
    await using workspace = await started.client.create(createJobId(), never);
    expect(workspace.baseCommit).toBe(started.commit);
    expect(await theProcess(started)).toBe(pid);
    await started.client.close();
    expect(isAlive(pid)).toBe(false);
  });

  test('sees nothing of the environment of the service', async () => {
    const started = await startedClient();
    const names = (await readFile(`/proc/${await theProcess(started)}/environ`, 'utf8'))
      .split('\0')
      .map((line) => line.split('=')[0]);
    expect(names.filter((name) => name !== '' && !name?.startsWith('NODE_CHANNEL'))).toEqual([]);
  });
});

test('what the process measures reaches the service: preparation, locks, removals, and the figures of now', async () => {
  const told: string[] = [];
  const meter: WorkspaceMeter = {
    lockWaited: (ms) => void told.push(`lock ${ms >= 0}`),
    prepared: (by, ms) => void told.push(`${by} ${ms > 0}`),
    removed: (ms) => void told.push(`removed ${ms > 0}`),
  };
  const { client } = await startedClient({ poolSize: 1 }, meter);
  await client.sweep();
  await waitFor(
    () => client.figures().poolReady,
    (ready) => ready === 1,
    { what: 'a ready clone' },
  );
  const workspace = await client.create(createJobId(), never);
  await workspace[Symbol.asyncDispose]();
  const seen = (): boolean => ['lock true', 'pool true', 'removed true'].every((line) => told.includes(line));
  await waitFor(seen, (all) => all, { what: 'all three to be told' });
  const figures = await waitFor(client.figures, ({ removalsPending }) => removalsPending === 0);
  expect(figures.removalsQuarantined).toBe(0);
});

test('while the disk is too full no clone is made ready, but jobs that run anyway get theirs', async () => {
  const root = await temporaryDirectory();
  const room = { directories: { JOBS_DIR: root }, minFreeBytes: 2 ** 50 };
  const { client, jobsDir } = await startedClient({ poolSize: 1, room });
  await client.sweep();
  const workspace = await client.create(createJobId(), never);
  expect(workspace.baseCommit).not.toBeNull();
  expect(await namesIn(join(jobsDir, '.pool'))).toEqual([]);
  await workspace[Symbol.asyncDispose]();
});
