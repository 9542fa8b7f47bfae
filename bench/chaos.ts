import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runChaos } from '../test/stress/chaos.ts';

/** Kills the service at random points under load, in batches: `node bench/chaos.ts [kills]`. Exit code 1 if a promise was broken. */
const wanted = Number(process.argv[2] ?? 2_000);
const batch = 50;
let broken = 0;
for (let done = 0; done < wanted; done += batch) {
  const directory = mkdtempSync(join(tmpdir(), 'chaos-'));
  const startedAt = performance.now();
  const { kills, faults, ...report } = await runChaos(directory, Math.min(batch, wanted - done));
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  process.stdout.write(`${JSON.stringify({ kills: done + kills, seconds, ...report, ...faults })}\n`);
  broken += Object.values(faults).flat().length;
  rmSync(directory, { recursive: true, maxRetries: 5 });
}
process.exitCode = broken === 0 ? 0 : 1;
