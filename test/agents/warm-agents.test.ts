import { describe, expect, test } from 'vitest';
import { WorkspaceError } from '../../src/jobs/errors.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import { waitFor } from '../helpers/wait.ts';
import { begun, chat, createFixture, type Fixture, filled, gigabyte, passes, reserved } from './warm-fixture.ts';

const never = new AbortController().signal;

describe('agents that wait', () => {
  test('are started up to their number, and not before they may be', async () => {
    const fixture = createFixture({ size: 3 });
    expect(fixture.warm.reserve(chat)).toBeNull();
    fixture.warm.begin();
    await filled(fixture, 3);
    expect(fixture.made).toHaveLength(3);
  });

  test('are given to one job each, by the id of the place', async () => {
    const fixture = await begun({ size: 2 });
    const ids = [fixture.warm.reserve(chat), fixture.warm.reserve(chat), fixture.warm.reserve(chat)];
    expect(ids).toEqual([...fixture.made.slice(0, 2), null]);
    const workspace = await fixture.warm.workspaces.create(fixture.made[0] ?? createJobId(), never);
    expect(workspace.path).toBe(`/workspaces/${ids[0]}`);
    expect(fixture.agents[0]?.isDiscarded).toBe(false);
    expect(fixture.disposed).toEqual([]);
  });

  test('are not given to a job that settles another thing at its start', async () => {
    const fixture = await begun();
    expect(fixture.warm.reserve({ ...chat, model: 'opus' })).toBeNull();
    expect(fixture.warm.ready()).toBe(1);
  });

  test('are ready for the next when the job was not admitted', async () => {
    const fixture = await begun();
    const id = reserved(fixture);
    fixture.warm.release(id);
    expect(reserved(fixture)).toBe(id);
  });

  test('do not wait for a job that never starts', async () => {
    const fixture = await begun({ limits: { holdMs: 10 } });
    const id = reserved(fixture);
    await waitFor(() => fixture.disposed.includes(id), Boolean);
    expect(fixture.agents[0]?.isDiscarded).toBe(true);
    // The job comes all the same, and has a workspace of that name made for it.
    expect((await fixture.warm.workspaces.create(id, never)).path).toBe(`/workspaces/${id}`);
    expect(fixture.made.filter((made) => made === id)).toHaveLength(2);
  });

  test('are all gone when it is closed, those that a job was promised too', async () => {
    const fixture = await begun({ size: 2 });
    reserved(fixture);
    await fixture.warm.close();
    expect(fixture.agents.every(({ isDiscarded }) => isDiscarded)).toBe(true);
    expect([...fixture.disposed].sort()).toEqual([...fixture.made].sort());
    expect(fixture.warm.reserve(chat)).toBeNull();
  });
});

describe('a job that was promised an agent', () => {
  test('gets a new workspace where the base has moved, after the old one is gone', async () => {
    const fixture = await begun();
    const id = reserved(fixture);
    fixture.head = 'another commit';
    await fixture.warm.workspaces.create(id, never);
    expect(fixture.disposed).toEqual([id]);
    expect(fixture.agents[0]?.isDiscarded).toBe(true);
    expect(fixture.made.filter((made) => made === id)).toHaveLength(2);
  });

  test('keeps the workspace and starts the CLI itself where another one was installed', async () => {
    const fixture = await begun();
    const id = reserved(fixture);
    for (const agent of fixture.agents) agent.isCurrent = false;
    await fixture.warm.workspaces.create(id, never);
    expect(fixture.agents[0]?.isDiscarded).toBe(true);
    expect(fixture.disposed).not.toContain(id);
  });

  test('leaves nothing behind where the base cannot be looked at', async () => {
    const fixture = await begun();
    const id = reserved(fixture);
    fixture.headFault = new WorkspaceError('no base');
    await expect(fixture.warm.workspaces.create(id, never)).rejects.toThrow('no base');
    expect(fixture.disposed).toEqual([id]);
    expect(fixture.agents[0]?.isDiscarded).toBe(true);
  });
});

