import createInstructor from '@instructor-ai/instructor';
import OpenAI from 'openai';
import { describe, expect, test } from 'vitest';
import { z } from 'zod/v3';
import { ask } from './openai-clients.ts';
import { collect, shareFakeService } from './shared-service.ts';

const shared = shareFakeService();

const structured = 'usage: 70 3\nstructured: {"a":1}';
const model = { schema: z.object({ a: z.number() }), name: 'Answer' };

type Mode = Parameters<typeof createInstructor>[0]['mode'];

function connect(mode: Mode) {
  return createInstructor({ client: new OpenAI(shared.settings()), mode }).chat.completions;
}

describe.concurrent('Instructor', () => {
  // In the modes MD_JSON and THINKING_MD_JSON nothing but the prompt says what is wanted.
  test.each<Mode>(['TOOLS', 'FUNCTIONS', 'JSON_SCHEMA', 'JSON'])('gets an object in mode %s', async (mode) => {
    const answer = await connect(mode).create({ ...ask(structured), response_model: model });
    expect(answer).toMatchObject({ a: 1, _meta: { usage: { total_tokens: 73 } } });
  });

  test.each<Mode>(['TOOLS', 'JSON_SCHEMA'])('gets an object as it comes in mode %s', async (mode) => {
    const parts = await collect(
      await connect(mode).create({ ...ask(structured), response_model: model, stream: true }),
    );
    expect(parts.at(-1)).toMatchObject({ a: 1 });
  });
});
