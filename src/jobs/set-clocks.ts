import type { Clock } from './ports.ts';

/** More than a correction of a clock that runs, in ms: somebody set it. */
const toleranceMs = 5_000;

/**
 * The time that ages are reckoned by, so that nothing is taken for old because the clock was set forward: it goes on as if nothing had
 * happened, for `believedAfterMs`, and only then is the new time believed. `elapsed` is a clock that nobody can set.
 */
export function createAgeClock(clock: Clock, elapsed: Clock, believedAfterMs: number): Clock {
  let last = { at: clock.now(), elapsed: elapsed.now() };
  let setAt: number | null = null;
  return {
    now() {
      const [at, passed] = [clock.now(), elapsed.now()];
      const expected = last.at + Math.round(passed - last.elapsed);
      if (at - expected > toleranceMs) {
        setAt ??= passed;
        if (passed - setAt < believedAfterMs) return expected;
      }
      setAt = null;
      last = { at, elapsed: passed };
      return at;
    },
  };
}

/** The time by which something is due, so that nothing waits for hours because the clock was set back: it never goes back. */
export function createDueClock(clock: Clock, elapsed: Clock): Clock {
  let last = { at: clock.now(), elapsed: elapsed.now() };
  return {
    now() {
      const passed = elapsed.now();
      const expected = last.at + Math.round(passed - last.elapsed);
      const at = clock.now();
      if (at < expected) return expected;
      last = { at, elapsed: passed };
      return at;
    },
  };
}
