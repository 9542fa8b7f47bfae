import { existsSync, readFileSync } from 'node:fs';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { waitFor } from '../helpers/wait.ts';
import { createRunnerFixture, type RunnerFixture } from './runner-fixture.ts';

const never = new AbortController().signal;
let fixture: RunnerFixture;

beforeEach(async () => {
  fixture = await createRunnerFixture();
});

afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

describe('the files of a run', () => {
  test('are closed to others; what the agent kept for itself goes with the run, the logs stay until they are forgotten', async () => {
    const run = fixture.start('write: ../runs/left/by 1\nsay: hello');
    await run.outcome;
    const directory = join(fixture.runsDir, run.id);
    expect((await readdir(directory)).sort()).toEqual(['order', 'prompt', 'stderr.log', 'stdout.log']);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    expect((await stat(fixture.runsDir)).mode & 0o777).toBe(0o700);
    await fixture.runner.forget(run.id);
    expect(existsSync(directory)).toBe(false);
    await waitFor(
      () => readdir(fixture.runsDir),
      (names) => names.join() === 'left',
    );
  });

  test('of a dead process are swept: the logs of jobs that are known stay', async () => {
    const [known, unknown] = [fixture.start('say: a'), fixture.start('say: b')];
    await Promise.all([known.outcome, unknown.outcome]);
    const later = await createRunnerFixture({ runsDir: fixture.runsDir });
    await writeFile(join(fixture.runsDir, known.id, 'tmp'), 'left');
    await writeFile(join(fixture.runsDir, '.trash-1'), 'left');
    await writeFile(join(fixture.runsDir, '.check-1'), 'left');
    await writeFile(join(fixture.runsDir, 'notes.txt'), 'not ours');
    await later.runner.sweep(async (id) => id === known.id);
    await waitFor(
      async () => (await readdir(fixture.runsDir)).sort(),
      (names) => names.join() === [known.id, 'notes.txt'].join(),
    );
    const kept = await waitFor(
      async () => (await readdir(join(fixture.runsDir, known.id))).sort(),
      (names) => !names.includes('tmp'),
    );
    expect(kept).toEqual(['order', 'prompt', 'stderr.log', 'stdout.log']);
    await later[Symbol.asyncDispose]();
  });

  test('of a run under way are neither swept nor forgotten', async () => {
    const run = fixture.start('say: begun\nsleep-ms: 300\nsay: done');
    for await (const event of fixture.runner.follow(run.id, never)) if (event.type === 'text') break;
    await fixture.runner.sweep(async () => false);
    await fixture.runner.forget(run.id);
    expect(await run.outcome).toMatchObject({ status: 'completed', report: { result: 'done' } });
  });
});

describe('the check of the CLI', () => {
  test('passes where the CLI says its version, and is made once for all who ask in half a minute', async () => {
    let now = 0;
    const counted = join(fixture.workspacePath, 'counted');
    const script = join(fixture.workspacePath, 'cli');
    await writeFile(script, `#!/bin/sh\necho x >> ${counted}\n`, { mode: 0o755 });
    await using checked = await createRunnerFixture({ bin: { claude: script }, clock: { now: () => now } });
    const count = (): number => readFileSync(counted, 'utf8').length / 2;
    expect(await Promise.all([checked.runner.check(), checked.runner.check()])).toEqual([null, null]);
    now = 29_999;
    expect(await checked.runner.check()).toBeNull();
    expect(count()).toBe(1);
    now = 30_000;
    expect(await checked.runner.check()).toBeNull();
    expect(count()).toBe(2);
    expect(checked.complaints).toEqual([]);
  });

  test('tells a CLI that is only half installed from one that does not run', async () => {
    const script = join(fixture.workspacePath, 'cli');
    await writeFile(script, `#!/bin/sh\necho 'Error: claude native binary not installed.' >&2\nexit 1\n`, {
      mode: 0o755,
    });
    await using half = await createRunnerFixture({ bin: { claude: script } });
    expect(await half.runner.check()).toContain('is only half installed: install it');
    await writeFile(script, '#!/bin/sh\nexit 2\n', { mode: 0o755 });
    await using broken = await createRunnerFixture({ bin: { claude: script } });
    expect(await broken.runner.check()).toContain('does not run: install it');
  });
});
