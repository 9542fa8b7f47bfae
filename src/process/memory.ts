import { readFile } from 'node:fs/promises';
import { livingProcesses } from './process-table.ts';

/** What a process and all that it started hold in memory, in bytes; 0 where that cannot be told. */
export async function rssOf(pid: number): Promise<number> {
  const all = (await livingProcesses()) ?? [];
  const tree = new Set([pid]);
  for (let before = 0; before !== tree.size; ) {
    before = tree.size;
    for (const entry of all) if (tree.has(entry.parent)) tree.add(entry.pid);
  }
  const sizes = await Promise.all([...tree].map(rssOfOne));
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}

async function rssOfOne(pid: number): Promise<number> {
  // It may have ended while we looked.
  const status = await readFile(`/proc/${pid}/status`, 'latin1').catch(() => '');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}
