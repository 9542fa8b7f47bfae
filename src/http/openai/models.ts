import { z } from 'zod';
import type { TypedApp } from '../app.ts';
import type { V1Deps } from '../calls/call.ts';
import { modelErrorResponses, openAiErrorResponses } from './answers.ts';
import { modelNotFound } from './errors.ts';

const ModelSchema = z.object({
  id: z.string(),
  object: z.literal('model'),
  created: z.int().describe('Epoch seconds'),
  owned_by: z.string(),
});

/** `GET /v1/models` and `GET /v1/models/:id`: what may stand in a request's `model`. Clients probe them before they ask. */
export function modelRoutes(app: TypedApp, { openai, clock, models }: V1Deps): void {
  const created = Math.floor(clock.now() / 1000);
  const modelOf = (id: string) => ({ id, object: 'model' as const, created, owned_by: 'anthropic' });

  app.route({
    method: 'GET',
    url: '/v1/models',
    schema: {
      summary: 'The models of chat completions',
      tags: ['openai'],
      response: { 200: z.object({ object: z.literal('list'), data: z.array(ModelSchema) }), ...openAiErrorResponses },
    },
    handler: () => ({ object: 'list' as const, data: openai.models.map(modelOf) }),
  });

  app.route({
    method: 'GET',
    url: '/v1/models/:id',
    schema: {
      summary: 'One model',
      tags: ['openai'],
      params: z.object({ id: z.string() }),
      response: { 200: ModelSchema, ...openAiErrorResponses, ...modelErrorResponses },
    },
    handler: ({ params: { id } }, reply) => {
      if (!openai.models.includes(id)) throw modelNotFound(id);
      models.tell(reply, id);
      return modelOf(id);
    },
  });
}
