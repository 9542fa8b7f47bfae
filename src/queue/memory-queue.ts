import PQueue from 'p-queue';
import type { JobQueue } from '../jobs/ports.ts';

/** The places of this machine: p-queue bounds how many jobs run at once. Nothing waits in it: who waits is a row of the store. */
export function createMemoryQueue(capacity: number): JobQueue {
  const queue = new PQueue({ concurrency: capacity });
  return {
    free: () => Math.max(0, capacity - queue.pending - queue.size),
    add(run) {
      void queue.add(run);
    },
    onFree(listener) {
      // Emitted once a task has ended and its place is counted as free: its promise settles before that.
      queue.addEventListener('next', listener);
    },
    idle: () => queue.onIdle(),
  };
}
