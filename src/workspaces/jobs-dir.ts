import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';

/** Null if it is not there. */
export async function deviceOf(path: string): Promise<number | null> {
  return await stat(path).then(
    ({ dev }) => dev,
    () => null,
  );
}

/** Why no workspace can be made there, a sentence; null if one can. */
export async function checkJobsDir(path: string): Promise<string | null> {
  return await access(path, constants.W_OK | constants.X_OK).then(
    () => null,
    () => 'The service cannot write JOBS_DIR: make it, or change its owner',
  );
}
