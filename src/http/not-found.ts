import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ProblemError } from './errors.ts';
import { isOpenAiPath } from './openai/errors.ts';

interface KnownRoute {
  readonly pattern: RegExp;
  readonly methods: Set<string>;
}

/** Answers 404 for an unknown path and 405 with `Allow` for a known path with another method. Call before routes are added. */
export function useNotFound(app: FastifyInstance): void {
  const routes = new Map<string, KnownRoute>();
  app.addHook('onRoute', ({ url, method }) => {
    const known = routes.get(url) ?? { pattern: patternOf(url), methods: new Set() };
    for (const name of [method].flat()) known.methods.add(name);
    routes.set(url, known);
  });
  const refuse = (request: FastifyRequest): never => {
    const path = request.url.split('?', 1)[0] ?? '';
    const allowed = [...routes.values()].flatMap(({ pattern, methods }) => (pattern.test(path) ? [...methods] : []));
    if (allowed.length > 0) {
      const allow = [...new Set(allowed)].sort().join(', ');
      throw new ProblemError({
        code: 'method_not_allowed',
        detail: `${request.method} is not allowed here; allowed: ${allow}`,
        headers: { allow },
      });
    }
    throw new ProblemError({ code: 'not_found', detail: isOpenAiPath(path) ? 'No such route' : unknownPath });
  };
  // Before its body is looked at: there is no route that could say what it should be.
  app.addHook('onRequest', async (request) => {
    if (request.is404) refuse(request);
  });
  app.setNotFoundHandler(refuse);
}

/** OpenAI clients whose base URL lacks /v1 land here, and read this. */
const unknownPath = 'No such route. OpenAI clients: the base URL ends in /v1';

/** `/jobs/:id` as an anchored expression; a parameter is anything but a slash. */
function patternOf(url: string): RegExp {
  const parts = url
    .split('/')
    .map((part) => (part.startsWith(':') ? '[^/]+' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')));
  return new RegExp(`^${parts.join('/')}$`);
}
