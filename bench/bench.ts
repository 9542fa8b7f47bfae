import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { benchAccepting } from './accepting.ts';
import { benchHolding } from './holding.ts';
import { benchStarting } from './starting.ts';

/**
 * What the service costs beyond the bare parts, each measured in the same run: take the ratios, not the figures. With numbers of files,
 * `node bench/bench.ts 60000`, only how jobs start and end in repositories of that size.
 */

const sizes = process.argv.slice(2).map(Number);
/** Rounds of one job after the other: as many as end in a minute. */
const roundsOf = (files: number): number => Math.max(3, Math.min(30, Math.round(60_000 / files)));
const dir = await mkdtemp(join(tmpdir(), 'bench-'));
try {
  if (sizes.length === 0) await benchAccepting();
  for (const files of sizes.length === 0 ? [200, 10_000] : sizes) await benchStarting(dir, files, roundsOf(files));
  if (sizes.length === 0) await benchHolding();
} finally {
  await rm(dir, { recursive: true, force: true });
}
