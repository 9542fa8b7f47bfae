import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { createJobId } from '../src/jobs/job-id.ts';
import type { Workspace } from '../src/jobs/ports.ts';
import { removeTree } from '../src/process/remove-tree.ts';
import { createWorkspaceManager } from '../src/workspaces/workspace-manager.ts';

/**
 * What SUBMODULES and LFS cost a job, as a ratio to the same base with both switched off in the same run. Needs git-lfs.
 *
 *   node bench/contents.ts [files]      default: 2000; the submodules have as many again, and so much has LFS in bytes
 *
 * `switched on` has nothing to fill in: it should be 1.
 */

const files = Number(process.argv[2] ?? 2_000);
const submodules = 3;
const largeFiles = 20;
const bytesPerFile = 2_000;
const gitEnv = { PATH: '/usr/local/bin:/usr/bin:/bin', HOME: '/nonexistent', GIT_CONFIG_GLOBAL: '/dev/null' };
const identity = ['-c', 'user.name=Bench', '-c', 'user.email=bench@localhost', '-c', 'gc.auto=0'];
const never = new AbortController().signal;
const poolSize = 4;
const rounds = 8;

interface Case {
  readonly name: string;
  readonly base: string;
  readonly settings: { readonly submodules?: boolean; readonly lfs?: boolean };
  /** Written by the job, to be seen in its change set. */
  readonly changed: string;
}

const root = await mkdtemp(join(tmpdir(), 'bench-contents-'));
try {
  await measureAll();
} finally {
  await removeTree(root);
}

async function measureAll(): Promise<void> {
  const plain = await makeRepository('plain', files);
  const both = { submodules: true, lfs: true };
  const cases: readonly Case[] = [
    { name: 'switched off', base: plain, settings: {}, changed: 'd0/f0.txt' },
    { name: 'switched on', base: plain, settings: both, changed: 'd0/f0.txt' },
    { name: 'submodules', base: await withSubmodules(), settings: { submodules: true }, changed: 'sub0/d0/f0.txt' },
    { name: 'LFS', base: await withLarge(), settings: { lfs: true }, changed: 'd0/f0.txt' },
  ];
  const all = [];
  // Whoever comes first pays for what is cold.
  await measure({ name: 'unmeasured', base: plain, settings: {}, changed: 'd0/f0.txt' });
  for (const one of cases) all.push({ name: one.name, figures: await measure(one) });
  const unit = all[0]?.figures ?? {};
  for (const { name, figures } of all) {
    const texts = Object.entries(figures).map(([what, ms]) => {
      return `${what} ${ms.toFixed(1)} ms (${(ms / (unit[what] ?? Number.NaN)).toPrecision(2)})`;
    });
    console.log(`${name.padEnd(13)} ${texts.join('   ')}`);
  }
}

async function measure({ name, base, settings, changed }: Case): Promise<Readonly<Record<string, number>>> {
  const directory = join(root, `service-${name.replace(' ', '-')}`);
  const manager = createWorkspaceManager({
    ...{ basePath: base, baseUrl: null, baseBranch: null, fetchDebounceMs: 0, poolSize, gitEnv, ...settings },
    jobsDir: join(directory, 'jobs'),
    scratchDir: join(directory, 'scratch'),
    resultDir: (id) => join(directory, 'runs', id),
    gitCryptKey: '/dev/null/none',
    log: { debug() {}, info() {}, warn: console.warn, error: console.error },
    clock: { now: () => Date.now() },
  });
  await manager.start(never);
  await manager.sweep();
  const times: Record<string, number[]> = { 'pool hit': [], 'no change': [], 'one change': [] };
  const time = async (what: string, work: () => Promise<unknown>) => {
    const start = performance.now();
    await work();
    times[what]?.push(performance.now() - start);
  };
  for (let n = 0; n < rounds; n += 1) {
    while (manager.ready() < poolSize) await new Promise((resolve) => setTimeout(resolve, 50));
    const made: Workspace[] = [];
    await time('pool hit', async () => made.push(await manager.create(createJobId(), never)));
    for (const workspace of made) {
      await time('no change', async () => await take(workspace, 0));
      await writeFile(join(workspace.path, changed), 'changed');
      await time('one change', async () => await take(workspace, 1));
      await workspace[Symbol.asyncDispose]();
    }
  }
  await manager.close();
  return Object.fromEntries(Object.entries(times).map(([what, all]) => [what, median(all)]));
}

/** A change set that failed is quick, and no figure. */
async function take(workspace: Workspace, changedFiles: number): Promise<void> {
  const changes = await workspace.changes();
  if (changes?.filesChanged !== changedFiles || changes.problem !== null) throw new Error(JSON.stringify(changes));
}

async function makeRepository(name: string, count: number): Promise<string> {
  const path = join(root, name);
  await mkdir(path);
  await git(path, 'init', '-q', '--initial-branch=main');
  for (let n = 0; n < count; n += 1) {
    if (n % 50 === 0) await mkdir(join(path, `d${n / 50}`), { recursive: true });
    await writeFile(join(path, `d${Math.floor(n / 50)}/f${n}.txt`), `file ${n}\n`.repeat(bytesPerFile / 10));
  }
  await git(path, 'add', '--all');
  await git(path, 'commit', '-q', '-m', 'start');
  return path;
}

async function withSubmodules(): Promise<string> {
  const base = await makeRepository('with-submodules', files);
  for (let n = 0; n < submodules; n += 1) {
    const from = await makeRepository(`submodule-${n}`, Math.ceil(files / submodules));
    await git(base, '-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', from, `sub${n}`);
  }
  await git(base, 'commit', '-q', '-m', 'submodules');
  return base;
}

async function withLarge(): Promise<string> {
  const base = await makeRepository('with-large', files);
  await git(base, 'lfs', 'install', '--local', '--skip-repo');
  await writeFile(join(base, '.gitattributes'), '*.bin filter=lfs -text\n');
  for (let n = 0; n < largeFiles; n += 1) {
    await writeFile(join(base, `large-${n}.bin`), randomBytes(Math.ceil((files * bytesPerFile) / largeFiles)));
  }
  await git(base, 'add', '--all');
  await git(base, 'commit', '-q', '-m', 'large');
  return base;
}

async function git(cwd: string, ...args: readonly string[]): Promise<void> {
  await execa('git', [...identity, ...args], { cwd, env: gitEnv, extendEnv: false });
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
