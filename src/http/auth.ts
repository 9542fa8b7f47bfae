import { hash, timingSafeEqual } from 'node:crypto';
import bearerAuth from '@fastify/bearer-auth';
import type { FastifyInstance } from 'fastify';
import { ProblemError, unauthenticated } from './errors.ts';
import { countHeader } from './request-framing.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** True for the probes: Kubernetes has no token. */
    readonly public?: boolean;
  }
}

/** Says whether a bearer token is one of ours. */
export type VerifyToken = (token: string) => boolean;

/**
 * Knows tokens by their SHA-256 digests (32 bytes each). Digests are compared in constant time: all have one length, whatever
 * a caller sends, and a token that is not ASCII is just another wrong one.
 */
export function createTokenVerifier(digests: readonly Buffer[]): VerifyToken {
  return (token) => {
    const digest = tokenDigest(token);
    let known = false;
    for (const candidate of digests) known = timingSafeEqual(candidate, digest) || known;
    return known;
  };
}

export function tokenDigest(token: string): Buffer {
  return hash('sha256', token, 'buffer');
}

/** Every route but the public ones wants `Authorization: Bearer <token>`, before its body is read. */
export async function useBearerAuth(app: FastifyInstance, verify: VerifyToken): Promise<void> {
  await app.register(bearerAuth, {
    keys: new Set<string>(),
    auth: verify,
    addHook: false,
    // The scheme's name is case-insensitive (RFC 9110, section 11.1); 'rfc6749' is this plugin's word for that.
    specCompliance: 'rfc6749',
    verifyErrorLogLevel: 'debug',
  });
  const { verifyBearerAuth } = app;
  if (verifyBearerAuth === undefined) throw new Error('the bearer plugin did not decorate the server');
  app.addHook('onRequest', (request, reply, done) => {
    if (request.is404 || request.routeOptions.config.public === true) done();
    // Of two tokens, a proxy on the way may have looked at the other one.
    else if (countHeader(request, 'authorization') > 1) done(new ProblemError(unauthenticated));
    else verifyBearerAuth(request, reply, done);
  });
}
