import { describe, expect, test } from 'vitest';
import { WorkspaceError } from '../../src/jobs/errors.ts';
import { completed, createFakeStore, createFakeWorkspaces, createScriptedRunner } from '../helpers/fake-ports.ts';
import { waitFor } from '../helpers/wait.ts';
import {
  beginService,
  collect,
  createGate,
  createHeldRuns,
  createLateClaims,
  createTestService,
  finalOf,
  settled,
  spec,
  story,
  withJobs,
} from './jobs-fixture.ts';

const whole = ['queued', 'running', '"Hel"', '"lo"', 'end completed'];

describe('following a job', () => {
  test('tells its states, what its agent does and its end, in order', async () => {
    const runner = createScriptedRunner(async (run) => {
      run.say('Hel');
      await run.heard();
      run.say('lo');
      return completed({ text: 'Hello' });
    });
    const service = createTestService({ runner });
    const job = await service.submit(spec(), 'tester');
    const { events, done } = collect(service, job.id);
    await waitFor(
      () => events.length,
      (length) => length === 1,
    );
    await service.begin();
    expect(await done).toBeUndefined();
    expect(story(events)).toEqual(whole);
    expect(events.at(-1)).toMatchObject({ type: 'end', job: { outcome: { report: { text: 'Hello' } } } });
  });

  test('two who follow see the same, each at its own pace', async () => {
    const held = createHeldRuns();
    const service = await beginService({ runner: held.runner });
    const job = await service.submit(spec(), 'tester');
    const run = await held.started(job.id);
    const first = collect(service, job.id);
    run.say('Hel');
    await waitFor(
      () => first.events.length,
      (length) => length === 2,
    );
    const second = collect(service, job.id);
    run.say('lo');
    await waitFor(
      () => second.events.length,
      (length) => length === 3,
    );
    held.end(job.id);
    await Promise.all([first.done, second.done]);
    expect(story(first.events)).toEqual(whole.slice(1));
    expect(story(second.events)).toEqual(whole.slice(1));
  });

  test('of a job that is final tells its state and its end', async () => {
    const service = await beginService();
    const job = await service.submit(spec(), 'tester');
    await finalOf(service, job);
    const { events, done } = collect(service, job.id);
    expect(await done).toBeUndefined();
    expect(story(events)).toEqual(['completed', 'end completed']);
  });

  test('of a job that is cancelled while it is queued ends without a run', async () => {
    const service = createTestService();
    const job = await service.submit(spec(), 'tester');
    const { events, done } = collect(service, job.id);
    await waitFor(
      () => events.length,
      (length) => length === 1,
    );
    await service.cancel(job.id, 'cancelled');
    expect(await done).toBeUndefined();
    expect(story(events)).toEqual(['queued', 'end cancelled']);
  });

  test('begins with the agent, however long the workspace takes, and misses nothing', async () => {
    const gate = createGate();
    const runner = createScriptedRunner(async (run) => {
      run.say('Hel');
      run.say('lo');
      await run.heard();
      return completed();
    });
    const service = await beginService({ runner, workspaces: createFakeWorkspaces(gate.pass) });
    const job = await service.submit(spec(), 'tester');
    await gate.reached();
    const { events, done } = collect(service, job.id);
    await settled();
    expect(story(events)).toEqual(['running']);
    gate.open();
    await done;
    expect(story(events)).toEqual(whole.slice(1));
  });

  test('of a job whose workspace cannot be made comes to its end', async () => {
    const gate = createGate();
    const workspaces = createFakeWorkspaces(async () => {
      await gate.pass();
      throw new WorkspaceError('The base repository is away');
    });
    const service = await beginService({ workspaces });
    const job = await service.submit(spec(), 'tester');
    const { events, done } = collect(service, job.id);
    await gate.reached();
    gate.open();
    await done;
    expect(story(events).at(-1)).toBe('end error');
  });

  test('of a job that the store shows as running before its claim has arrived misses nothing', async () => {
    const { gate, store } = createLateClaims();
    const held = createHeldRuns();
    const service = await beginService({ store, runner: held.runner });
    const job = await service.submit(spec(), 'tester');
    await gate.reached();
    const { events, done } = collect(service, job.id);
    await settled();
    gate.open();
    const run = await held.started(job.id);
    run.say('Hel');
    run.say('lo');
    await run.heard();
    held.end(job.id);
    await done;
    expect(story(events)).toEqual(whole.slice(1));
  });
});

describe('a follower who leaves', () => {
  test.each(['queued', 'cloning', 'running', 'between events', 'reading'] as const)(
    'is let go at once while the job is %s, and the job goes on',
    async (moment) => {
      const cloning = createGate();
      const reading = createGate();
      let reads = 0;
      const store = withJobs(createFakeStore(), (jobs) => ({
        async get(id) {
          reads += 1;
          if (moment === 'reading' && reads === 2) await reading.pass();
          return await jobs.get(id);
        },
      }));
      const held = createHeldRuns();
      const workspaces = createFakeWorkspaces(moment === 'cloning' ? cloning.pass : undefined);
      const service = createTestService({ store, workspaces, runner: held.runner });
      const job = await service.submit(spec(), 'tester');
      if (moment !== 'queued' && moment !== 'reading') await service.begin();
      if (moment === 'cloning') await cloning.reached();
      const leaving = new AbortController();
      const run = moment === 'running' || moment === 'between events' ? await held.started(job.id) : undefined;
      const { events, done } = collect(service, job.id, leaving.signal);
      if (moment === 'between events') run?.say('Hel');
      await waitFor(
        () => events.length,
        (length) => length >= (moment === 'between events' ? 2 : 1),
      );
      if (moment === 'reading') await reading.reached();
      await settled();
      leaving.abort(new Error('gone'));
      await settled();
      reading.open();
      expect(await done).toEqual(new Error('gone'));
      cloning.open();
      if (moment === 'queued' || moment === 'reading') await service.begin();
      await held.started(job.id);
      held.end(job.id);
      expect((await finalOf(service, job)).status).toBe('completed');
    },
  );

  test('by not asking for more leaves nothing behind', async () => {
    const held = createHeldRuns();
    const service = await beginService({ runner: held.runner });
    const job = await service.submit(spec(), 'tester');
    const run = await held.started(job.id);
    run.say('Hel');
    for await (const event of service.follow(job.id, new AbortController().signal)) {
      if (event.type === 'agent') break;
    }
    held.end(job.id);
    expect((await finalOf(service, job)).status).toBe('completed');
  });
});
