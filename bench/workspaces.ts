import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { createJobId } from '../src/jobs/job-id.ts';
import type { Workspace } from '../src/jobs/ports.ts';
import { removeTree } from '../src/process/remove-tree.ts';
import { createWorkspaceManager, type GitWorkspaces } from '../src/workspaces/workspace-manager.ts';

/**
 * How long a workspace takes, as a ratio to `git clone --local` of the same base in the same run: 1.0 is that clone.
 *
 *   node bench/workspaces.ts [files ...]      default: 200 10000; 60000 needs 3 GB of disk and minutes
 *
 * The repositories are the same in every run: file n holds text made of n, 50 files to a directory.
 */

const sizes = process.argv.slice(2).map(Number);
const gitEnv = { PATH: '/usr/local/bin:/usr/bin:/bin', HOME: '/nonexistent', GIT_CONFIG_GLOBAL: '/dev/null' };
const identity = ['-c', 'user.name=Bench', '-c', 'user.email=bench@localhost', '-c', 'gc.auto=0'];
const never = new AbortController().signal;
const rounds = 5;
const poolSize = 10;
const bytesPerFile = 2_000;

for (const files of sizes.length === 0 ? [200, 10_000] : sizes) {
  const root = await mkdtemp(join(tmpdir(), 'bench-workspaces-'));
  try {
    console.log(`${files} files`);
    await measure(root, files);
  } finally {
    await removeTree(root);
  }
}

async function measure(root: string, files: number): Promise<void> {
  const base = join(root, 'base');
  await makeRepository(base, files);
  const clones = await repeat(
    3,
    async (n) => await git(root, ['clone', '-q', '--local', base, join(root, `plain-${n}`)]),
  );
  const clone = median(clones);
  console.log(`  git clone --local${' '.repeat(23)} ${clone.toFixed(1).padStart(9)} ms   1.0`);
  const print = (what: string, ms: readonly number[], unit = clone) => printRatio(what, ms, unit);

  const { manager: bare, frozen } = await startManager(root, 'no-pool', base, 0);
  const made: Workspace[] = [await bare.create(createJobId(), never)];
  await until(() => frozen() > 0);
  print('pool miss', await repeat(3, async () => void made.push(await bare.create(createJobId(), never))));
  await bare.close();

  const { manager } = await startManager(root, 'pool', base, poolSize);
  const hits: number[] = [];
  for (let n = 0; n < rounds; n += 1) {
    await full(manager);
    hits.push(...(await repeat(1, async () => void made.push(await manager.create(createJobId(), never)))));
  }
  print('pool hit', hits);
  await full(manager);
  const burst: number[] = [];
  const starts = performance.now();
  await Promise.all(
    Array.from({ length: poolSize }, async () => {
      made.push(await manager.create(createJobId(), never));
      burst.push(performance.now() - starts);
    }),
  );
  print(`${poolSize} at once, the last one, to ${poolSize} clones`, [Math.max(...burst)], clone * poolSize);

  // What is made ready in the background would take the cores from both.
  await full(manager);
  const changed = await Promise.all(made.slice(-3).map(changeFiles));
  await printChanges('change set of 10 files, to `git status`', changed, 10);
  await printChanges('change set of nothing, to `git status`', made.slice(-6, -3), 0);
  await full(manager);
  const used = await Promise.all(made.slice(4, 7).map(changeFiles));
  print(
    'used, 10 files changed, until it is ready again',
    await repeat(used.length, (n) => readyAgain(manager, used[n])),
  );
  await full(manager);
  await commitChanges(base, 20);
  print(
    'pool hit, the base 20 files further',
    await repeat(1, async () => void made.push(await manager.create(createJobId(), never))),
  );
  print('disposing', await repeat(changed.length, async (n) => await changed[n]?.[Symbol.asyncDispose]()));
  await manager.close();
}

