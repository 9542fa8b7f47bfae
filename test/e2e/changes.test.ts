import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createGitRepo, openGitRepo } from '../helpers/git-repo.ts';
import { asRecord, startServiceProcess } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';

describe('what a job changed, over HTTP', () => {
  test('is there however the job ended, survives a restart, and says nothing before the end', async () => {
    const service = await startServiceProcess({ env: { KILL_GRACE_SECONDS: '1' } });
    const ok = await service.submit({ prompt: 'write: a.txt hello\ncommit: first\nwrite: b.txt more\nsay: done' });
    const failing = await service.submit({ prompt: 'write: f.txt x\nexit: 3' });
    const late = await service.submit({ prompt: 'write: t.txt x\nforever', timeout_seconds: 1 });
    const idle = await service.submit({ prompt: 'say: nothing' });
    const endless = await service.submit({ prompt: 'write: e.txt x\nforever' });

    const job = await service.finished(ok);
    expect(job['changes']).toMatchObject({ files_changed: 2, insertions: 2, commits_made: 1, truncated: false });
    const changes = asRecord(await (await service.fetch(`/jobs/${ok}/changes`)).json());
    expect(changes).toMatchObject({
      files: [
        { path: 'a.txt', change: 'added', omitted: null },
        { path: 'b.txt', change: 'added', omitted: null },
      ],
      commits: [{ message: 'first' }],
    });
    const diff = await service.fetch(`/jobs/${ok}/diff`);
    expect(diff.headers.get('content-type')).toBe('text/x-diff');
    expect(await diff.text()).toContain('+hello');
    expect(await service.finished(failing)).toMatchObject({ status: 'failed', changes: { files_changed: 1 } });
    expect(await service.finished(late)).toMatchObject({ status: 'timeout', changes: { files_changed: 1 } });
    expect(await service.finished(idle)).toMatchObject({ status: 'completed', changes: { files_changed: 0 } });
    const none = await service.fetch(`/jobs/${idle}/diff`);
    expect([none.status, await none.text()]).toEqual([200, '']);

    const early = await service.fetch(`/jobs/${endless}/diff`);
    expect([early.status, asRecord(await early.json())['code']]).toEqual([404, 'no_changes']);
    await service.fetch(`/jobs/${endless}/cancel`, { method: 'POST' });
    expect(await service.finished(endless)).toMatchObject({ status: 'cancelled', changes: { files_changed: 1 } });
    expect((await service.fetch('/jobs/no-such-job/diff')).status).toBe(404);
    expect((await service.fetch('/jobs/no-such-job/changes')).status).toBe(404);

    service.signal('SIGTERM');
    expect(await service.exited()).toBe(0);
    const next = await startServiceProcess({ dataDir: service.dataDir });
    expect(await next.finished(ok)).toMatchObject({ changes: job['changes'] });
    expect(await (await next.fetch(`/jobs/${ok}/diff`)).text()).toContain('+hello');
  });

  test('is pushed as a branch of the remote if its job completed', async () => {
    const root = await mkdtemp(join(tmpdir(), 'push-'));
    const source = await createGitRepo(join(root, 'source'), { 'a.txt': 'a' });
    await source.git('clone', '--quiet', '--bare', source.path, join(root, 'origin.git'));
    const origin = openGitRepo(join(root, 'origin.git'));
    const service = await startServiceProcess({ env: { BASE_REPO_URL: origin.path } });
    const ok = await service.submit({ prompt: 'write: b.txt more\nsay: done', push_branch: 'agent/ok' });
    const failing = await service.submit({ prompt: 'write: b.txt x\nexit: 3', push_branch: 'agent/failing' });
    const push = asRecord((await service.finished(ok))['changes'])['push'];
    expect(push).toEqual({
      branch: 'agent/ok',
      commit: await origin.git('rev-parse', 'refs/heads/agent/ok'),
      problem: null,
    });
    expect(await service.finished(failing)).toMatchObject({
      changes: { files_changed: 1, push: { branch: 'agent/failing', commit: null } },
    });
    const details = asRecord(await (await service.fetch(`/jobs/${failing}/changes`)).json());
    expect(details['push']).toMatchObject({ problem: expect.stringContaining('did not complete') });
    expect(await origin.git('branch', '--list', '--format=%(refname:short)')).toBe('agent/ok\nmain');
    await rm(root, { recursive: true });
  });

  test('of a job whose service was killed is told by the next one', async () => {
    const service = await startServiceProcess({ env: { KILL_GRACE_SECONDS: '1' } });
    const id = await service.submit({ prompt: 'write: w.txt kept\nsay: written\nforever' });
    await waitFor(
      async () => await (await service.fetch(`/jobs/${id}/log`)).text(),
      (log) => log.includes('written'),
    );
    service.signal('SIGKILL');
    await service.exited();
    const next = await startServiceProcess({ dataDir: service.dataDir });
    expect(await next.finished(id)).toMatchObject({ status: 'lost', changes: { files_changed: 1, insertions: 1 } });
    expect(await (await next.fetch(`/jobs/${id}/diff`)).text()).toContain('+kept');
  });
});
