import { connect, type Socket } from 'node:net';
import { expect, onTestFinished } from 'vitest';
import { addressOf, type TestApp, type TestAppOptions, token } from '../helpers/test-app.ts';
import { waitFor } from '../helpers/wait.ts';
import { createNativeApp, type NativeApp } from './native-app.ts';

/** Requests as bytes, and what comes back as bytes: for what no HTTP client would send. */

export const host = 'host: a\r\n';
export const auth = `authorization: Bearer ${token}\r\n`;
export const json = 'content-type: application/json\r\n';
export const close = 'connection: close\r\n';
export const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\n${host}${auth}${more}\r\n`;
export const post = (path: string, body: string, more = ''): string =>
  `POST ${path} HTTP/1.1\r\n${host}${auth}${json}content-length: ${body.length}\r\n${more}\r\n${body}`;

export async function listening(options: TestAppOptions = {}): Promise<NativeApp> {
  const nativeApp = await createNativeApp(options);
  await nativeApp.listen();
  return nativeApp;
}

/** The one answer to what was sent, once the server has closed the connection. */
export async function answerTo(nativeApp: NativeApp, text: string): Promise<RawAnswer> {
  const answers = answersIn(await openRaw(nativeApp, text).closed());
  const [answer] = answers;
  if (answer === undefined || answers.length > 1) throw new Error(`${answers.length} answers`);
  return answer;
}

/** What a refused answer looks like. */
export function problem(status: number, code: string): object {
  const names = `"status":${status},"detail":"[^"]+","code":"${code}"`;
  return {
    status,
    headers: expect.objectContaining({
      'content-type': 'application/problem+json',
      'x-request-id': expect.any(String),
    }),
    body: expect.stringMatching(
      new RegExp(`^\\{"type":"about:blank","title":"[^"]+",${names},"request_id":"req_[\\w-]+"\\}$`),
    ),
  };
}

export interface RawConnection {
  readonly socket: Socket;
  /** All that came so far. */
  received(): string;
  /** All that came, once the server has closed its side. */
  closed(): Promise<string>;
}

/** A connection to a listening server, for what no HTTP client would send. `text` is sent byte by byte as latin1. */
export function openRaw({ app }: TestApp, text: string): RawConnection {
  const socket = connect({ port: addressOf(app).port, host: '127.0.0.1', allowHalfOpen: true });
  let received = '';
  let isClosed = false;
  socket.setEncoding('latin1');
  socket.on('data', (chunk: string) => (received += chunk));
  socket.on('end', () => (isClosed = true));
  socket.on('close', () => (isClosed = true));
  // A connection that the server resets shows in what is missing.
  socket.on('error', () => (isClosed = true));
  socket.write(text, 'latin1');
  onTestFinished(() => void socket.destroy());
  return {
    socket,
    received: () => received,
    async closed() {
      await waitFor(() => isClosed, Boolean, { what: 'the server to close the connection' });
      return received;
    },
  };
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The answers in what a connection received, in order; those without a body only at the end. */
export function answersIn(received: string): readonly RawAnswer[] {
  const answers: RawAnswer[] = [];
  for (let rest = received; rest !== ''; ) {
    const [head = ''] = rest.split('\r\n\r\n', 1);
    const [first = '', ...lines] = head.split('\r\n');
    const fields = Object.fromEntries(lines.map((line) => [nameIn(line), line.slice(line.indexOf(':') + 2)]));
    const length = Number(fields['content-length'] ?? 0);
    const body = rest.slice(head.length + 4, head.length + 4 + length);
    answers.push({ status: Number(first.split(' ')[1]), headers: fields, body });
    rest = rest.slice(head.length + 4 + length);
  }
  return answers;
}

function nameIn(line: string): string {
  return line.slice(0, line.indexOf(':')).toLowerCase();
}
