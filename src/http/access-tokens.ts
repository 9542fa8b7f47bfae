import { randomBytes } from 'node:crypto';
import { link, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { tokenDigest } from './auth.ts';

export interface TokenSources {
  readonly token: string | undefined;
  /** A file with one token per line. */
  readonly tokenFile: string | undefined;
  /** Where the digest of a token that was made here is kept, for the case that no other is configured. */
  readonly digestFile: string;
}

export interface AccessTokens {
  /** SHA-256 of each token that opens the service. */
  readonly digests: readonly Buffer[];
  /** The token that was made just now; nothing of ours can show it again. */
  readonly made: string | null;
}

/** The tokens cannot be had. The message is for an operator: it names the file. */
export class AccessTokenError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'AccessTokenError';
  }
}

/** What a token may consist of: `b64token` of RFC 6750. */
const tokenPattern = /^[A-Za-z0-9\-._~+/]{1,4096}=*$/;
/** 256 bits: it can be neither guessed nor found by its digest. */
const tokenBytes = 32;

/** Finds the tokens, or makes one where there is none anywhere. Two starts at once agree on one. */
export async function findAccessTokens({ token, tokenFile, digestFile }: TokenSources): Promise<AccessTokens> {
  const configured = [
    ...(token === undefined ? [] : [token]),
    ...(tokenFile === undefined ? [] : await readTokenFile(tokenFile)),
  ];
  if (configured.length > 0) return { digests: configured.map(tokenDigest), made: null };
  const kept = await readDigest(digestFile);
  return kept === undefined ? await makeToken(digestFile) : { digests: [kept], made: null };
}

async function readTokenFile(path: string): Promise<readonly string[]> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new AccessTokenError(`API_BEARER_TOKEN_FILE names a file that cannot be read: ${path}`, { cause: error });
  });
  const tokens = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  if (tokens.length === 0 || !tokens.every((line) => tokenPattern.test(line))) {
    const allowed = 'one token per line, of A-Z a-z 0-9 - . _ ~ + / and trailing =';
    throw new AccessTokenError(`API_BEARER_TOKEN_FILE names a file without a usable token; allowed: ${allowed}`);
  }
  return tokens;
}

async function readDigest(path: string): Promise<Buffer | undefined> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw new AccessTokenError(`The digest of the token cannot be read: ${path}`, { cause: error });
  });
  if (text === undefined) return undefined;
  if (!/^[0-9a-f]{64}\n$/.test(text)) {
    throw new AccessTokenError(`${path} does not hold a digest: set API_BEARER_TOKEN, or remove it to get a new token`);
  }
  return Buffer.from(text.trim(), 'hex');
}

/** Written beside, synced, then linked into place: a torn file would lock everyone out, and a second start must not win. */
async function makeToken(digestFile: string): Promise<AccessTokens> {
  const made = `ast_${randomBytes(tokenBytes).toString('base64url')}`;
  const digest = tokenDigest(made);
  try {
    await writeOnce(digestFile, `${digest.toString('hex')}\n`);
    return { digests: [digest], made };
  } catch (error) {
    // Another start was faster: its token is the one.
    const kept = isErrno(error, 'EEXIST') ? await readDigest(digestFile) : undefined;
    if (kept !== undefined) return { digests: [kept], made: null };
    throw new AccessTokenError(`The digest of the token cannot be written: ${digestFile}`, { cause: error });
  }
}

async function writeOnce(path: string, text: string): Promise<void> {
  const beside = await mkdtemp(join(dirname(path), '.token-'));
  try {
    const draft = join(beside, 'digest');
    await writeFile(draft, text, { flag: 'wx', mode: 0o600, flush: true });
    await link(draft, path);
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
