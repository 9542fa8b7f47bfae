import { describe, expect, test } from 'vitest';
import { createRunTimes } from '../../src/jobs/expected-start.ts';

function timesOf(capacity: number, durations: readonly number[]) {
  const times = createRunTimes(capacity);
  for (const duration of durations) times.observe(duration);
  return times;
}

describe('the expected start', () => {
  test('is not told as long as too few runs are known', () => {
    expect(timesOf(1, [10, 10, 10, 10]).expectedStart(1, 1, 0)).toBeNull();
  });

  test('is now while there are free places', () => {
    const times = timesOf(3, [100, 100, 100, 100, 100]);
    expect(times.expectedStart(2, 1, 50)).toEqual({ at: 50, earliest: 50, latest: 50, samples: 5 });
    expect(times.expectedStart(3, 1, 50)?.at).toBeGreaterThan(50);
  });

  test('follows from the place, the capacity and the measured times', () => {
    const times = timesOf(2, [100, 100, 100, 100, 100]);
    expect(times.expectedStart(1, 2, 0)).toMatchObject({ at: 50, earliest: 0, latest: 100 });
    expect(times.expectedStart(4, 2, 0)).toMatchObject({ at: 200, earliest: 100, latest: 200 });
  });

  test('is wide where runs differ, never contradicts itself, and follows the latest runs', () => {
    const times = timesOf(1, [1, 1, 1, 1, 1, 1, 1, 1, 1, 10_000]);
    for (let place = 1; place < 50; place += 1) {
      const { at, earliest, latest } = times.expectedStart(place, 1, 7) ?? { at: 0, earliest: 1, latest: 0 };
      expect(earliest <= at && at <= latest).toBe(true);
    }
    for (let n = 0; n < 100; n += 1) times.observe(20);
    expect(times.expectedStart(3, 1, 0)).toMatchObject({ at: 60, earliest: 40, latest: 60, samples: 100 });
  });

  test('is close to what a queue really does', () => {
    const durations = Array.from({ length: 400 }, (_, n) => 50 + ((n * 37) % 100));
    const capacity = 4;
    const times = timesOf(capacity, durations.slice(0, 100));
    const places = Array.from({ length: capacity }, () => 0);
    const starts = durations.slice(100).map((duration) => {
      const first = places.indexOf(Math.min(...places));
      const start = places[first] ?? 0;
      places[first] = start + duration;
      return start;
    });
    for (let place = 20; place < 200; place += 20) {
      const expected = times.expectedStart(place, capacity, 0)?.at ?? 0;
      const real = starts[capacity + place - 1] ?? 0;
      expect(Math.abs(expected - real) / real).toBeLessThan(0.2);
    }
  });
});
