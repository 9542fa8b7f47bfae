import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { buildUnprivileged } from '../fixtures/zoo/zoo.ts';
import {
  baseEnvironment,
  type ServiceProcess,
  startServiceProcess,
  temporaryDirectory,
} from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';

const isolated = { ISOLATION: 'namespace', KILL_GRACE_SECONDS: '2' };

async function textOf(service: ServiceProcess, prompt: string): Promise<string> {
  const job = await service.finished(await service.submit({ prompt }));
  expect(job).toMatchObject({ status: 'completed', containment: { level: 'namespace', survivors: 0 } });
  return await readFile(join(service.dataDir, 'runs', String(job['job_id']), 'stdout.log'), 'utf8');
}

/** The ids of all processes whose command line holds this. */
async function processesWith(text: string): Promise<readonly string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return pids.filter((_, i) => lines[i]?.includes(text));
}

describe('a service with ISOLATION=namespace', () => {
  test('runs agents that see neither its processes nor its data, and write in their workspace alone', async () => {
    const service = await startServiceProcess({ env: isolated });
    expect(await (await service.fetch('/health')).json()).toMatchObject({ containment: 'namespace' });
    const log = await textOf(
      service,
      [
        `bash: ls ${service.dataDir}; cat ${service.dataDir}/jobs.db | head -c 1; echo "data: $?"`,
        `bash: ls /proc | grep -c '^[0-9]'; kill -0 ${service.pid} 2>/dev/null || echo alone`,
        `bash: echo x >/usr/written 2>/dev/null || echo read-only; echo x >/tmp/own && echo own-tmp; echo x >here && echo here`,
        'write: file.txt hello',
        'commit: made inside',
        'say: done',
      ].join('\n'),
    );
    for (const seen of ['alone', 'read-only', 'own-tmp', 'here']) expect(log).toContain(seen);
    expect(log).not.toContain('jobs.db-wal');
    expect(log).not.toContain('SQLite');
  });

  test('lets an agent that is cancelled still tell its cost, and leaves nobody', async () => {
    const service = await startServiceProcess({ env: isolated });
    const mark = `3${service.pid}.25`;
    const id = await service.submit({ prompt: `bash: (setsid env -i sleep ${mark} &) ; sleep ${mark}\nsay: never` });
    await waitFor(
      () => processesWith(`sleep\0${mark}`),
      (pids) => pids.length >= 2,
    );
    await service.fetch(`/jobs/${id}/cancel`, { method: 'POST' });
    const job = await service.finished(id);
    expect(job).toMatchObject({ status: 'cancelled', exit_code: 0, containment: { level: 'namespace', survivors: 0 } });
    expect(job['cost_usd']).not.toBeNull();
    expect(await processesWith(`sleep\0${mark}`)).toEqual([]);
  });

  test('leaves nobody when it is killed itself', async () => {
    const service = await startServiceProcess({ env: isolated });
    const mark = `4${service.pid}.25`;
    await service.submit({ prompt: `bash: (setsid env -i sleep ${mark} &) ; sleep ${mark}` });
    await waitFor(
      () => processesWith(`sleep\0${mark}`),
      (pids) => pids.length >= 2,
    );
    service.signal('SIGKILL');
    await waitFor(
      () => processesWith(`sleep\0${mark}`),
      (pids) => pids.length === 0,
    );
    expect(await service.exited()).toBe(-1);
  });

  test('does not start, with exit code 78, where namespaces cannot be had', async () => {
    const dir = await temporaryDirectory();
    const wrapper = await buildUnprivileged(dir);
    const main = join(import.meta.dirname, '../../src/main.ts');
    const env = { ...baseEnvironment(join(dir, 'data')), ...isolated };
    const child = spawn(wrapper, ['keep-user', process.execPath, main], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    const [code] = await once(child, 'exit');
    expect(errors).toContain('ISOLATION holds "namespace"; allowed: none, or what makes it work (bubblewrap');
    expect(code).toBe(78);
  });
});
