import type { FastifyInstance, FastifyReply } from 'fastify';
import { isOpenAiPath } from './errors.ts';

/** Puts `openai-processing-ms` on every answer under /v1, errors too. A stream sets it itself: its headers bypass this hook. */
export function useProcessingTime(app: FastifyInstance): void {
  app.addHook('onSend', (request, reply, _payload, done) => {
    if (isOpenAiPath(request.url)) setProcessingTime(reply);
    done();
  });
}

export function setProcessingTime(reply: FastifyReply): void {
  reply.header('openai-processing-ms', String(Math.round(reply.elapsedTime)));
}
