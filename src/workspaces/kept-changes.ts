import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChangeSet } from '../jobs/change-set.ts';

export const patchFile = 'changes.patch';
export const detailsFile = 'changes.json';

/** What `take` kept of a job; null if there is nothing. */
export async function readDetails(directory: string): Promise<ChangeSet | null> {
  try {
    return JSON.parse(await readFile(join(directory, detailsFile), 'utf8')) as ChangeSet;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}

/** The patch that `take` kept; null if there is none. */
export async function openPatch(directory: string) {
  try {
    return (await open(join(directory, patchFile))).createReadStream();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}
