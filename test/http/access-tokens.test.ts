import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AccessTokenError, findAccessTokens, type TokenSources } from '../../src/http/access-tokens.ts';
import { createTokenVerifier, tokenDigest } from '../../src/http/auth.ts';
import { temporaryDirectory } from '../helpers/service-process.ts';

async function sources(more: Partial<TokenSources> = {}): Promise<TokenSources & { readonly dir: string }> {
  const dir = await temporaryDirectory();
  return { dir, token: undefined, tokenFile: undefined, digestFile: join(dir, 'token.sha256'), ...more };
}

/** Of some texts, those that open the service. */
async function opening(from: TokenSources, texts: readonly string[]): Promise<readonly string[]> {
  const { digests, made } = await findAccessTokens(from);
  expect(made).toBeNull();
  return texts.filter(createTokenVerifier(digests));
}

async function withTokenFile(text: string): Promise<TokenSources & { readonly dir: string }> {
  const from = await sources();
  const tokenFile = join(from.dir, 'token');
  await writeFile(tokenFile, text);
  return { ...from, tokenFile };
}

async function messageOf(from: TokenSources): Promise<string> {
  const error: unknown = await findAccessTokens(from).catch((reason: unknown) => reason);
  if (!(error instanceof AccessTokenError)) throw new Error(`expected an AccessTokenError: ${String(error)}`);
  return error.message;
}

describe('configured tokens', () => {
  test('one in a variable opens the service, and nothing is written', async () => {
    const from = await sources({ token: 'abc' });
    expect(await opening(from, ['abc', 'abd', ''])).toEqual(['abc']);
    expect(await readdir(from.dir)).toEqual([]);
  });

  test.each([
    ['a line', 'one\n'],
    ['a line without an end', 'one'],
    ['a line from Windows', 'one\r\n'],
    ['a line among empty ones', '\n\n  \none\r\n\n'],
  ])('%s in a file opens the service', async (_name, text) => {
    expect(await opening(await withTokenFile(text), ['one', 'one\r', ''])).toEqual(['one']);
  });

  test('each line of a file opens the service, and so does the variable', async () => {
    const from = { ...(await withTokenFile('one\ntwo==\r\nthree\n')), token: 'four' };
    expect(await opening(from, ['one', 'two==', 'three', 'four', 'five'])).toEqual(['one', 'two==', 'three', 'four']);
  });

  test('they count alone, also where a made one is kept', async () => {
    const from = await sources();
    const { made } = await findAccessTokens(from);
    expect(await opening({ ...from, token: 'abc' }, [made ?? '', 'abc'])).toEqual(['abc']);
  });

  test.each(['', '\n\r\n ', 'two words\n', 'one\nbad token\n', ' one\n', 'é\n', '=\n', 'a\0b\n', 'a'.repeat(5000)])(
    'a file with %j stops the start, without its content in the message',
    async (text) => {
      const message = await messageOf(await withTokenFile(text));
      expect(message).toMatch(
        /^API_BEARER_TOKEN_FILE names a file without a usable token; allowed: one token per line/,
      );
      expect(message).not.toMatch(/two words|bad token|é/);
    },
  );

  test('a file that is not there stops the start, and is named', async () => {
    const from = await sources({ tokenFile: '/nonexistent/token' });
    expect(await messageOf(from)).toBe('API_BEARER_TOKEN_FILE names a file that cannot be read: /nonexistent/token');
    expect(await readdir(from.dir)).toEqual([]);
  });

  test('a directory instead of a file stops the start', async () => {
    const from = await sources();
    expect(await messageOf({ ...from, tokenFile: from.dir })).toContain('cannot be read');
  });
});

describe('without any, one is made', () => {
  test('told once, and kept as its digest alone', async () => {
    const from = await sources();
    const first = await findAccessTokens(from);
    expect(first.made).toMatch(/^ast_[A-Za-z0-9_-]{43}$/);
    const made = first.made ?? '';
    expect(await readFile(from.digestFile, 'utf8')).toBe(`${tokenDigest(made).toString('hex')}\n`);
    expect((await stat(from.digestFile)).mode & 0o777).toBe(0o600);
    expect(await readdir(from.dir)).toEqual(['token.sha256']);
    expect(await opening(from, [made, 'x'])).toEqual([made]);
  });

  test('never the same twice', async () => {
    const made = new Set<string | null>();
    for (let n = 0; n < 10; n += 1) made.add((await findAccessTokens(await sources())).made);
    expect(made.size).toBe(10);
  });

  test('by one of several starts at once, and all agree on it', async () => {
    const from = await sources();
    const all = await Promise.all(Array.from({ length: 20 }, async () => await findAccessTokens(from)));
    const made = all.flatMap((tokens) => tokens.made ?? []);
    expect(made).toHaveLength(1);
    for (const { digests } of all) expect(createTokenVerifier(digests)(made[0] ?? '')).toBe(true);
    expect(await readdir(from.dir)).toEqual(['token.sha256']);
  });

  test.each(['', 'x', '\n', 'ab'.repeat(32), `${'AB'.repeat(32)}\n`, `${'ab'.repeat(31)}\n`, `${'ab'.repeat(32)}\n\n`])(
    'but where %j is kept instead of a digest the start stops',
    async (text) => {
      const from = await sources();
      await writeFile(from.digestFile, text);
      expect(await messageOf(from)).toContain(`${from.digestFile} does not hold a digest`);
      expect(await readFile(from.digestFile, 'utf8')).toBe(text);
    },
  );

  test('but where the digest cannot be read the start stops', async () => {
    const from = await sources();
    await mkdir(from.digestFile);
    expect(await messageOf(from)).toBe(`The digest of the token cannot be read: ${from.digestFile}`);
  });

  test('but where it cannot be kept the start stops', async () => {
    const from = await sources();
    const missing = join(from.dir, 'missing', 'token.sha256');
    expect(await messageOf({ ...from, digestFile: missing })).toBe(
      `The digest of the token cannot be written: ${missing}`,
    );
    await symlink('nowhere', from.digestFile);
    expect(await messageOf(from)).toBe(`The digest of the token cannot be written: ${from.digestFile}`);
    expect(await readdir(from.dir)).toEqual(['token.sha256']);
  });

  test.skipIf(process.getuid?.() === 0)('but where the directory is read-only the start stops', async () => {
    const from = await sources();
    await chmod(from.dir, 0o500);
    expect(await messageOf(from)).toContain('cannot be written');
    await chmod(from.dir, 0o700);
  });
});
