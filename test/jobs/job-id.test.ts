import { expect, test } from 'vitest';
import { createJobId, isJobId } from '../../src/jobs/job-id.ts';

test('ids are of one safe form and never the same', () => {
  const ids = Array.from({ length: 10_000 }, createJobId);
  expect(new Set(ids).size).toBe(10_000);
  expect(ids.every(isJobId)).toBe(true);
  expect(ids.every((id) => encodeURIComponent(id) === id)).toBe(true);
});

test('all of the random part varies: it holds 160 bits', () => {
  const ids = Array.from({ length: 2_000 }, createJobId);
  for (let place = 'job_'.length; place < 'job_'.length + 26; place += 1) {
    expect(new Set(ids.map((id) => id[place])).size).toBe(64);
  }
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
