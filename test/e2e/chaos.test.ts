import { expect, test } from 'vitest';
import { temporaryDirectory } from '../helpers/service-process.ts';
import { runChaos } from '../stress/chaos.ts';

/** Enough to meet each kind of moment; `bench/chaos.ts` does many more. */
const kills = 50;

test('a service that is killed again and again loses no acknowledged job and runs none more often than allowed', async () => {
  const { faults, ...report } = await runChaos(await temporaryDirectory(), kills);
  expect(faults).toEqual({
    ...{ missing: [], ranTooOften: [], overlapped: [], notRun: [], tooEarly: [], outOfOrder: [], brokenEvents: [] },
  });
  expect(report.kills).toBe(kills);
  expect(report.acknowledged).toBeGreaterThan(0);
  expect(report.byStatus['completed']).toBeGreaterThan(0);
}, 600_000);
