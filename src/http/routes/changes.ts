import { z } from 'zod';
import type { AppDeps, TypedApp } from '../app.ts';
import { ChangeSetSchema } from '../change-schemas.ts';
import { changeSetView } from '../job-view.ts';
import { ErrorSchema, errorResponses, unavailableResponse } from '../schemas.ts';

const params = z.object({ id: z.string() });
const missing = {
  404: {
    description: 'No such job, or (`no_changes`) one that has not ended yet or whose changes are lost',
    content: { 'application/problem+json': { schema: ErrorSchema } },
  },
};
const unchanged = {
  base_commit: null,
  head_commit: null,
  ...{ files_changed: 0, insertions: 0, deletions: 0, commits_made: 0, patch_bytes: 0 },
  ...{ truncated: false, problem: null, push: null, left_out: [], files: [], commits: [] },
};

/** `GET /jobs/:id/diff` and `GET /jobs/:id/changes`: what the run changed, committed or not, however it ended. */
export function changeRoutes(app: TypedApp, { jobs }: AppDeps): void {
  app.route({
    method: 'GET',
    url: '/jobs/:id/diff',
    schema: {
      summary: 'What a job changed, as a patch',
      description: '`git apply --binary` takes it on the base commit. Empty if nothing changed.',
      tags: ['jobs'],
      params,
      response: {
        200: { description: 'The patch', content: { 'text/x-diff': { schema: z.string() } } },
        ...errorResponses,
        ...missing,
        ...unavailableResponse,
      },
    },
    handler: async ({ params: { id } }, reply) => {
      const patch = await jobs.patch(id);
      // Bytes, and no charset: the files may be in any.
      reply.header('content-type', 'text/x-diff').header('x-content-type-options', 'nosniff');
      return await reply.serializer(String).send((patch ?? '') as never);
    },
  });

  app.route({
    method: 'GET',
    url: '/jobs/:id/changes',
    schema: {
      summary: 'What a job changed, file by file, and the commits it made',
      tags: ['jobs'],
      params,
      response: { 200: ChangeSetSchema, ...errorResponses, ...missing, ...unavailableResponse },
    },
    handler: async ({ params: { id } }) => {
      const changes = await jobs.changes(id);
      return changes === null ? unchanged : changeSetView(changes);
    },
  });
}
