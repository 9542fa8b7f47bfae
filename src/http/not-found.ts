import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ProblemError } from './errors.ts';
import { isOpenAiPath, openAiError } from './openai/errors.ts';

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
  const refusalOf = (request: FastifyRequest): Error => {
    const path = request.url.split('?', 1)[0] ?? '';
    const allowed = [...routes.values()].flatMap(({ pattern, methods }) => (pattern.test(path) ? [...methods] : []));
    if (allowed.length > 0) {
      const allow = [...new Set(allowed)].sort().join(', ');
      return new ProblemError({
        code: 'method_not_allowed',
        detail: `${request.method} is not allowed here; allowed: ${allow}`,
        headers: { allow },
      });
    }
    const problem = { code: 'not_found', detail: detailOf(path) } as const;
    return clientPath.test(path) ? openAiError(problem) : new ProblemError(problem);
  };
  // Before its body is looked at: there is no route that could say what it should be.
  app.addHook('onRequest', (request, _reply, done) => {
    done(request.is404 ? refusalOf(request) : undefined);
  });
  app.setNotFoundHandler((request) => {
    throw refusalOf(request);
  });
}

/** Where OpenAI clients land whose base URL lacks /v1: they read no body but that of OpenAI. */
const clientPath = /^\/(?:chat\/completions|completions|responses|models|embeddings)(?:\/|$)/;

function detailOf(path: string): string {
  // Anthropic clients add /v1 themselves.
  if (path.startsWith('/v1/v1/')) return 'No such route: the base URL has one /v1 too many';
  return isOpenAiPath(path) ? 'No such route' : 'No such route. OpenAI clients: the base URL ends in /v1';
}

/** `/jobs/:id` as an anchored expression; a parameter is anything but a slash. */
function patternOf(url: string): RegExp {
  const parts = url
    .split('/')
    .map((part) => (part.startsWith(':') ? '[^/]+' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')));
  return new RegExp(`^${parts.join('/')}$`);
}
