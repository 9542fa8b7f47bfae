import { execFileSync } from 'node:child_process';
import { appendFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startServiceProcess, temporaryDirectory } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';
import { createGate } from './steering.ts';

/** A small file system of its own, unmounted after the test; null where none may be mounted. */
async function mountSmallDisk(): Promise<string | null> {
  const directory = await temporaryDirectory();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', directory], { stdio: 'pipe' });
  } catch {
    return null;
  }
  // Lazily: an agent that stands in it must not keep the test from its end.
  onTestFinished(() => void execFileSync('umount', ['-l', directory]));
  return directory;
}

/** Writes until nothing more goes in, byte by byte at last. */
function fill(file: string): void {
  for (let size = 1024 * 1024; size >= 1; ) {
    try {
      appendFileSync(file, Buffer.alloc(size));
    } catch {
      size = Math.floor(size / 2);
    }
  }
}

test('a disk that is full refuses submits, keeps what there is readable and what runs running, and is left behind', async (context) => {
  const disk = await mountSmallDisk();
  if (disk === null) {
    process.stderr.write('SKIPPED: a full disk under the whole service needs the right to mount a tmpfs (root)\n');
    return context.skip();
  }
  const gate = await createGate();
  const service = await startServiceProcess({
    dataDir: join(disk, 'data'),
    env: { MIN_FREE_DISK_BYTES: '0', JOBS_DIR: await temporaryDirectory() },
  });
  const done = await service.submit({ prompt: 'say: done' });
  await service.finished(done);
  const running = await service.submit({ prompt: `${gate.line}\nsay: through` });
  const cancelled = await service.submit({ prompt: 'forever' });
  // An agent that cannot write its first line has a reason to fail: both have begun.
  for (const id of [running, cancelled]) {
    await waitFor(
      async () => await (await service.fetch(`/jobs/${id}/log`)).text(),
      (log) => log.includes('"subtype":"init"'),
      { what: 'the first line of the agent' },
    );
  }

  fill(join(disk, 'ballast'));
  const submit = () => service.post('/execute', { prompt: 'say: x'.repeat(10_000) });
  // What the write-ahead log has room for is still taken, and durable.
  const refused = await waitFor(submit, ({ status }) => status !== 202, { what: 'a refusal' });
  expect(refused.status).toBe(503);
  expect(refused.headers.get('retry-after')).not.toBeNull();
  expect(await service.read(`/jobs/${done}`)).toMatchObject({ status: 'completed' });
  expect(await service.read(`/jobs/${running}`)).toMatchObject({ status: 'running' });
  expect((await service.fetch('/livez')).status).toBe(200);
  await service.fetch(`/jobs/${cancelled}`, { method: 'DELETE' });

  rmSync(join(disk, 'ballast'));
  await gate.open();
  expect(await service.finished(running)).toMatchObject({ status: 'completed', result: 'through' });
  expect(await service.finished(await service.submit({ prompt: 'say: again' }))).toMatchObject({ result: 'again' });
  await waitFor(
    async () => (await service.fetch('/readyz')).status,
    (status) => status === 200,
  );
});