function printRatio(what: string, ms: readonly number[], unit: number): void {
  console.log(`  ${what.padEnd(40)} ${median(ms).toFixed(1).padStart(9)} ms   ${(median(ms) / unit).toPrecision(2)}`);
}

/** By turns in the same trees, after a look at each: whoever comes first fetches from the disk what both need. */
async function printChanges(what: string, workspaces: readonly Workspace[], files: number): Promise<void> {
  const statuses: number[] = [];
  const changes: number[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    for (const workspace of workspaces) {
      const [status = 0] = await repeat(1, () => git(workspace.path, ['status', '--porcelain']));
      const [change = 0] = await repeat(1, () => take(workspace, files));
      if (round === 0) continue;
      statuses.push(status);
      changes.push(change);
    }
  }
  printRatio(what, changes, median(statuses));
}

async function readyAgain(manager: GitWorkspaces, used: Workspace | undefined): Promise<void> {
  const before = manager.ready();
  await used?.giveBack();
  await until(() => manager.ready() > before);
}

async function changeFiles(workspace: Workspace): Promise<Workspace> {
  for (let n = 0; n < 10; n += 1) await writeFile(join(workspace.path, `d0/f${n}.txt`), 'changed');
  return workspace;
}

/** A change set that failed is quick, and no figure. */
async function take(workspace: Workspace | undefined, files: number): Promise<void> {
  const changes = await workspace?.changes();
  if (changes?.filesChanged !== files || changes.problem !== null) throw new Error(JSON.stringify(changes));
}

/** `frozen` answers how many clones there were to copy from. */
async function startManager(root: string, name: string, basePath: string, size: number) {
  let frozen = 0;
  const debug = (_: object, message: string) => {
    if (message === 'a clone is there to be copied') frozen += 1;
  };
  const quiet = { debug, info() {}, warn: console.warn, error: console.error };
  const directory = join(root, name);
  const manager = createWorkspaceManager({
    ...{ basePath, baseUrl: null, baseBranch: null, fetchDebounceMs: 0, poolSize: size, gitEnv },
    jobsDir: join(directory, 'jobs'),
    scratchDir: join(directory, 'scratch'),
    resultDir: (id) => join(directory, 'runs', id),
    gitCryptKey: '/dev/null/none',
    log: quiet,
    clock: { now: () => Date.now() },
  });
  await manager.start(never);
  await manager.sweep();
  return { manager, frozen: () => frozen };
}

async function full(manager: GitWorkspaces): Promise<void> {
  await until(() => manager.ready() >= poolSize);
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 1));
}

async function makeRepository(path: string, files: number): Promise<void> {
  await mkdir(path);
  await git(path, ['init', '-q', '--initial-branch=main']);
  await writeFiles(path, files, 0);
  await git(path, ['add', '--all']);
  await git(path, ['commit', '-q', '-m', 'start']);
  await git(path, ['repack', '-q', '-a', '-d']);
}

async function commitChanges(path: string, files: number): Promise<void> {
  await writeFiles(path, files, 1);
  await git(path, ['commit', '-q', '-a', '-m', 'more']);
}

async function writeFiles(path: string, files: number, version: number): Promise<void> {
  for (let n = 0; n < files; n += 1) {
    if (n % 50 === 0) await mkdir(join(path, `d${n / 50}`), { recursive: true });
    const line = `file ${n} version ${version} ${((n + 1) * 2_654_435_761) % 4_294_967_296}\n`;
    await writeFile(join(path, `d${Math.floor(n / 50)}/f${n}.txt`), line.repeat(bytesPerFile / line.length));
  }
}

async function git(cwd: string, args: readonly string[]): Promise<void> {
  await execa('git', [...identity, ...args], { cwd, env: gitEnv, extendEnv: false });
}

async function repeat(times: number, work: (n: number) => Promise<void>): Promise<readonly number[]> {
  const all: number[] = [];
  for (let n = 0; n < times; n += 1) {
    const start = performance.now();
    await work(n);
    all.push(performance.now() - start);
  }
  return all;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
