import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { UnavailableError } from '../../src/jobs/errors.ts';
import type { Log, Store } from '../../src/jobs/ports.ts';
import { createSqliteStore } from '../../src/store/sqlite-store.ts';
import { createWorkerChannel } from '../../src/store/worker-channel.ts';
import { newJob, roomy } from '../contracts/job-builders.ts';
import { describeJobStore } from '../contracts/job-store.ts';

const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

function temporaryDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'sqlite-store-'));
}

describeJobStore('the SQLite store', async () => {
  const directory = temporaryDirectory();
  const open = () => createSqliteStore({ file: join(directory, 'jobs.db'), log: quiet });
  const store = open();
  let current = store;
  return {
    store,
    reopen: async () => {
      await current.close();
      current = open();
      return current;
    },
    close: async () => {
      await current.close();
      rmSync(directory, { recursive: true });
    },
  };
});

describe('the file of the SQLite store', () => {
  let directory: string;
  let file: string;
  const stores: Store[] = [];

  beforeEach(() => {
    directory = temporaryDirectory();
    file = join(directory, 'data', 'jobs.db');
  });
  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close();
    rmSync(directory, { recursive: true });
  });

  const open = (path = file): Store => {
    const store = createSqliteStore({ file: path, log: quiet });
    stores.push(store);
    return store;
  };
  const makeStore = async (): Promise<void> => {
    const store = open();
    for (let n = 0; n < 50; n += 1) await store.jobs.submit(newJob({ spec: { prompt: 'x'.repeat(5_000) } }), roomy);
    await store.close();
  };

  test('is made with its directory, for its owner alone', async () => {
    await open().ready();
    const modes = [join(directory, 'data'), file, `${file}-wal`].map((path) => statSync(path).mode & 0o777);
    expect(modes).toEqual([0o700, 0o600, 0o600]);
  });

  test('takes no harm from a request that fails: what was written with it is written, and the counts are right', async () => {
    const store = open();
    const [first, twice, last] = [newJob(), newJob(), newJob()];
    const submits = [first, twice, twice, last].map((job) => store.jobs.submit(job, { maxUnfinished: 4 }));
    const [, , failed] = await Promise.allSettled(submits);
    expect(failed?.status === 'rejected' && failed.reason instanceof UnavailableError).toBe(true);
    await Promise.all([submits[0], submits[1], submits[3]]);
    expect(store.membership.counts()).toEqual({ queued: 3, running: 0 });
    const fourth = await store.jobs.submit(newJob(), { maxUnfinished: 4 });
    expect(fourth).toMatchObject({ outcome: 'admitted', job: { queuePosition: 4 } });
    expect(await store.jobs.submit(newJob(), { maxUnfinished: 4 })).toEqual({ outcome: 'queue_full' });
  });

  test('is refused to a second store, which says so; the first goes on', async () => {
    const first = open();
    await first.ready();
    const startedAt = performance.now();
    const second = open();
    await expect(second.ready()).rejects.toThrow(/jobs\.db cannot be opened: another service is using it/);
    // Waits one second for a predecessor; the rest is room for a loaded machine.
    expect(performance.now() - startedAt).toBeLessThan(8_000);
    const refused = second.jobs.submit(newJob(), roomy);
    await expect(refused).rejects.toBeInstanceOf(UnavailableError);
    await expect(refused).rejects.not.toThrow(directory);
    expect(await first.jobs.submit(newJob(), roomy)).toMatchObject({ outcome: 'admitted' });
  });

  test('is free for the next store once it is closed', async () => {
    await open().close();
    await expect(open().ready()).resolves.toBeUndefined();
  });

  test('of a newer service is refused and left unchanged', async () => {
    await makeStore();
    const db = new DatabaseSync(file);
    db.exec('PRAGMA user_version = 999');
    db.close();
    await expect(open().ready()).rejects.toThrow(/its schema has version 999, this service knows versions up to \d+/);
    const after = new DatabaseSync(file);
    expect(after.prepare('PRAGMA user_version').get()).toEqual({ user_version: 999 });
    after.close();
  });

  test('that is no database is refused and left unchanged', async () => {
    const text = 'precious notes\n'.repeat(1_000);
    file = join(directory, 'notes.txt');
    writeFileSync(file, text);
    await expect(open().ready()).rejects.toThrow(/notes\.txt cannot be opened: it is not an SQLite database/);
    expect(readFileSync(file, 'utf8') === text).toBe(true);
  });

  test('that was cut off is refused as damaged', async () => {
    await makeStore();
    truncateSync(file, 8_192);
    await expect(open().ready()).rejects.toThrow(/cannot be opened: it is damaged/);
  });

  test('with garbage behind a good beginning is refused as damaged, and says what to do', async () => {
    await makeStore();
    const size = statSync(file).size;
    const fd = openSync(file, 'r+');
    writeSync(fd, Buffer.alloc(size, 0x5a), 0, size - 8_192, 8_192);
    closeSync(fd);
    await expect(open().ready()).rejects.toThrow(/jobs\.db cannot be opened: it is damaged\. .*move it away/);
  });

  test('in a place where none can be is refused', async () => {
    writeFileSync(join(directory, 'plain'), '');
    await expect(open(join(directory, 'plain', 'jobs.db')).ready()).rejects.toThrow(
      /jobs\.db cannot be opened: .*(EEXIST|ENOTDIR)/,
    );
  });

  test('refused before anybody asked harms nobody, and can be closed', async () => {
    const store = open(directory);
    await store.close();
    await expect(store.ready()).rejects.toThrow(/cannot be opened/);
  });
});

describe('the thread of the store', () => {
  const input = { file: '', incarnation: 'test' };
  const programs = {
    'throws on its first request': `parentPort.on('message', () => { throw new Error('broken'); });`,
    'ends on its first request': `parentPort.on('message', () => process.exit(3));`,
  };
  test.each(Object.entries(programs))(
    'when it %s, all that was and will be asked is rejected, and it is logged',
    async (_, body) => {
      const errors: string[] = [];
      const log: Log = { ...quiet, error: (_fields, message) => errors.push(message) };
      const code = `import { parentPort } from 'node:worker_threads';
      parentPort.postMessage({ type: 'opened', counts: { queued: 0, running: 0 } }); ${body}`;
      const program = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
      const channel = createWorkerChannel({ program, input, log });
      await channel.opened();
      const asked = await Promise.allSettled([
        channel.call('probe', null),
        channel.call('claim', { freeSlots: 1, startedAt: 1 }),
      ]);
      asked.push(...(await Promise.allSettled([channel.call('probe', null)])));
      expect(asked.map((answer) => answer.status === 'rejected' && answer.reason instanceof UnavailableError)).toEqual([
        true,
        true,
        true,
      ]);
      await channel.close();
      expect(errors).toEqual([expect.stringContaining('The job store has stopped')]);
    },
  );
});
