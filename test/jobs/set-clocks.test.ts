import { describe, expect, test } from 'vitest';
import { createAgeClock, createDueClock } from '../../src/jobs/set-clocks.ts';
import { hourMs } from './jobs-fixture.ts';

/** A clock that can be set, and one that cannot. */
function createTimes() {
  let [now, elapsed] = [1_000_000, 0];
  return {
    clock: { now: () => now },
    elapsed: { now: () => elapsed },
    pass(ms: number) {
      now += ms;
      elapsed += ms;
    },
    set: (ms: number) => void (now += ms),
  };
}

describe('the clock of ages', () => {
  test('goes with the clock as long as nobody sets it', () => {
    const times = createTimes();
    const ages = createAgeClock(times.clock, times.elapsed, hourMs);
    times.pass(5 * hourMs);
    expect(ages.now()).toBe(times.clock.now());
    times.set(300);
    expect(ages.now()).toBe(times.clock.now());
  });

  test('goes on as if nothing had happened when the clock is set forward, and believes it in the end', () => {
    const times = createTimes();
    const ages = createAgeClock(times.clock, times.elapsed, hourMs);
    times.set(5 * hourMs);
    expect(ages.now()).toBe(1_000_000);
    times.pass(hourMs - 1);
    expect(ages.now()).toBe(1_000_000 + hourMs - 1);
    times.pass(1);
    expect(ages.now()).toBe(times.clock.now());
    times.pass(10);
    expect(ages.now()).toBe(times.clock.now());
  });

  test('follows a clock that is set back, also right after it was set forward', () => {
    const times = createTimes();
    const ages = createAgeClock(times.clock, times.elapsed, hourMs);
    times.set(-3 * hourMs);
    expect(ages.now()).toBe(times.clock.now());
    times.set(3 * hourMs);
    expect(ages.now()).toBe(times.clock.now() - 3 * hourMs);
    times.set(-3 * hourMs);
    expect(ages.now()).toBe(times.clock.now());
  });
});

test('the clock of what is due never goes back', () => {
  const times = createTimes();
  const dues = createDueClock(times.clock, times.elapsed);
  times.pass(1_000);
  expect(dues.now()).toBe(1_001_000);
  times.set(-5 * hourMs);
  times.pass(7_000);
  expect(dues.now()).toBe(1_008_000);
  times.set(9 * hourMs);
  expect(dues.now()).toBe(times.clock.now());
});
