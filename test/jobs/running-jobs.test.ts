import { describe, expect, test } from 'vitest';
import { UnavailableError, WorkspaceError } from '../../src/jobs/errors.ts';
import type { FinishedJob } from '../../src/jobs/job.ts';
import type { AgentRunner, JobStore } from '../../src/jobs/ports.ts';
import { completed, createFakeStore, createFakeWorkspaces, createScriptedRunner } from '../helpers/fake-ports.ts';
import { waitFor } from '../helpers/wait.ts';
import {
  beginService,
  collect,
  createHeldRuns,
  finalOf,
  type ServiceOptions,
  spec,
  story,
  withJobs,
} from './jobs-fixture.ts';

/** Runs one job to its end; tells what was told of it, and whose workspaces went. */
async function runOne(options: ServiceOptions) {
  const finished: FinishedJob[] = [];
  const service = await beginService({ ...options, onFinished: (job) => finished.push(job) });
  const job = await service.submit(spec(), 'tester');
  const { outcome } = await finalOf(service, job);
  await waitFor(
    () => service.stats().active,
    (active) => active === 0,
  );
  return { outcome, finished, id: job.id };
}

function runnerThat(run: AgentRunner['run']): AgentRunner {
  return { ...createScriptedRunner(async () => completed()), run };
}

/** A store whose `finish` fails so often; `before` or after it wrote the outcome. */
function failingFinish(times: number, when: 'before' | 'after') {
  let left = times;
  return (jobs: JobStore): Partial<JobStore> => ({
    async finish(...args) {
      left -= 1;
      if (left >= 0 && when === 'before') throw new UnavailableError('no disk space');
      const job = await jobs.finish(...args);
      if (left >= 0) throw new UnavailableError('no answer');
      return job;
    },
  });
}

describe('the workspace of a job is disposed of exactly once', () => {
  test.each([
    ['that goes well', runnerThat(async () => completed()), 'completed', 'ok'],
    ['whose runner rejects', runnerThat(() => Promise.reject(new Error('broken'))), 'error', 'spawn_error'],
    [
      'whose runner throws',
      runnerThat(() => {
        throw new Error('broken');
      }),
      'error',
      'spawn_error',
    ],
  ])('by a job %s', async (_name, runner, status, reason) => {
    const workspaces = createFakeWorkspaces();
    const { outcome, finished, id } = await runOne({ runner, workspaces });
    expect(outcome).toMatchObject({ status, reason });
    expect(workspaces.disposed).toEqual([id]);
    expect(finished.map((job) => job.id)).toEqual([id]);
  });

  test.each([
    ['given back where none of its processes can be left', { level: 'supervisor', survivors: 0 }, true],
    ['not given back where one is left', { level: 'supervisor', survivors: 1 }, false],
    ['not given back where nobody knows', { level: 'group', survivors: null }, false],
    ['not given back where agents are kept apart from each other', { level: 'namespace', survivors: 0 }, false],
  ] as const)('and is %s', async (_name, held, isGivenBack) => {
    const workspaces = createFakeWorkspaces();
    const containment = { ...held, killed: 0, peakRssBytes: null, cpuSeconds: null };
    const { id } = await runOne({ runner: runnerThat(async () => completed({ containment })), workspaces });
    expect(workspaces.disposed).toEqual([id]);
    expect(workspaces.givenBack).toEqual(isGivenBack ? [id] : []);
  });

  test('by a job that is cancelled', async () => {
    const workspaces = createFakeWorkspaces();
    const held = createHeldRuns();
    const service = await beginService({ workspaces, runner: held.runner });
    const job = await service.submit(spec(), 'tester');
    await held.started(job.id);
    await service.cancel(job.id, 'cancelled');
    await finalOf(service, job);
    expect(workspaces.disposed).toEqual([job.id]);
  });
});

