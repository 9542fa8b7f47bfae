import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createDiskMeter } from '../../src/agents/disk-meter.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { Log } from '../../src/jobs/ports.ts';
import { waitFor } from '../helpers/wait.ts';
import { createRunnerFixture } from './runner-fixture.ts';

const mib = 1024 ** 2;
let dir: string;
let lines: string[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'disk-meter-'));
  lines = [];
});

afterEach(() => rm(dir, { recursive: true }));

function createMeter(limitBytes: number) {
  const note = (_fields: object, message: string): void => void lines.push(message);
  const log: Log = { debug: note, info: note, warn: note, error: note };
  return createDiskMeter({ limitBytes, minWaitMs: 10, log });
}

const write = (name: string, size: number) => writeFile(join(dir, name), Buffer.alloc(size, 1));

describe('the disk meter', () => {
  test('ends who takes more than is allowed, and nobody before', async () => {
    const meter = createMeter(4 * mib);
    await write('first', 3 * mib);
    const watch = meter.watch(createJobId(), [dir]);
    await waitFor(watch.peakBytes, (peak) => (peak ?? 0) > 2.9 * mib);
    await rename(join(dir, 'first'), join(dir, 'moved'));
    const peak = watch.peakBytes();
    expect(watch.signal.aborted).toBe(false);
    await write('second', 2 * mib);
    await waitFor(
      () => watch.signal.aborted,
      (aborted) => aborted,
    );
    expect(watch.signal.reason).toBe('disk_limit');
    expect((watch.peakBytes() ?? 0) - (peak ?? 0)).toBeGreaterThan(1.9 * mib);
    expect(lines).toEqual(['a job takes more disk space than is allowed']);
    watch.stop();
  });

  test('tells what all take together now, and nothing of those that ended', async () => {
    const meter = createMeter(0);
    for (const name of ['one', 'two']) await mkdir(join(dir, name));
    await write('one/file', 3 * mib);
    await write('two/file', 2 * mib);
    const [one, two] = ['one', 'two'].map((name) => meter.watch(createJobId(), [join(dir, name)]));
    await waitFor(meter.totalBytes, (total) => total > 4.9 * mib && total < 5.5 * mib);
    one?.stop();
    expect(meter.totalBytes()).toBeLessThan(2.5 * mib);
    two?.stop();
    expect(meter.totalBytes()).toBe(0);
    expect(one?.signal.aborted).toBe(false);
  });

  test('says so when it cannot tell, and ends nobody for that', async () => {
    const meter = createMeter(1);
    const watch = meter.watch(createJobId(), [join(dir, 'none')]);
    await waitFor(
      () => lines,
      (seen) => seen.includes('what a job takes on disk could not be told'),
    );
    expect([watch.signal.aborted, watch.peakBytes()]).toEqual([false, null]);
    watch.stop();
  });
});

describe('a run that takes more disk than is allowed', () => {
  test.each(['workspace', 'temporary directory'])('is ended, its tree with it: %s', async (where) => {
    const target = where === 'workspace' ? 'large' : '$TMPDIR/large';
    await using fixture = await createRunnerFixture({ disk: createMeter(4 * mib), graceMs: 1_000 });
    const outcome = await fixture.run(`say: half\nbash: head -c ${8 * mib} /dev/zero > ${target}; sleep 300`);
    expect(outcome).toMatchObject({
      ...{ status: 'failed', reason: 'disk_limit' },
      error: 'The job took more disk space than is allowed',
      report: { diskBytes: expect.toSatisfy((bytes: number) => bytes > 4 * mib && bytes < 9 * mib) },
    });
  });

  test('is not ended where it stays below, and its figure is in the report', async () => {
    const disk = createMeter(64 * mib);
    await using fixture = await createRunnerFixture({ disk });
    const script = `bash: head -c ${8 * mib} /dev/zero > large; while [ ! -e seen ]; do sleep 0.05; done\nsay: done`;
    const run = fixture.start(script);
    await waitFor(disk.totalBytes, (bytes) => bytes > 8 * mib);
    await writeFile(join(fixture.workspacePath, 'seen'), '');
    expect(await run.outcome).toMatchObject({
      ...{ status: 'completed', reason: 'ok' },
      report: { diskBytes: expect.toSatisfy((bytes: number) => bytes > 8 * mib) },
    });
  });
});
