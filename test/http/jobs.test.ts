import { describe, expect, test } from 'vitest';
import { completed } from '../helpers/fake-ports.ts';
import { asRecord, createNativeApp, headers, problemOf } from './native-app.ts';

const forever = async (): Promise<never> => await new Promise(() => {});
const iso = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

const finished = {
  exitCode: 0,
  output: ['{"type":"result"}'],
  stderr: 'a note',
  result: 'Done',
  text: 'Done',
  usage: { input_tokens: 1 },
  costUsd: 0.25,
  numTurns: 3,
  sessionId: 'abc',
};

describe('a job', () => {
  test('in the queue has every field, null where it does not apply yet', async () => {
    const { submit, get } = await createNativeApp({ capacity: 1, script: forever });
    await submit();
    const id = await submit({ prompt: 'Second' });
    const response = await get(`/jobs/${id}`);
    expect(response.statusCode).toBe(200);
    expect(response.headers['content-type']).toBe('application/json; charset=utf-8');
    expect(response.json()).toEqual({
      ...{
        job_id: id,
        status: 'queued',
        prompt: 'Second',
        agent: null,
        model: null,
        provider: 'claude',
        metadata: null,
      },
      ...{ created_at: iso, started_at: null, finished_at: null, queue_position: 1 },
      ...{ exit_code: null, output: [], stderr: '', error: null, reason: null, result: null },
      ...{
        usage: null,
        cost_usd: null,
        num_turns: null,
        session_id: null,
        changes: null,
        containment: null,
        disk_bytes: null,
        followed_up: null,
        retry_of: null,
        ...{ after: null, attempt: 0, max_attempts: 1 },
        expected_start: null,
      },
    });
  });

  test('that is final says how it ended', async () => {
    const nativeApp = await createNativeApp({ script: async () => completed(finished) });
    const body = { prompt: 'Go', agent: 'helper', model: 'opus', metadata: { ticket: 7 } };
    const id = await nativeApp.submit(body);
    expect(await nativeApp.finished(id)).toEqual({
      ...{ job_id: id, status: 'completed', ...body, provider: 'claude' },
      ...{ created_at: iso, started_at: iso, finished_at: iso, queue_position: null },
      ...{ exit_code: 0, output: ['{"type":"result"}'], stderr: 'a note', error: null, reason: 'ok', result: 'Done' },
      ...{
        usage: { input_tokens: 1 },
        cost_usd: 0.25,
        num_turns: 3,
        session_id: 'abc',
        changes: expect.objectContaining({ base_commit: null, files_changed: 0, truncated: false, problem: null }),
        containment: null,
        disk_bytes: null,
        followed_up: null,
        retry_of: null,
        ...{ after: null, attempt: 1, max_attempts: 1 },
        expected_start: null,
      },
    });
  });

  test('with odd figures of its agent can be read, also in a list', async () => {
    const nativeApp = await createNativeApp({ script: async () => completed({ numTurns: 1.5, costUsd: 1e300 }) });
    expect(await nativeApp.finished(await nativeApp.submit())).toMatchObject({ num_turns: 1.5, cost_usd: 1e300 });
    expect((await nativeApp.get('/jobs')).statusCode).toBe(200);
  });

  test.each([
    '__proto__',
    'constructor',
    'toString',
    '..%2f..%2fetc%2fpasswd',
    '%2e%2e',
    '%00',
    '%zz',
    '%',
    '%ff%fe',
    'x'.repeat(15_000),
    `job_${'A'.repeat(27)}`,
    `job_${'A'.repeat(26)}%2f`,
    "'%20OR%201=1--",
    '😀',
    '*',
    ':id',
  ])('by the name %s is not found, to be read, waited for or cancelled', async (id) => {
    const { app, get } = await createNativeApp();
    const responses = [
      await get(`/jobs/${id}`),
      await get(`/jobs/${id}?wait=60`),
      await app.inject({ method: 'POST', url: `/jobs/${id}/cancel`, headers }),
    ];
    for (const response of responses) {
      expect(response.statusCode).toBe(404);
      expect(problemOf(response)['code']).toMatch(/^(?:job_)?not_found$/);
    }
  });

  test('that is not there is called so', async () => {
    const { get } = await createNativeApp();
    const response = await get(`/jobs/job_${'A'.repeat(27)}`);
    expect(problemOf(response)).toEqual({
      type: 'about:blank',
      title: 'Not Found',
      status: 404,
      detail: 'Job not found',
      code: 'job_not_found',
      request_id: response.headers['x-request-id'],
    });
  });

  test.each(['diffs', 'cancel/', 'x'])('has no %s yet', async (what) => {
    const { submit, get } = await createNativeApp();
    const response = await get(`/jobs/${await submit()}/${what}`);
    expect(response.statusCode).toBe(404);
    expect(problemOf(response)).toMatchObject({ code: 'not_found' });
  });
});

