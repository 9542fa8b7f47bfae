import { describe, expect, test } from 'vitest';
import { createMemoryQueue } from '../../src/queue/memory-queue.ts';
import { waitFor } from '../helpers/wait.ts';

function held() {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { run: () => promise, end: resolve };
}

describe('the places of this machine', () => {
  test('are taken the moment that a run is added, which starts at once', async () => {
    const queue = createMemoryQueue(2);
    const started: number[] = [];
    const runs = [held(), held()];
    expect(queue.free()).toBe(2);
    for (const [n, { run }] of runs.entries()) {
      queue.add(() => {
        started.push(n);
        return run();
      });
      expect([queue.free(), started.length]).toEqual([1 - n, n + 1]);
    }
    for (const { end } of runs) end();
    await queue.idle();
    expect(queue.free()).toBe(2);
  });

  test('are free when their listeners are told so, once for each', async () => {
    const queue = createMemoryQueue(3);
    const free: number[] = [];
    queue.onFree(() => free.push(queue.free()));
    const runs = [held(), held(), held()];
    for (const { run } of runs) queue.add(run);
    expect(free).toEqual([]);
    for (const { end } of runs) {
      const before = free.length;
      end();
      while (free.length === before) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(free).toEqual([1, 2, 3]);
  });

  test('a listener can fill the place that has just become free', async () => {
    const queue = createMemoryQueue(1);
    let left = 50;
    const next = (): void => {
      if (left === 0 || queue.free() === 0) return;
      left -= 1;
      queue.add(async () => {});
    };
    queue.onFree(next);
    next();
    await waitFor(
      () => left,
      (count) => count === 0,
    );
    await queue.idle();
    expect(queue.free()).toBe(1);
  });

  test('the queue is idle when nothing was ever added, and is not while anything runs', async () => {
    const queue = createMemoryQueue(1);
    await queue.idle();
    const { run, end } = held();
    queue.add(run);
    let idle = false;
    const waiting = queue.idle().then(() => {
      idle = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(idle).toBe(false);
    end();
    await waiting;
  });
});