describe('an agent that waits is replaced', () => {
  test.each<[string, (fixture: Fixture) => void]>([
    ['the base moves', (fixture) => (fixture.head = 'another commit')],
    [
      'another CLI is installed',
      ({ agents }) => {
        for (const agent of agents) agent.isCurrent = false;
      },
    ],
    [
      'it grows too large',
      ({ agents }) => {
        for (const agent of agents) agent.rssBytes = gigabyte;
      },
    ],
    [
      'it ends by itself',
      ({ agents }) => {
        for (const agent of agents) agent.end();
      },
    ],
  ])('when %s', async (_, happen) => {
    const fixture = await begun();
    const [first] = fixture.made;
    happen(fixture);
    await waitFor(
      () => fixture.disposed,
      (disposed) => first !== undefined && disposed.includes(first),
    );
    await waitFor(
      () => fixture.made.length,
      (count) => count > 1,
    );
    expect(fixture.agents[0]?.isDiscarded).toBe(true);
  });

  test('when it is old', async () => {
    const fixture = await begun({ limits: { maxAgeMs: 50 } });
    await waitFor(
      () => fixture.agents.filter(({ isDiscarded }) => isDiscarded).length,
      (count) => count > 1,
    );
    expect(fixture.warm.ready()).toBeLessThanOrEqual(1);
  });
});

describe('no agent is started', () => {
  test('while memory is short, and those that wait give theirs back', async () => {
    const fixture = await begun({ size: 2 });
    fixture.memory = gigabyte / 4;
    await filled(fixture, 0);
    expect(fixture.agents.every(({ isDiscarded }) => isDiscarded)).toBe(true);
    const { length } = fixture.made;
    // Enough to live on, not enough for one more.
    fixture.memory = gigabyte * 0.6;
    await passes(fixture);
    expect(fixture.made).toHaveLength(length);
    fixture.memory = gigabyte;
    await filled(fixture, 2);
  });

  test('while a job makes its workspace, or has just made it', async () => {
    const held = Promise.withResolvers<void>();
    const job = createJobId();
    const clock = { time: 1_000_000, now: () => clock.time };
    const fixture = createFixture({
      create: (_, id) => (id === job ? held.promise : Promise.resolve()),
      ...{ clock, limits: { startMs: 1_000, checkMs: 0 } },
    });
    const making = Array.from({ length: 64 }, () => fixture.warm.workspaces.create(job, never));
    fixture.warm.begin();
    await passes(fixture);
    expect(fixture.made).toEqual([]);
    held.resolve();
    await Promise.all(making);
    await passes(fixture);
    expect(fixture.warm.ready()).toBe(0);
    clock.time += 1_001;
    await filled(fixture);
  });

  test('again at once after a failure, and later after each further one', async () => {
    const fixture = createFixture({ limits: { backoffMs: 4, maxBackoffMs: 16 } });
    fixture.fault = new Error('no CLI');
    fixture.warm.begin();
    const pauses = await waitFor(
      () => fixture.warnings.map((fields) => ('pause_ms' in fields ? fields.pause_ms : null)),
      ({ length }) => length >= 4,
    );
    expect(pauses.slice(0, 4)).toEqual([4, 8, 16, 16]);
    expect([...fixture.disposed]).toEqual([...fixture.made]);
    fixture.fault = null;
    await filled(fixture);
  });

  test('ever, where a waiting one could outlive the service', async () => {
    const fixture = createFixture({ cannotWait: true });
    fixture.warm.begin();
    await waitFor(
      () => fixture.warnings.length,
      (count) => count === 1,
    );
    await passes(fixture);
    expect([fixture.made.length, fixture.disposed.length, fixture.warnings.length]).toEqual([1, 1, 1]);
  });
});
