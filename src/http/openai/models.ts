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
  resolved_model: z
    .string()
    .nullable()
    .describe('The full name that it stood for when a run last used it; null where no such run is known'),
});

/** `GET /v1/models` and `GET /v1/models/:id`: what may stand in a request's `model`. Clients probe them before they ask. */
export function modelRoutes(app: TypedApp, { openai, clock, models }: V1Deps): void {
  const created = Math.floor(clock.now() / 1000);
  const modelOf = async (id: string) => ({
    id,
    object: 'model' as const,
    created,
    owned_by: 'anthropic',
    resolved_model: await models.resolved(id),
  });

  app.route({
    method: 'GET',
    url: '/v1/models',
    schema: {
      summary: 'The models of chat completions',
      tags: ['openai'],
      response: { 200: z.object({ object: z.literal('list'), data: z.array(ModelSchema) }), ...openAiErrorResponses },
    },
    handler: async () => ({ object: 'list' as const, data: await Promise.all(openai.models.map(modelOf)) }),
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
    handler: async ({ params: { id } }, reply) => {
      if (!openai.models.includes(id)) throw modelNotFound(id);
      const model = await modelOf(id);
      models.tell(reply, id);
      return model;
    },
  });
}
