import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';

const Chunk = z.object({
  choices: z.array(
    z.object({ delta: z.object({ content: z.string().optional() }), finish_reason: z.string().nullable() }),
  ),
});

/** Chats that are streamed at the same time, by the agent `pieces.sh`: every one has to say what its agent printed, no more. */
export interface StreamsOptions {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly streams: number;
  /** Of each stream. */
  readonly pieces: number;
  /** How many pieces are printed without a pause, and how long the pause is. */
  readonly burst: number;
  readonly pauseSeconds: number;
}

export interface StreamsReport {
  /** What was not as printed, a sentence each. */
  readonly faults: readonly string[];
  /** Of each stream, in ms since its request. */
  readonly headersMs: readonly number[];
  readonly firstPieceMs: readonly number[];
  readonly endMs: readonly number[];
}

interface Stream {
  readonly events: readonly string[];
  readonly headersMs: number;
  readonly firstPieceMs: number;
  readonly endMs: number;
}

/** Rejects if a request is refused; all that is wrong with what is streamed is in the report. */
export async function runStreams(options: StreamsOptions): Promise<StreamsReport> {
  const tags = Array.from({ length: options.streams }, (_, index) => `s${index}`);
  const streams = await Promise.all(tags.map((tag) => stream(options, tag)));
  return {
    faults: streams.flatMap(({ events }, index) => faultsOf(events, tags[index] ?? '', options.pieces)),
    headersMs: streams.map(({ headersMs }) => headersMs),
    firstPieceMs: streams.map(({ firstPieceMs }) => firstPieceMs),
    endMs: streams.map(({ endMs }) => endMs),
  };
}

/** What the agent prints for a prompt with this tag. */
export function printedPieces(tag: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `${tag}:${index + 1} "é"🦔\n`);
}

export function piecesPrompt(tag: string, { pieces, burst, pauseSeconds }: Omit<StreamsOptions, 'url' | 'headers'>) {
  return `${tag} ${pieces} ${burst} ${pauseSeconds}`;
}

async function stream(options: StreamsOptions, tag: string): Promise<Stream> {
  const start = performance.now();
  const messages = [{ role: 'user', content: piecesPrompt(tag, options) }];
  const response = await fetch(`${options.url}/v1/chat/completions`, {
    method: 'POST',
    headers: options.headers,
    body: JSON.stringify({ model: 'sonnet', stream: true, stream_options: { include_usage: true }, messages }),
  });
  const headersMs = performance.now() - start;
  if (response.status !== 200 || response.body === null) throw new Error(`${response.status} ${await response.text()}`);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const body: AsyncIterable<Uint8Array<ArrayBuffer>> = response.body;
  const texts: string[] = [];
  let firstPieceMs = 0;
  for await (const bytes of body) {
    texts.push(decoder.decode(bytes, { stream: true }));
    if (firstPieceMs === 0 && texts.at(-1)?.includes(`${tag}:`)) firstPieceMs = performance.now() - start;
  }
  const events = texts
    .join('')
    .split('\n')
    .flatMap((line) => (line.startsWith('data: ') ? [line.slice('data: '.length)] : []));
  return { events, headersMs, firstPieceMs, endMs: performance.now() - start };
}

/** One event with the role, the pieces, one with the reason, one with the usage, `[DONE]`: in this order. */
function faultsOf(events: readonly string[], tag: string, count: number): readonly string[] {
  const chunks = events.filter((event) => event !== '[DONE]').map((event) => Chunk.parse(JSON.parse(event)));
  const deltas = chunks.flatMap(({ choices }) => choices);
  const pieces = deltas.flatMap(({ delta }) => (delta.content === undefined ? [] : [delta.content]));
  const wanted = ['', ...printedPieces(tag, count)];
  const wrong = pieces.findIndex((piece, index) => piece !== wanted[index]);
  const reasons = deltas.flatMap(({ finish_reason: reason }) => (reason === null ? [] : [reason]));
  return [
    ...(isDeepStrictEqual(pieces, wanted) ? [] : [`${tag}: ${pieces.length} pieces, wrong from ${wrong} on`]),
    ...(isDeepStrictEqual(reasons, ['stop']) ? [] : [`${tag}: ended with ${JSON.stringify(reasons)}`]),
    ...(events.at(-1) === '[DONE]' && events.length === count + 4 ? [] : [`${tag}: ${events.length} events`]),
  ];
}
