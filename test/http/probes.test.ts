import { describe, expect, test } from 'vitest';
import { UnavailableError } from '../../src/jobs/errors.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { createFakeStore } from '../helpers/fake-ports.ts';
import { waitFor } from '../helpers/wait.ts';
import { createNativeApp, problemOf } from './native-app.ts';

const forever = async (): Promise<never> => await new Promise(() => {});

test('health says how busy the service is', async () => {
  const { app, submit, service } = await createNativeApp({ capacity: 1, script: forever });
  const idle = {
    status: 'ok',
    busy: false,
    active: 0,
    queued: 0,
    capacity: 1,
    draining: false,
    clones: 'copy',
    version: '0.0.0',
  };
  expect((await app.inject('/health')).json()).toMatchObject(idle);
  await submit();
  await submit();
  await waitFor(
    () => service.stats().active,
    (active) => active === 1,
  );
  expect((await app.inject('/health')).json()).toMatchObject({ busy: true, active: 1, queued: 1 });
  await service.drain(0);
  expect((await app.inject('/health')).json()).toMatchObject({ draining: true, active: 0 });
});

test('health and liveness answer while the store hangs and the service is not ready', async () => {
  const released = Promise.withResolvers<never>();
  let asked = 0;
  const hang = async (): Promise<never> => {
    asked += 1;
    return await released.promise;
  };
  const { jobs, ...store } = createFakeStore();
  const hanging = { ...store, jobs: { ...jobs, submit: hang, get: hang } };
  const { app, execute } = await createNativeApp({ store: hanging, deps: { readiness: forever } });
  const stuck = execute({ prompt: 'Hi' });
  await waitFor(() => asked, Boolean);
  for (const url of ['/health', '/livez']) {
    const response = await app.inject(url);
    expect(response.statusCode).toBe(200);
    expect(response.json()).toMatchObject({ status: 'ok' });
  }
  expect(await Promise.race([stuck, Promise.resolve('still waiting')])).toBe('still waiting');
  released.reject(new UnavailableError('The store does not answer'));
  const response = await stuck;
  expect(response.statusCode).toBe(503);
  expect(Number(response.headers['retry-after'])).toBeGreaterThan(0);
  expect(problemOf(response)).toMatchObject({ code: 'unavailable', detail: 'The store does not answer' });
});

describe('readiness', () => {
  test('is 200 when nothing is missing', async () => {
    const { app } = await createNativeApp();
    const response = await app.inject('/readyz');
    expect(response.statusCode).toBe(200);
    expect(response.json()).toEqual({ status: 'ok' });
  });

  test('is 503 with what is missing', async () => {
    const reasons = ['The agent CLI is missing: install it', 'The job store does not answer'];
    const { app } = await createNativeApp({ deps: { readiness: async () => reasons } });
    const response = await app.inject('/readyz');
    expect(response.statusCode).toBe(503);
    expect(Number(response.headers['retry-after'])).toBeGreaterThan(0);
    expect(problemOf(response)).toEqual({
      type: 'about:blank',
      title: 'Service Unavailable',
      status: 503,
      detail: 'Not ready',
      code: 'unavailable',
      request_id: response.headers['x-request-id'],
      reasons,
    });
  });

  test('that cannot be found out is a fault that tells nothing', async () => {
    const { app } = await createNativeApp({ deps: { readiness: () => Promise.reject(new Error('/srv: EIO')) } });
    const response = await app.inject('/readyz');
    expect(response.statusCode).toBe(500);
    expect(response.body).not.toContain('EIO');
  });
});

test('metrics are Prometheus text and count what was taken and refused', async () => {
  const stats = { active: 0, queued: 0, capacity: 10, draining: false };
  const metrics = createMetrics({ version: '1.2.3', stats: () => stats });
  const { execute, get } = await createNativeApp({ deps: { metrics }, maxUnfinished: 1, script: forever });
  await execute({ prompt: 'a' });
  await execute({ prompt: 'b' });
  await execute({});
  const response = await get('/metrics');
  expect(response.headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/);
  const lines = response.body.split('\n');
  expect(lines).toContain('agent_jobs_accepted_total{route="execute"} 1');
  expect(lines).toContain('agent_jobs_rejected_total{reason="queue_full"} 1');
  expect(lines).toContain('agent_jobs_rejected_total{reason="invalid_request"} 1');
  expect(lines).toContain('agent_jobs_capacity 10');
  expect(lines).toContain('agent_build_info{version="1.2.3"} 1');
  const line = /^(?:#.*|[a-zA-Z_:][\w:]*(?:\{[^}]*\})? [-+\d.eEInfNa]+)$/;
  expect(lines.filter((text) => text !== '' && !line.test(text))).toEqual([]);
});
