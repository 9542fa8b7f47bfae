import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';
import { cleanUpLater } from './fixture.ts';

const batch = z.object({ objects: z.array(z.object({ oid: z.string(), size: z.number() })) });

export interface LfsServer {
  readonly url: string;
  /** Method, path and the user of each request. */
  readonly heard: readonly string[];
}

/** Gives a bare repository as plain files, and what its LFS keeps as a server of LFS does. */
export async function serveLfs(repository: string, contents: readonly string[]): Promise<LfsServer> {
  const objects = new Map(contents.map((text) => [createHash('sha256').update(text).digest('hex'), text]));
  const heard: string[] = [];
  const server = createServer((request, response) => void answer(request, response));

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '/', 'http://x').pathname;
    const user = Buffer.from(request.headers.authorization?.replace('Basic ', '') ?? '', 'base64').toString();
    heard.push(`${request.method} ${path} ${user}`);
    const object = objects.get(path.replace('/objects/', ''));
    if (path.endsWith('/objects/batch')) {
      const asked = batch.parse(JSON.parse((await request.toArray()).join('')));
      const actions = (oid: string) => ({ download: { href: `${url()}/objects/${oid}` } });
      const found = asked.objects.map(({ oid, size }) => ({ oid, size, authenticated: true, actions: actions(oid) }));
      response.setHeader('content-type', 'application/vnd.git-lfs+json');
      response.end(JSON.stringify({ transfer: 'basic', objects: found }));
    } else if (object === undefined) {
      const file = await readFile(join(repository, path.replace(/^\/base\.git\//, ''))).catch(() => null);
      if (file === null) response.statusCode = 404;
      response.end(file ?? '');
    } else response.end(object);
  }

  const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanUpLater(async () => {
    server.closeAllConnections();
    server.close();
  });
  return { url: url(), heard };
}
