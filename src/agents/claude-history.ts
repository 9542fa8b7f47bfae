import { randomUUID } from 'node:crypto';
import type { PastTurn } from '../jobs/job.ts';

/**
 * Earlier turns as the transcript of a session that the CLI resumes: one line of JSON per turn, each naming the one before.
 * The CLI needs no more than these fields. The model is that of the command line: without one there, it goes on with this one.
 */
export function claudeHistory(turns: readonly PastTurn[], cwd: string, model: string | null): string {
  const sessionId = randomUUID();
  const timestamp = new Date().toISOString();
  let parentUuid: string | null = null;
  return turns
    .map(({ role, text }) => {
      const uuid = randomUUID();
      const place = { parentUuid, isSidechain: false, userType: 'external', cwd, sessionId, version: '2.1.329' };
      parentUuid = uuid;
      const message = role === 'user' ? { role, content: text } : answerOf(text, model);
      return `${JSON.stringify({ ...place, type: role, message, uuid, timestamp })}\n`;
    })
    .join('');
}

function answerOf(text: string, model: string | null) {
  const content = [{ type: 'text', text }];
  const known = model === null ? {} : { model };
  return { id: `msg_${randomUUID()}`, type: 'message', role: 'assistant', ...known, content, stop_reason: 'end_turn' };
}
