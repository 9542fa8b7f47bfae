import { describe, expect, test } from 'vitest';
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
