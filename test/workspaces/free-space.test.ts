import { expect, test } from 'vitest';
import { createFreeSpaceCheck } from '../../src/workspaces/free-space.ts';
import { cleanUpAfterEach, recordingLog, temporaryDirectory } from './fixture.ts';

cleanUpAfterEach();

test('free space below the floor is told with the directory, above it nothing, and what is not there is no reason', async () => {
  const path = await temporaryDirectory();
  let now = 0;
  const common = { clock: { now: () => now }, log: recordingLog() };
  const check = (minFreeBytes: number, directories: Readonly<Record<string, string>>) =>
    createFreeSpaceCheck({ ...common, minFreeBytes, directories })();
  expect(await check(1, { JOBS_DIR: path })).toBeNull();
  expect(await check(2 ** 60, { JOBS_DIR: path })).toContain('JOBS_DIR');
  expect(await check(2 ** 60, { JOBS_DIR: `${path}/none` })).toBeNull();
  const directories = { JOBS_DIR: `${path}/none` };
  const kept = createFreeSpaceCheck({ ...common, minFreeBytes: 2 ** 60, directories });
  expect(await kept()).toBeNull();
  directories.JOBS_DIR = path;
  expect(await kept()).toBeNull();
  now += 1_000;
  expect(await kept()).toContain('JOBS_DIR');
});
