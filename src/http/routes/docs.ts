import swagger from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';
import { jsonSchemaTransform } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { TypedApp } from '../app.ts';
import { docsPage } from '../docs-page.ts';
import { errorResponses } from '../schemas.ts';

/** Collects the routes' schemas as they are added: the document is made of what validates. */
export async function useOpenApi(app: FastifyInstance, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Agent service', version, description: 'Runs coding agents over HTTP.' },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
      security: [{ bearer: [] }],
    },
    transform: jsonSchemaTransform,
  });
}

/** `GET /openapi.json` and `GET /docs`, the same document for programs and for people. */
export function docsRoutes(app: TypedApp): void {
  app.route({
    method: 'GET',
    url: '/openapi.json',
    schema: {
      summary: 'This API as OpenAPI 3.1',
      tags: ['operations'],
      response: { 200: z.looseObject({ openapi: z.string() }), ...errorResponses },
    },
    handler: async (_request, reply) =>
      await reply
        .header('content-type', 'application/json; charset=utf-8')
        .serializer(JSON.stringify)
        .send(app.swagger() as never),
  });

  app.route({
    method: 'GET',
    url: '/docs',
    schema: {
      summary: 'This API as a page',
      tags: ['operations'],
      response: {
        200: { description: 'A page without scripts', content: { 'text/html': { schema: z.string() } } },
        ...errorResponses,
      },
    },
    handler: async (_request, reply) =>
      await reply
        .header('content-type', 'text/html; charset=utf-8')
        .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'")
        .serializer(String)
        .send(docsPage(app.swagger())),
  });
}
