import type { LightMyRequestResponse } from 'fastify';
import type { JobRecord } from '../../../src/jobs/job.ts';
import { createTestApp, headers, type TestApp, type TestAppOptions } from '../../helpers/test-app.ts';

export { addressOf, headers, maxPromptBytes, token } from '../../helpers/test-app.ts';

export type ChatAppOptions = TestAppOptions;

export interface ChatApp extends TestApp {
  chat(body: object): Promise<LightMyRequestResponse>;
  allJobs(): Promise<readonly JobRecord[]>;
}

/** The whole server, asked as OpenAI's clients ask. */
export async function createChatApp(options: ChatAppOptions = {}): Promise<ChatApp> {
  const testApp = await createTestApp(options);
  const { app, service } = testApp;
  return {
    ...testApp,
    chat: async (body) => await app.inject({ method: 'POST', url: '/v1/chat/completions', headers, payload: body }),
    allJobs: async () => (await service.list({ status: null, caller: null, limit: 200, beforeSeq: null })).jobs,
  };
}

export const question = { model: 'sonnet', messages: [{ role: 'user', content: 'Hi' }] };
