import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type AttachmentClient,
  type AttachmentClientOptions,
  createAttachmentClient,
} from '../../../src/http/openai/attachment-client.ts';
import { createChatApp, headers } from './chat-app.ts';

const host = 'files.example.org';
const png = Buffer.from('iVBORw0KGgo', 'base64');
const answers: Readonly<Record<string, (response: ServerResponse) => void>> = {
  '/a.png': (response) => response.writeHead(200, { 'content-type': 'image/png' }).end(png),
  '/a.txt': (response) => response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' }).end('hé'),
  '/gzip': (response) => response.writeHead(200, { 'content-type': 'text/plain', 'content-encoding': 'gzip' }).end('x'),
  '/a.zip': (response) => response.writeHead(200, { 'content-type': 'application/zip' }).end('x'),
  '/moved': (response) => response.writeHead(302, { location: 'https://127.0.0.1/' }).end(),
  '/long': (response) => response.writeHead(200, { 'content-type': 'image/png' }).end(Buffer.alloc(5000)),
  '/endless': (response) => void response.writeHead(200, { 'content-type': 'image/png' }).write(png),
};
let server: Server;
let base = '';
let connection: NonNullable<AttachmentClientOptions['connection']>;
let client: AttachmentClient;

beforeAll(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'tls-'));
  const [keyFile, certFile] = [join(dir, 'key'), join(dir, 'cert')];
  const subject = ['-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  execFileSync('openssl', ['req', '-x509', ...curve, ...subject, '-keyout', keyFile, '-out', certFile], {
    stdio: 'ignore',
  });
  const ca = readFileSync(certFile, 'utf8');
  server = createServer({ key: readFileSync(keyFile), cert: ca }, (request, response) => {
    const answer = answers[request.url ?? ''];
    if (answer === undefined) response.writeHead(404).end();
    else answer(response);
  });
  rmSync(dir, { recursive: true });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const name = `${host}:${typeof address === 'object' ? address?.port : ''}`;
  base = `https://${name}`;
  connection = {
    ca,
    lookup: (_, { all }, callback) =>
      all === true ? callback(null, [{ address: '127.0.0.1', family: 4 }]) : callback(null, '127.0.0.1', 4),
  };
  client = createAttachmentClient({
    hosts: [name],
    maxBytes: 1000,
    timeoutMs: 1000,
    connection,
  });
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const text = { type: 'text', text: 'Look' };
const image = (url: string) => ({ type: 'image_url', image_url: { url } });
const attachment = { kind: 'image', mediaType: 'image/png', data: png.toString('base64') };

describe('an attachment named by a URL', () => {
  test('is fetched from an allowed host, for each protocol', async () => {
    const { app, allJobs } = await createChatApp({ settings: { attachments: client } });
    const ask = async (url: string, payload: object) =>
      (await app.inject({ method: 'POST', url, headers, payload: { model: 'sonnet', ...payload } })).statusCode;
    const source = { type: 'url', url: `${base}/a.png` };
    const statuses = [
      await ask('/v1/chat/completions', { messages: [{ role: 'user', content: [text, image(`${base}/a.png`)] }] }),
      await ask('/v1/responses', {
        input: [{ role: 'user', content: [{ type: 'input_image', image_url: `${base}/a.png` }] }],
      }),
      await ask('/v1/messages', { max_tokens: 9, messages: [{ role: 'user', content: [{ type: 'image', source }] }] }),
    ];
    expect(statuses).toEqual([200, 200, 200]);
    expect((await allJobs()).map(({ spec }) => spec.attachments)).toEqual([[attachment], [attachment], [attachment]]);
    const file = { type: 'input_file', file_url: `${base}/a.txt`, filename: 'a.txt' };
    expect(await ask('/v1/responses', { input: [{ role: 'user', content: [file] }] })).toBe(200);
    expect((await allJobs())[0]?.spec.prompt).toContain('hé');
  });

  test.each([
    ['/gone', 'its host answered 404'],
    ['/moved', 'its host answered 302'],
    ['/gzip', 'its encoding is not supported'],
    ['/a.zip', 'its media type is not supported'],
    ['/long', 'it is longer than 1000 bytes'],
    ['/endless', 'it took too long'],
  ])('is refused with the reason: %s', async (path, reason) => {
    const { chat, allJobs } = await createChatApp({ settings: { attachments: client } });
    const answer = await chat({ messages: [{ role: 'user', content: [text, image(`${base}${path}`)] }] });
    expect(answer.statusCode).toBe(400);
    expect(answer.json()).toMatchObject({
      error: { param: 'messages[0].content[1]', code: 'invalid_value', message: expect.stringContaining(reason) },
    });
    expect(await allJobs()).toEqual([]);
  });

  test('is refused where all of a request take too long together', async () => {
    const options = { hosts: [new URL(base).host], maxBytes: 1000, connection, requestTimeoutMs: 1_500 };
    const { chat } = await createChatApp({ settings: { attachments: createAttachmentClient(options) } });
    const content = [text, image(`${base}/a.png`), image(`${base}/endless`)];
    const answer = await chat({ messages: [{ role: 'user', content }] });
    expect(answer.json()).toMatchObject({
      error: { param: 'messages[0].content[2]', message: expect.stringContaining('took too long') },
    });
  });

  test('is refused where there are too many', async () => {
    const { chat } = await createChatApp({ settings: { attachments: client } });
    const content = [text, ...Array.from({ length: 17 }, () => image(`${base}/a.png`))];
    const answer = await chat({ messages: [{ role: 'user', content }] });
    expect(answer.json()).toMatchObject({ error: { param: 'messages[0].content[17]' } });
  });

  test.each([
    'http://files.example.org/a.png',
    'https://other.example.org/a.png',
    'https://u:p@files.example.org/',
    'x',
  ])('is not fetched from anywhere else: %s', async (url) => {
    const attachments: AttachmentClient = {
      ...createAttachmentClient({ hosts: [host], maxBytes: 1000 }),
      fetch: async () => await Promise.reject(new Error('fetched')),
    };
    const { chat } = await createChatApp({ settings: { attachments } });
    const answer = await chat({ messages: [{ role: 'user', content: [text, image(url)] }] });
    expect(answer.json()).toMatchObject({ error: { code: 'unsupported_value' } });
  });

  test('is not fetched from a private address, also behind a name that is allowed', async () => {
    const hosts = ['localhost', '127.0.0.1', '[::1]', '169.254.169.254', '[::ffff:7f00:1]', '[::7f00:1]'];
    const careful = createAttachmentClient({ hosts, maxBytes: 1000 });
    expect(hosts.map((name) => careful.isAllowed(`https://${name}/`))).toEqual([
      true,
      false,
      false,
      false,
      false,
      false,
    ]);
    await expect(careful.fetch('https://localhost/', new AbortController().signal)).rejects.toThrow(
      'its host has a private address',
    );
  });
});
