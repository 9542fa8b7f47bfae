import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * The commit that a ref of a repository names (`HEAD`, or a full name such as `refs/heads/main`), read from its files: a git
 * process would cost more than all else around a clone. Null if there is none, or if it is kept in another form than files.
 */
export async function readRef(gitDir: string, name: string): Promise<string | null> {
  const text = await readIfThere(join(gitDir, name));
  const target = text?.match(/^ref: (refs\/\S+)\n$/)?.[1];
  if (target !== undefined) return await readRef(gitDir, target);
  if (text !== null) return text.match(/^([0-9a-f]{40,64})\n$/)?.[1] ?? null;
  return await readPackedRef(gitDir, name);
}

async function readPackedRef(gitDir: string, name: string): Promise<string | null> {
  const lines = (await readIfThere(join(gitDir, 'packed-refs')))?.split('\n') ?? [];
  const line = lines.find((candidate) => candidate.endsWith(` ${name}`));
  return line?.slice(0, line.indexOf(' ')) ?? null;
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return null; // Not there, or a directory: then another file has it, or nothing does.
  }
}
