import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildZoo, isReady, kinds, survivors } from '../fixtures/zoo/zoo.ts';
import { type ServiceProcess, startServiceProcess, temporaryDirectory } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';

/** More for a soak: `ZOO_ROUNDS=20 vitest run test/e2e/zoo.test.ts`. */
const rounds = Array.from({ length: Number(process.env['ZOO_ROUNDS'] ?? 1) }, (_, i) => i + 1);
const graceSeconds = 1;
/** All must be gone by then, zombies too, on a machine that does other things as well. */
const goneWithinMs = graceSeconds * 1000 + 2_000;

let program: string;

beforeAll(async () => {
  const dir = await mkdtemp(join(tmpdir(), 'zoo-'));
  program = await buildZoo(dir);
  return () => rm(dir, { recursive: true });
});

interface Animal {
  readonly kind: string;
  readonly file: string;
  readonly id: string;
}

/** A service whose agents are the zoo, with a place for each kind. */
async function startZoo(dataDir?: string): Promise<ServiceProcess> {
  const env = {
    CLAUDE_BIN: program,
    MAX_CONCURRENCY: String(kinds.length),
    KILL_GRACE_SECONDS: String(graceSeconds),
    DRAIN_SECONDS: '0',
  };
  return await startServiceProcess({ env, ...(dataDir === undefined ? {} : { dataDir }) });
}

/** One of each kind, all running at once. */
async function release(service: ServiceProcess, mode: string, body: object = {}): Promise<readonly Animal[]> {
  const dir = await temporaryDirectory();
  return await Promise.all(
    kinds.map(async (kind) => {
      const file = join(dir, kind);
      return { kind, file, id: await service.submit({ prompt: `${kind} ${file} ${mode}`, ...body }) };
    }),
  );
}

async function allReady(animals: readonly { readonly file: string }[]): Promise<void> {
  for (const { file } of animals) await waitFor(() => isReady(file), Boolean, { what: `${file} to be ready` });
}

/** What is there of them, in the time that is promised. */
async function expectNobody(animals: readonly { readonly kind: string; readonly file: string }[]): Promise<void> {
  const left = async (): Promise<readonly string[]> => {
    const pids = await Promise.all(animals.map(({ file }) => survivors(file)));
    return animals.flatMap(({ kind }, i) => (pids[i]?.length === 0 ? [] : [`${kind}: ${pids[i]?.join(' ')}`]));
  };
  expect(await waitFor(left, (found) => found.length === 0, { timeoutMs: goneWithinMs }).catch(left)).toEqual([]);
}

async function ends(service: ServiceProcess, animals: readonly Animal[]) {
  return await Promise.all(animals.map(({ id }) => service.finished(id)));
}

/** The places are free again, and no clone is left in sight. */
async function expectClean(service: ServiceProcess): Promise<void> {
  await waitFor(
    async () => (await service.fetch('/health')).json(),
    (health) => typeof health === 'object' && health !== null && 'active' in health && health.active === 0,
  );
  await waitFor(
    async () => (await readdir(join(service.dataDir, 'jobs'))).filter((name) => !name.startsWith('.')),
    (names) => names.length === 0,
  );
}

describe.each(rounds)('of the zoo nobody is left, round %i,', () => {
  test('after a clean end', async () => {
    const service = await startZoo();
    const animals = await release(service, 'leave');
    for (const job of await ends(service, animals)) {
      expect(job).toMatchObject({ status: 'completed', containment: { survivors: 0 } });
    }
    await expectNobody(animals);
    await expectClean(service);
  });

  test('after a cancel', async () => {
    const service = await startZoo();
    const animals = await release(service, 'stay');
    await allReady(animals);
    for (const { id } of animals) await service.fetch(`/jobs/${id}/cancel`, { method: 'POST' });
    await expectNobody(animals);
    for (const job of await ends(service, animals)) {
      expect(job).toMatchObject({ status: 'cancelled', containment: { survivors: 0 } });
    }
    await expectClean(service);
  });

  test('after a timeout', async () => {
    const service = await startZoo();
    const animals = await release(service, 'stay', { timeout_seconds: 1 });
    for (const job of await ends(service, animals)) {
      expect(job).toMatchObject({ status: 'timeout', reason: 'timeout', containment: { survivors: 0 } });
    }
    await expectNobody(animals);
    await expectClean(service);
  });

  test('after its callers hung up', async () => {
    const service = await startZoo();
    const dir = await temporaryDirectory();
    const animals = kinds.map((kind) => ({ kind, file: join(dir, kind) }));
    const hangUp = new AbortController();
    const calls = animals.map(({ kind, file }) => {
      const body = JSON.stringify({
        model: 'sonnet',
        messages: [{ role: 'user', content: `${kind} ${file} stay` }],
      });
      return service.fetch('/v1/chat/completions', { method: 'POST', body, signal: hangUp.signal });
    });
    await allReady(animals);
    hangUp.abort();
    const answers = await Promise.allSettled(calls);
    expect(answers.map(({ status }) => status)).toEqual(kinds.map(() => 'rejected'));
    await expectNobody(animals);
    await expectClean(service);
  });

  test('after SIGTERM of the service', async () => {
    const service = await startZoo();
    const animals = await release(service, 'stay');
    await allReady(animals);
    service.signal('SIGTERM');
    expect(await service.exited()).toBe(0);
    await expectNobody(animals);
  });

  test('after SIGKILL of the service, and the next one starts clean', async () => {
    const service = await startZoo();
    const animals = await release(service, 'stay');
    await allReady(animals);
    service.signal('SIGKILL');
    await service.exited();
    await expectNobody(animals);
    const next = await startZoo(service.dataDir);
    for (const job of await ends(next, animals)) expect(job).toMatchObject({ status: 'lost' });
    await expectClean(next);
  });

  test.each(['guard', 'keeper'])('after SIGKILL of the supervisor: its %s', async (role) => {
    const service = await startZoo();
    const animals = await release(service, 'stay');
    await allReady(animals);
    for (const { id } of animals) process.kill(await supervisorOf(service, id, role), 'SIGKILL');
    for (const job of await ends(service, animals)) expect(job).toMatchObject({ status: 'lost', reason: 'lost' });
    await expectNobody(animals);
    await expectClean(service);
  });
});

async function supervisorOf(service: ServiceProcess, id: string, role: string): Promise<number> {
  // It is written after the agent was started, which may be quicker to say that it is there.
  const text = await waitFor(
    () => readFile(join(service.dataDir, 'runs', id, 'supervisor.json'), 'utf8'),
    (written) => written.endsWith('\n'),
    { what: 'the record of the supervisor' },
  );
  const record: unknown = JSON.parse(text);
  const pid: unknown =
    typeof record === 'object' && record !== null ? Object.entries(record).find(([name]) => name === role)?.[1] : 0;
  if (typeof pid !== 'number' || pid < 2) throw new Error(`no ${role} in the record of ${id}`);
  return pid;
}