describe('waiting', () => {
  test('ends as soon as the job does', async () => {
    const gate = Promise.withResolvers<void>();
    const { submit, get } = await createNativeApp({
      script: async () => {
        await gate.promise;
        return completed({ text: 'x' });
      },
    });
    const id = await submit();
    const waiting = get(`/jobs/${id}?wait=60`);
    gate.resolve();
    expect((await waiting).json()).toMatchObject({ status: 'completed' });
  });

  test('ends after its time with the state then', async () => {
    const { submit, get } = await createNativeApp({ script: forever });
    const id = await submit();
    const begun = performance.now();
    expect((await get(`/jobs/${id}?wait=1`)).json()).toMatchObject({ status: 'running' });
    expect(performance.now() - begun).toBeGreaterThan(950);
  });

  test.each(['0', '60', '05'])('wait=%s is taken', async (wait) => {
    const nativeApp = await createNativeApp();
    const id = await nativeApp.submit();
    await nativeApp.finished(id);
    expect((await nativeApp.get(`/jobs/${id}?wait=${wait}`)).statusCode).toBe(200);
  });

  test.each([
    'wait=-1',
    'wait=61',
    'wait=1.5',
    'wait=1e1',
    'wait=0x1',
    'wait=',
    'wait',
    'wait=x',
    'wait=%201',
    'wait=%2B1',
    'wait=1&wait=1',
    'wait=9999999999999999999999',
    'wait=%zz',
    'wait=NaN',
    'wait=Infinity',
    'wait=٣',
  ])('?%s is refused', async (query) => {
    const { submit, get } = await createNativeApp();
    const response = await get(`/jobs/${await submit()}?${query}`);
    expect(response.statusCode).toBe(400);
    expect(problemOf(response)).toMatchObject({ code: 'invalid_request', errors: [{ path: 'wait' }] });
  });
});

describe('the list', () => {
  test('is newest first, without output', async () => {
    const nativeApp = await createNativeApp({ script: async () => completed(finished) });
    const ids = [await nativeApp.submit(), await nativeApp.submit(), await nativeApp.submit()];
    for (const id of ids) await nativeApp.finished(id);
    const page = asRecord((await nativeApp.get('/jobs')).json());
    expect(page).toEqual({
      jobs: expect.any(Array),
      next_cursor: null,
    });
    expect(page['jobs']).toMatchObject(ids.toReversed().map((id) => ({ job_id: id })));
    const { output, stderr, result, expected_start, ...item } = await nativeApp.finished(ids[2] ?? '');
    expect([output, stderr, result, expected_start]).toEqual([['{"type":"result"}'], 'a note', 'Done', null]);
    expect(page['jobs']).toEqual(expect.arrayContaining([item]));
  });

  test('of nothing is empty', async () => {
    const { get } = await createNativeApp();
    expect((await get('/jobs')).json()).toEqual({ jobs: [], next_cursor: null });
  });

  test('is walked with cursors, each job once, also while jobs arrive', async () => {
    const { submit, get } = await createNativeApp({ script: forever });
    const ids: string[] = [];
    for (let n = 0; n < 7; n += 1) ids.push(await submit());
    const seen: unknown[] = [];
    let cursor: string | null = null;
    do {
      const page: { jobs: { job_id: string }[]; next_cursor: string | null } = (
        await get(`/jobs?limit=3${cursor === null ? '' : `&cursor=${cursor}`}`)
      ).json();
      expect(page.jobs.length).toBeLessThanOrEqual(3);
      seen.push(...page.jobs.map((job) => job.job_id));
      cursor = page.next_cursor;
      await submit();
    } while (cursor !== null);
    expect(seen).toEqual(ids.toReversed());
  });

  test('holds what was asked for', async () => {
    const nativeApp = await createNativeApp({ capacity: 1, script: forever });
    const running = await nativeApp.submit();
    const queued = await nativeApp.submit();
    const idsOf = async (query: string): Promise<unknown[]> =>
      (await nativeApp.get(`/jobs?${query}`)).json<{ jobs: { job_id: string }[] }>().jobs.map((job) => job.job_id);
    expect(await idsOf('status=queued')).toEqual([queued]);
    expect(await idsOf('status=running')).toEqual([running]);
    expect(await idsOf('status=lost')).toEqual([]);
    expect(await idsOf('caller=nobody')).toEqual([]);
    expect(await idsOf('caller=default&limit=1')).toEqual([queued]);
  });

  test('has fifty jobs to a page', async () => {
    const { submit, get } = await createNativeApp({ script: forever });
    for (let n = 0; n < 51; n += 1) await submit();
    const page = (await get('/jobs')).json<{ jobs: unknown[]; next_cursor: unknown }>();
    expect(page.jobs).toHaveLength(50);
    expect(page.next_cursor).toEqual(expect.any(String));
    expect((await get('/jobs?limit=200')).json<{ jobs: unknown[] }>().jobs).toHaveLength(51);
  });

  test.each(['limit=1', 'limit=200', 'status=completed', 'caller=a.b:c@d-e', 'cursor=czE', 'unknown=1'])(
    '?%s is taken',
    async (query) => {
      const { get } = await createNativeApp();
      expect((await get(`/jobs?${query}`)).statusCode).toBe(200);
    },
  );

  test.each(
    [
      ['limit', ['0', '201', '-1', '1.5', 'x', '', '1&limit=2', '99999999999', '0x1', '%001']],
      ['status', ['done', '', 'QUEUED', 'queued,running', 'queued&status=queued', '__proto__', 'constructor']],
      ['cursor', ['', 'x', '1', '-1', 'czE=', 'cze', 'cy0x', '%00', 'a'.repeat(5000), 'czE&cursor=czE', 'e30']],
      ['caller', ['', 'a%20b', 'a&caller=b', '%27', 'a'.repeat(201)]],
    ].flatMap(([name, values]) => [values ?? []].flat().map((value) => [String(name), value] as const)),
  )('?%s=%s is refused', async (name, value) => {
    const { get } = await createNativeApp();
    const response = await get(`/jobs?${name}=${value}`);
    expect(response.statusCode).toBe(400);
    expect(problemOf(response)).toMatchObject({ code: 'invalid_request', errors: [{ path: name }] });
  });
});
