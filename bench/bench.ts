import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { benchAccepting } from './accepting.ts';
import { benchHolding } from './holding.ts';
import { benchStarting } from './starting.ts';

/** What the service costs beyond the bare parts, each measured in the same run: take the ratios, not the figures. */

const dir = await mkdtemp(join(tmpdir(), 'bench-'));
try {
  await benchAccepting();
  await benchStarting(dir, 200, 30);
  await benchStarting(dir, 10_000, 6);
  await benchHolding();
} finally {
  await rm(dir, { recursive: true, force: true });
}
