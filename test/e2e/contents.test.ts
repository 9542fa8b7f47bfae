import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { createGitRepo } from '../helpers/git-repo.ts';
import { asRecord, startServiceProcess, temporaryDirectory } from '../helpers/service-process.ts';

const installed = !(await execa('git', ['lfs', 'version'], { reject: false })).failed;
if (!installed) console.warn('git-lfs is not installed: the test that needs it is SKIPPED');

describe.runIf(installed)('SUBMODULES and LFS, over HTTP', () => {
  test('a job works on both; its change set has the one and names the other, and what could not be had', async () => {
    const root = await temporaryDirectory();
    const sub = await createGitRepo(join(root, 'sub'), { 's.txt': 's\n' });
    const lost = await createGitRepo(join(root, 'lost'), { 'l.txt': 'l\n' });
    const base = await createGitRepo(join(root, 'origin'), { '.gitattributes': '*.bin filter=lfs -text\n' });
    await base.git('lfs', 'install', '--local', '--skip-repo');
    await base.commit({ 'big.bin': 'large\n' });
    for (const [url, path] of [
      ['../sub', 'libs/sub'],
      [lost.path, 'lost'],
    ] as const) {
      await base.git('-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', url, path);
    }
    await base.commit({});
    await rename(lost.path, join(root, 'away'));
    const env = { BASE_REPO_URL: base.path, SUBMODULES: 'true', LFS: 'true', POOL_SIZE: '2' };
    const service = await startServiceProcess({ env });
    const id = await service.submit({ prompt: 'write: libs/sub/s.txt changed\nwrite: big.bin other\nsay: done' });
    const job = await service.finished(id);
    const reason = 'there is no repository at its address';
    expect(job).toMatchObject({
      status: 'completed',
      changes: { files_changed: 2, truncated: true, left_out: [{ path: 'lost', kind: 'submodule', reason }] },
    });
    const { files } = asRecord(await (await service.fetch(`/jobs/${id}/changes`)).json());
    expect(files).toMatchObject([
      { path: 'big.bin', change: 'modified', omitted: 'lfs' },
      { path: 'libs/sub/s.txt', change: 'modified', omitted: null },
    ]);
    expect(await (await service.fetch(`/jobs/${id}/diff`)).text()).toContain('--- a/libs/sub/s.txt\n');
    expect(await sub.git('status', '--porcelain')).toBe('');
  });
});
