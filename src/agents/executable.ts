import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { delimiter, isAbsolute, join, resolve } from 'node:path';

/**
 * The absolute path of a program: a name is looked for on `searchPath`, a path is taken from the service's own directory.
 * Null if there is none that may be run. Settled here because the system would look from the agent's working directory,
 * where a repository may hold a program of that name.
 */
export async function findExecutable(file: string, searchPath: string | undefined): Promise<string | null> {
  if (file.includes('/')) return (await isExecutable(resolve(file))) ? resolve(file) : null;
  for (const directory of (searchPath ?? '').split(delimiter).filter(isAbsolute)) {
    const path = join(directory, file);
    if (await isExecutable(path)) return path;
  }
  return null;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    // Absent, or not for us: either way it cannot be run.
    return false;
  }
}
