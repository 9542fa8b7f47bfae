import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createAttempts, Refusal } from '../../src/workspaces/attempts.ts';
import { waitFor } from '../helpers/wait.ts';
import { cleanUpAfterEach, cleanUpLater, never, recordingLog } from './fixture.ts';

cleanUpAfterEach();

function create(retryMs: number) {
  let now = 0;
  const attempts = createAttempts({ retryMs, log: recordingLog(), clock: { now: () => now } });
  cleanUpLater(async () => attempts.close());
  return { attempts, advance: (ms: number) => (now += ms) };
}

const aMinute = 60_000;

test('those who need the same share one attempt, and what differs is done one after the other', async () => {
  const { attempts } = create(aMinute);
  let running = 0;
  const seen: number[] = [];
  const work = async () => {
    running += 1;
    seen.push(running);
    await delay(1);
    running -= 1;
  };
  await Promise.all(['a', 'a', 'b', 'c'].map((key) => attempts.need(key, work, never)));
  expect(seen).toEqual([1, 1, 1]);
  expect(attempts.revision()).toBe(0);
});

test('what failed is not waited for again; it is tried again for those who come a while later', async () => {
  const { attempts, advance } = create(aMinute);
  let tries = 0;
  const work = async () => {
    tries += 1;
    if (tries === 1) throw new Refusal('it is away');
  };
  expect(await attempts.need('a', work, never)).toBe('it is away');
  expect(await attempts.need('a', work, never)).toBe('it is away');
  expect(tries).toBe(1);
  advance(aMinute);
  expect(await attempts.need('a', work, never)).toBe('it is away');
  await waitFor(attempts.revision, (revision) => revision === 1, { what: 'the second attempt' });
  expect(await attempts.need('a', work, never)).toBeNull();
});

test('it is tried again without anybody, too', async () => {
  const { attempts } = create(5);
  let tries = 0;
  const work = async () => {
    tries += 1;
    if (tries < 4) throw new Refusal('it is away');
  };
  expect(await attempts.need('a', work, never)).toBe('it is away');
  await waitFor(attempts.revision, (revision) => revision === 1, { what: 'the fourth attempt' });
  expect(tries).toBe(4);
});

test('who gives up waiting ends nothing, and the late success counts as news', async () => {
  const { attempts } = create(aMinute);
  const { promise, resolve } = Promise.withResolvers<void>();
  const impatient = new AbortController();
  const given = attempts.need('a', async () => await promise, impatient.signal);
  const patient = attempts.need('a', async () => await promise, never);
  impatient.abort(new Error('enough'));
  await expect(given).rejects.toThrow('enough');
  resolve();
  expect(await patient).toBeNull();
  expect(attempts.revision()).toBe(1);
});