describe('a workspace that cannot be made', () => {
  test('is an error with the sentence for callers', async () => {
    const workspaces = createFakeWorkspaces(() => Promise.reject(new WorkspaceError('The base is away')));
    const { outcome, finished } = await runOne({ workspaces });
    expect(outcome).toMatchObject({ status: 'error', reason: 'workspace_error', error: 'The base is away' });
    expect(finished).toHaveLength(1);
    expect(workspaces.disposed).toEqual([]);
  });

  test('says nothing of what went wrong inside to callers', async () => {
    const workspaces = createFakeWorkspaces(() => Promise.reject(new Error('ENOENT: /secret/path')));
    const { outcome } = await runOne({ workspaces });
    expect(outcome?.status).toBe('error');
    expect(outcome?.error).not.toContain('/secret');
  });
});

describe('an outcome that the store does not take', () => {
  test('is tried again, and the job keeps its place until it is taken', async () => {
    let failing = true;
    let tries = 0;
    const store = withJobs(createFakeStore(), (jobs) => ({
      async finish(...args) {
        tries += 1;
        if (failing) throw new UnavailableError('no disk space');
        return await jobs.finish(...args);
      },
    }));
    const held = createHeldRuns();
    const finished: FinishedJob[] = [];
    const service = await beginService({
      ...{ store, runner: held.runner, capacity: 1 },
      onFinished: (job) => finished.push(job),
    });
    const [first, second] = [await service.submit(spec(), 'tester'), await service.submit(spec(), 'tester')];
    await held.started(first.id);
    held.end(first.id, completed({ result: 'Done.' }));
    await waitFor(
      () => tries,
      (count) => count >= 2,
    );
    expect(held.runner.runs.map((run) => run.id)).toEqual([first.id]);
    expect(service.stats()).toMatchObject({ active: 1, queued: 1 });
    failing = false;
    expect((await finalOf(service, first)).outcome?.report.result).toBe('Done.');
    await held.started(second.id);
    held.end(second.id);
    await finalOf(service, second);
    expect(finished.map((job) => job.id)).toEqual([first.id, second.id]);
  });

  test('although it did write it reaches those who wait, and is counted once', async () => {
    const store = withJobs(createFakeStore(), failingFinish(1, 'after'));
    const held = createHeldRuns();
    const finished: FinishedJob[] = [];
    const service = await beginService({ store, runner: held.runner, onFinished: (job) => finished.push(job) });
    const job = await service.submit(spec(), 'tester');
    await held.started(job.id);
    const waiting = service.wait(job.id, null, null);
    const { events, done } = collect(service, job.id);
    await waitFor(
      () => events.length,
      (length) => length > 0,
    );
    held.end(job.id, completed({ result: 'Done.' }));
    expect((await waiting).outcome?.report.result).toBe('Done.');
    await done;
    expect(story(events).at(-1)).toBe('end completed');
    expect(finished.map((end) => end.id)).toEqual([job.id]);
  });

  test('is not stored again because counting it failed', async () => {
    let finishes = 0;
    const store = withJobs(createFakeStore(), (jobs) => ({
      finish(...args) {
        finishes += 1;
        return jobs.finish(...args);
      },
    }));
    const service = await beginService({
      store,
      onFinished() {
        throw new Error('not a number');
      },
    });
    const job = await service.submit(spec(), 'tester');
    await finalOf(service, job);
    await waitFor(
      () => service.stats().active,
      (active) => active === 0,
    );
    await service.drain(0);
    expect(finishes).toBe(1);
  });
});

test('a failure to count does not make a cancellation fail', async () => {
  const held = createHeldRuns();
  const service = await beginService({
    ...{ runner: held.runner, capacity: 1 },
    onFinished() {
      throw new Error('not a number');
    },
  });
  const first = await service.submit(spec(), 'tester');
  const second = await service.submit(spec(), 'tester');
  await held.started(first.id);
  await expect(service.cancel(second.id, 'cancelled')).resolves.toMatchObject({ changed: true });
});
