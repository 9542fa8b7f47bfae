import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createGitRepo } from '../helpers/git-repo.ts';
import { asRecord, startServiceProcess, temporaryDirectory } from '../helpers/service-process.ts';

test('a job starts from the ref that it names; one that nobody knows ends it, and one that is none is refused', async () => {
  const base = await createGitRepo(join(await temporaryDirectory(), 'base'), { 'a.txt': 'a' });
  const first = await base.git('rev-parse', 'HEAD');
  await base.commit({ 'b.txt': 'b' });
  const service = await startServiceProcess({ env: { WORKSPACE_DIR: base.path } });
  const old = await service.submit({ prompt: 'say: x', ref: first });
  expect(await service.finished(old)).toMatchObject({ status: 'completed', changes: { base_commit: first } });
  const unknown = await service.submit({ prompt: 'say: x', ref: 'no/such-branch' });
  expect(await service.finished(unknown)).toMatchObject({
    status: 'error',
    reason: 'workspace_error',
    error: expect.stringContaining('"no/such-branch"'),
    changes: null,
  });
  for (const ref of ['--upload-pack=x', 'a..b', '/a', 'a b', 'a:b', 'a@{0}', 'x.lock', '', '../a', 'a/.b']) {
    const refused = await service.fetch('/execute', { method: 'POST', body: JSON.stringify({ prompt: 'x', ref }) });
    expect([ref, refused.status, asRecord(await refused.json())['code']]).toEqual([ref, 400, 'invalid_request']);
  }
});
