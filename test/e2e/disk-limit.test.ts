import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startServiceProcess, temporaryDirectory } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';
import { workspacesOf } from './steering.ts';

const mib = 1024 ** 2;
const grow = `bash: i=0; while [ $i -lt 400 ]; do i=$((i+1)); head -c ${4 * mib} /dev/zero > "f$i"; sleep 0.05; done`;

describe('with MAX_WORKSPACE_BYTES', () => {
  test('a job that grows beyond it is ended, and its neighbour is not', async () => {
    const env = { MAX_WORKSPACE_BYTES: String(64 * mib), KILL_GRACE_SECONDS: '2' };
    const service = await startServiceProcess({ env });
    const neighbour = await service.submit({ prompt: 'write: kept yes\nsleep-ms: 4000\nsay: done' });
    const job = await service.finished(await service.submit({ prompt: `say: begun\n${grow}\nforever` }));
    expect(job).toMatchObject({
      ...{ status: 'failed', reason: 'disk_limit' },
      error: 'The job took more disk space than is allowed',
      disk_bytes: expect.toSatisfy((bytes: number) => bytes > 64 * mib),
      containment: { survivors: 0 },
      // What it changed is told as of any other run.
      changes: { files_changed: expect.toSatisfy((files: number) => files > 10) },
    });
    expect(await service.finished(neighbour)).toMatchObject({
      ...{ status: 'completed', result: 'done' },
      disk_bytes: expect.toSatisfy((bytes: number) => bytes > 0 && bytes < 64 * mib),
    });
    expect(await workspacesOf(service)).toEqual([]);
    const metrics = await (await service.fetch('/metrics')).text();
    expect(metrics).toContain('agent_jobs_finished_total{status="failed",reason="disk_limit",provider="claude"} 1');
    expect(metrics).toMatch(/^agent_job_disk_bytes_count 2$/m);
    expect(metrics).toMatch(/^agent_workspace_prepare_seconds_count\{kind="(pool|clone)"\} [12]$/m);
    expect(metrics).toMatch(/^agent_workspace_disk_free_bytes [1-9]\d+$/m);
    expect(metrics).toMatch(/^agent_git_lock_wait_seconds_count [1-9]/m);
  });

  test('a job that was adopted is held to it, too', async () => {
    const gate = join(await temporaryDirectory(), 'gate');
    const env = { MAX_WORKSPACE_BYTES: String(64 * mib), KILL_GRACE_SECONDS: '2', RESTART_POLICY: 'adopt' };
    const first = await startServiceProcess({ env });
    const prompt = `write: begun yes\nbash: while [ ! -e ${gate} ]; do sleep 0.05; done\n${grow}\nforever`;
    const id = await first.submit({ prompt });
    await waitFor(() => existsSync(join(first.dataDir, 'jobs', id, 'begun')), Boolean, { what: 'the agent to begin' });
    first.signal('SIGKILL');
    await first.exited();
    const second = await startServiceProcess({ env, dataDir: first.dataDir });
    await writeFile(gate, '');
    expect(await second.finished(id)).toMatchObject({
      ...{ status: 'failed', reason: 'disk_limit', containment: { survivors: 0 } },
      disk_bytes: expect.toSatisfy((bytes: number) => bytes > 64 * mib),
    });
  });
});
