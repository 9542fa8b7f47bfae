import type { LightMyRequestResponse } from 'fastify';
import { createTestApp, headers, type TestApp, type TestAppOptions } from '../helpers/test-app.ts';

export { headers, maxPromptBytes, token } from '../helpers/test-app.ts';

export interface NativeApp extends TestApp {
  /** `POST /execute` with this body: an object as JSON, a text or bytes as they are. */
  execute(body: unknown, more?: Readonly<Record<string, string>>): Promise<LightMyRequestResponse>;
  /** Submits a job; answers its id. */
  submit(body?: object): Promise<string>;
  get(url: string): Promise<LightMyRequestResponse>;
  /** The job once it is final, as `GET /jobs/:id` shows it. */
  finished(id: string): Promise<Record<string, unknown>>;
}

/** The whole server, asked as internal services ask. */
export async function createNativeApp(options: TestAppOptions = {}): Promise<NativeApp> {
  const testApp = await createTestApp(options);
  const { app } = testApp;
  const get = async (url: string): Promise<LightMyRequestResponse> => await app.inject({ url, headers });
  const execute: NativeApp['execute'] = async (body, more = {}) => {
    const payload = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    return await app.inject({ method: 'POST', url: '/execute', headers: { ...headers, ...more }, payload });
  };
  return {
    ...testApp,
    execute,
    get,
    submit: async (body = { prompt: 'Hi' }) => String(asRecord((await execute(body)).json())['job_id']),
    finished: async (id) => asRecord((await get(`/jobs/${id}?wait=60`)).json()),
  };
}

export function asRecord(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw new Error(`not an object: ${String(value)}`);
  return { ...value };
}

/** What every refusal of the native API looks like. */
export function problemOf(response: LightMyRequestResponse): Record<string, unknown> {
  const type = response.headers['content-type'];
  if (type !== 'application/problem+json') throw new Error(`${response.statusCode} is not a problem: ${String(type)}`);
  const body = asRecord(response.json());
  if (body['request_id'] !== response.headers['x-request-id']) throw new Error('request_id is not x-request-id');
  return body;
}
