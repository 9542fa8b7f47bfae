import { expect, test } from 'vitest';
import { createReadiness, type ReadinessCheck } from '../../src/http/readiness.ts';

const never = new Promise<never>(() => {});

function readinessOf(checks: readonly Partial<ReadinessCheck>[]) {
  let now = 1_000_000;
  const complete = checks.map((check) => ({ what: 'The disk', check: async () => null, maxAgeMs: 1000, ...check }));
  const ready = createReadiness(complete, { now: () => now });
  return { ready, pass: (ms: number) => void (now += ms) };
}

test('all reasons are told, in the order of the checks', async () => {
  const { ready } = readinessOf([{ check: async () => 'one' }, {}, { check: async () => 'two' }]);
  expect(await ready()).toEqual(['one', 'two']);
});

test('an answer is kept for its time', async () => {
  let calls = 0;
  const { ready, pass } = readinessOf([{ check: async () => `call ${(calls += 1)}` }]);
  expect(await ready()).toEqual(['call 1']);
  pass(999);
  expect(await ready()).toEqual(['call 1']);
  pass(1);
  expect(await ready()).toEqual(['call 2']);
});

test('many probes at once share one look', async () => {
  let calls = 0;
  const gate = Promise.withResolvers<null>();
  const check = async (): Promise<null> => {
    calls += 1;
    return await gate.promise;
  };
  const { ready } = readinessOf([{ check }]);
  const probes = Array.from({ length: 50 }, ready);
  gate.resolve(null);
  expect(new Set((await Promise.all(probes)).map(String))).toEqual(new Set(['']));
  expect(calls).toBe(1);
});

test('a check that hangs is told within a second', async () => {
  const { ready } = readinessOf([{ check: () => never }]);
  const begun = performance.now();
  expect(await ready()).toEqual(['The disk does not answer']);
  expect(performance.now() - begun).toBeLessThan(1500);
});

test('a check that was good and is slow is believed for a while, and no longer', async () => {
  let answer: Promise<string | null> = Promise.resolve(null);
  const { ready, pass } = readinessOf([{ check: () => answer }]);
  expect(await ready()).toEqual([]);
  const slow = Promise.withResolvers<string | null>();
  answer = slow.promise;
  pass(1000);
  expect(await ready()).toEqual([]);
  pass(15_001);
  expect(await ready()).toEqual(['The disk does not answer']);
  slow.resolve(null);
  await slow.promise;
  expect(await ready()).toEqual([]);
});

test.each([
  ['rejects', () => Promise.reject(new Error('EACCES /srv/secret'))],
  [
    'throws',
    () => {
      throw new Error('EACCES /srv/secret');
    },
  ],
])('a check that %s is told without its words, and looked at again later', async (_how, fail) => {
  let check: () => Promise<string | null> = fail;
  const { ready, pass } = readinessOf([{ check: () => check() }]);
  expect(await ready()).toEqual(['The disk failed: see the log']);
  check = async () => null;
  pass(1000);
  expect(await ready()).toEqual([]);
});
