import { join } from 'node:path';
import { expect, test } from 'vitest';
import { asRecord, startServiceProcess, token } from '../helpers/service-process.ts';
import { piecesPrompt, printedPieces, runStreams } from '../stress/streams.ts';

/** Enough that they overlap; `bench/streams.ts` has a hundred. */
const options = { streams: 16, pieces: 60, burst: 10, pauseSeconds: 0.1 };
const agent = join(import.meta.dirname, '..', 'fixtures', 'agents', 'pieces.sh');

test('streams at the same time say what their agents print, piece by piece, as does a plain answer', async () => {
  const service = await startServiceProcess({ env: { CLAUDE_BIN: agent, MAX_CONCURRENCY: String(options.streams) } });
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const { faults } = await runStreams({ ...options, url: service.url, headers });
  expect(faults).toEqual([]);
  const messages = [{ role: 'user', content: piecesPrompt('plain', options) }];
  const answer = await service.post('/v1/chat/completions', { model: 'sonnet', messages });
  expect(asRecord(await answer.json())).toMatchObject({
    choices: [{ message: { content: printedPieces('plain', options.pieces).join('') } }],
  });
});
