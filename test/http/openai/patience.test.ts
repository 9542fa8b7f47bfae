import { describe, expect, test } from 'vitest';
import { longestSilenceMs, returnsWithinMs } from '../../../src/http/calls/patience.ts';

const infinity = Number.POSITIVE_INFINITY;

describe('a client may be left without a sign of life', () => {
  test.each([
    [{}, infinity],
    [{ 'x-stainless-timeout': '600' }, 450_000],
    [{ 'x-stainless-read-timeout': '20.0' }, 15_000],
    [{ 'x-stainless-timeout': '8', 'x-stainless-read-timeout': '4' }, 3_000],
    [{ 'x-stainless-timeout': '0.001' }, 100],
    [{ 'x-stainless-timeout': '0' }, infinity],
    [{ 'x-stainless-timeout': 'soon' }, infinity],
  ])('with %j for %j ms', (headers, expected) => {
    expect(longestSilenceMs({ headers })).toBe(expected);
  });

  test('for less than it waited before', () => {
    expect(longestSilenceMs({ headers: {} }, 60_000)).toBe(45_000);
    expect(longestSilenceMs({ headers: { 'x-stainless-timeout': '20' } }, 60_000)).toBe(15_000);
  });
});

describe('a client that hangs up may come back', () => {
  test.each([
    ['at the time it told, soon', '20', '0', 19_990, 800],
    ['at the time it told, cut to whole seconds', '20', '0', 20_990, 800],
    ['later where it has tried before', '20', '1', 20_000, 3_000],
    ['the later the more often it tried', '20', '3', 20_000, 6_000],
    ['after ten seconds at most', '20', '99', 20_000, 10_000],
    ['not before its time', '20', '0', 18_000, 0],
    ['not after its time', '20', '0', 23_000, 0],
    ['at the time of an SDK that tells none', undefined, '0', 600_003, 3_000],
    ['at the shorter time of another one', undefined, '0', 60_003, 3_000],
    ['perhaps, at another round time', undefined, '0', 29_800, 600],
    ['not at a time that is not round', undefined, '0', 27_500, 0],
    ['not at once', undefined, '0', 20, 0],
    ['not at another round time where it has tried before', undefined, '1', 300_000, 0],
    ['not where it does not count its tries', '20', undefined, 20_000, 0],
    ['not where its time is none', 'soon', '0', 20_000, 0],
    ['not where its tries are none', '20', 'many', 20_000, 0],
  ])('%s', (_when, timeout, tries, waitedMs, expected) => {
    const headers = { 'x-stainless-timeout': timeout, 'x-stainless-retry-count': tries };
    expect(returnsWithinMs({ headers }, waitedMs)).toBe(expected);
  });

  test('after the time that it waited before', () => {
    const headers = { 'x-stainless-retry-count': '1' };
    expect(returnsWithinMs({ headers }, 30_500, 30_000)).toBe(3_000);
  });
});
