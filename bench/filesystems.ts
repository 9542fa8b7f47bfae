import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';

/**
 * The benches of workspaces and of starting jobs on file systems of other kinds, each on a loop device in a file that goes with
 * it: ext4 with a journal, and two that share blocks. Needs root, loop devices and the mkfs of each.
 *
 *   node bench/filesystems.ts [files ...]     default: 200 10000; sizes as for bench/workspaces.ts
 */

const sizes = process.argv.slice(2).length === 0 ? ['200', '10000'] : process.argv.slice(2);
const filesOfJobs = '200';
/** Holes take no space: what is written does. */
const imageBytes = 8 * 1024 ** 3;
const makers: Readonly<Record<string, readonly string[]>> = {
  ext4: ['mkfs.ext4', '-q', '-F'],
  xfs: ['mkfs.xfs', '-q', '-f', '-m', 'reflink=1'],
  btrfs: ['mkfs.btrfs', '-q', '-f'],
};
/** Processes of a service that just ended may hold it for a moment. */
const unmountTries = 20;

// An interrupt ends the bench under way; what was mounted must still go.
process.on('SIGINT', () => undefined);
const root = await mkdtemp(join(tmpdir(), 'bench-filesystems-'));
try {
  for (const [name, maker] of Object.entries(makers)) await onFileSystem(name, maker, runBenches);
} finally {
  await rm(root, { recursive: true, force: true });
}

async function runBenches(directory: string): Promise<void> {
  const how = {
    cwd: join(import.meta.dirname, '..'),
    env: { TMPDIR: directory },
    stdio: 'inherit',
    node: true,
  } as const;
  await execa(process.execPath, ['bench/workspaces.ts', ...sizes], how);
  await execa(process.execPath, ['bench/bench.ts', filesOfJobs], how);
}

async function onFileSystem(
  name: string,
  [maker = '', ...options]: readonly string[],
  work: (directory: string) => Promise<void>,
): Promise<void> {
  const [image, directory] = [join(root, `${name}.img`), join(root, name)];
  await writeFile(image, '');
  await truncate(image, imageBytes);
  await mkdir(directory);
  await execa(maker, [...options, image]);
  await execa('mount', ['-o', 'loop', image, directory]);
  try {
    console.log(`\n${name}`);
    await work(directory);
  } finally {
    await unmount(directory);
    await rm(image);
  }
}

async function unmount(directory: string): Promise<void> {
  for (let left = unmountTries; left > 0; left -= 1) {
    const { failed } = await execa('umount', [directory], { reject: left === 1 });
    if (!failed) return;
    await delay(500);
  }
}
