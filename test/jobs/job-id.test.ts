import { expect, test } from 'vitest';
import { createJobId, isJobId } from '../../src/jobs/job-id.ts';

test('ids are of one safe form and never the same', () => {
  const ids = Array.from({ length: 10_000 }, createJobId);
  expect(new Set(ids).size).toBe(10_000);
  expect(ids.every(isJobId)).toBe(true);
  expect(ids.every((id) => encodeURIComponent(id) === id)).toBe(true);
});

const timeLength = 4;

test('all of the part after the time varies: it holds 136 bits', () => {
  const ids = Array.from({ length: 2_000 }, createJobId);
  const valuesAt = (place: number) => new Set(ids.map((id) => id['job_'.length + timeLength + place])).size;
  expect(Array.from({ length: 23 }, (_, place) => valuesAt(place))).toEqual([...Array<number>(22).fill(64), 16]);
});

test('ids of one moment stand together in an index', () => {
  const start = performance.now();
  const ids = Array.from({ length: 1_000 }, createJobId);
  const units = (performance.now() - start) / 16;
  expect(new Set(ids.map((id) => id.slice(0, 'job_'.length + timeLength))).size).toBeLessThanOrEqual(units + 2);
});

test.each([
  '',
  'job_',
  'job_short',
  `job_${'a'.repeat(28)}`,
  `job_${'a'.repeat(26)}.`,
  `job_${'a'.repeat(26)}/`,
  `job_${'a'.repeat(27)}\n`,
  ` job_${'a'.repeat(27)}`,
  `JOB_${'a'.repeat(27)}`,
  `job_../${'a'.repeat(24)}`,
])('%j is not an id', (text) => {
  expect(isJobId(text)).toBe(false);
});
