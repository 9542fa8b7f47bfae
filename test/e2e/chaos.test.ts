import { expect, test } from 'vitest';
import { temporaryDirectory } from '../helpers/service-process.ts';
import { runChaos } from '../stress/chaos.ts';

/** Enough to meet each kind of moment in most runs; `bench/chaos.ts` does many more. */
const kills = 12;

test('a service that is killed again and again loses no acknowledged job and runs none twice', async () => {
  const report = await runChaos({ directory: await temporaryDirectory(), kills, clients: 2, maxLifeMs: 1_500 });
  expect(report).toMatchObject({ missing: [], ranTwice: [], notRun: [], outOfOrder: [], brokenEvents: [] });
  expect(report.acknowledged).toBeGreaterThan(0);
  expect(report.byStatus['completed']).toBeGreaterThan(0);
});
