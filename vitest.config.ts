import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

const cores = availableParallelism();

/** Real processes and real git on a busy machine: far above what a good run needs, so that only a hang reaches it. */
const unitTimeoutMs = 30_000;
/** An end-to-end test starts the service and agents several times over. */
const e2eTimeoutMs = 120_000;

/** Where the outcome is written as JSON for a machine to read, beside what is printed for people. */
const jsonFile = process.env['VITEST_JSON'];

const common = { globals: false, setupFiles: ['test/helpers/no-credentials.ts'] };

export default defineConfig({
  test: {
    reporters: jsonFile === undefined ? ['default'] : ['default', ['json', { outputFile: jsonFile }]],
    projects: [
      {
        test: {
          ...common,
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/e2e/**', 'test/sdk/**'],
          testTimeout: unitTimeoutMs,
          hookTimeout: unitTimeoutMs,
          // Most of a test's time is spent waiting for child processes, so one worker more than there are cores.
          maxWorkers: cores + 1,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...common,
          name: 'e2e',
          include: ['test/{e2e,sdk}/**/*.test.ts'],
          testTimeout: e2eTimeoutMs,
          hookTimeout: e2eTimeoutMs,
          // Each starts a service that runs several agents at once: a file per two cores is load enough.
          maxWorkers: Math.max(1, Math.floor(cores / 2)),
          // After the unit tests, so that neither slows the other down.
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
