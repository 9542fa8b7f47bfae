import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';

/**
 * A git directory of the service's own over a job's work tree. Git reads configuration, hooks, attributes of `info` and refs
 * from here alone, so nothing that the job put into its `.git` is ever looked at; there is no filter, textconv or diff driver
 * to run, and no transport is allowed.
 */
export interface ScratchRepo {
  readonly gitDir: string;
  /** Runs git; answers its standard output, bounded. Rejects if git fails, says too much, or the signal aborts. */
  run(args: readonly string[], more?: RunOptions): Promise<Buffer>;
  /**
   * Runs git with its standard output in a file, which is cut after `maxBytes`. Answers whether it was. With `onHead`, what
   * comes before the first two NULs in a row goes there instead, and those NULs nowhere.
   */
  runToFile(args: readonly string[], file: string, limits: FileLimits): Promise<{ readonly cut: boolean }>;
}

interface RunOptions {
  readonly input?: Buffer;
  readonly signal?: AbortSignal;
  /** Further stores to read objects from. */
  readonly objects?: readonly string[];
  /** Another index than the repository's own. */
  readonly index?: string;
}

interface FileLimits {
  readonly maxBytes: number;
  readonly signal: AbortSignal;
  /** Another index than the repository's own. */
  readonly index?: string;
  readonly onHead?: (head: Buffer) => void;
}

export interface ScratchRepoOptions {
  readonly gitDir: string;
  readonly workTree: string;
  /** Of the base, whose own objects no job writes. */
  readonly objects: string;
  /** The length of the ids decides the format. */
  readonly baseCommit: string | null;
  readonly path: string;
  /** For commands that write no objects: it is made sooner. */
  readonly readsOnly?: boolean;
}

/** What git calls a tree without entries, in a repository of its default format. */
export const emptyTree = '4b825dc642cb6eb9a060e54bf8d69288fbee4904';

/** The lists of paths of a repository with a million files. */
const maxOutputBytes = 128 * 1024 * 1024;
const sha256Length = 64;
const headEnd = Buffer.from('\0\0');

const config = [
  '[core]',
  ...['bare = false', 'hooksPath = /dev/null', 'fsmonitor = false', 'untrackedCache = false', 'splitIndex = false'],
  ...['attributesFile = /dev/null', 'excludesFile = /dev/null', 'autocrlf = false', 'quotePath = true'],
  // The stores of jobs are read through these: their packs are checked as they are unpacked, their shortcuts are not.
  ...[
    'commitGraph = false',
    'multiPackIndex = false',
    'preloadIndex = true',
    'compression = 1',
    'logAllRefUpdates = false',
  ],
  '[diff]\nignoreSubmodules = all\nrenameLimit = 1000',
  '[gc]\nauto = 0',
  '[protocol]\nallow = never',
];

/** Makes the directory, which must not be there. No git process is needed for that. */
export async function makeScratchRepo(options: ScratchRepoOptions): Promise<ScratchRepo> {
  const { gitDir, objects, baseCommit, readsOnly } = options;
  await mkdir(gitDir, { mode: 0o700 });
  await mkdir(join(gitDir, 'refs'), { mode: 0o700 });
  if (readsOnly !== true) await mkdir(join(gitDir, 'objects', 'info'), { recursive: true, mode: 0o700 });
  const isSha256 = baseCommit?.length === sha256Length;
  const format = isSha256 ? ['[extensions]\nobjectFormat = sha256'] : [];
  const version = `repositoryFormatVersion = ${isSha256 ? 1 : 0}`;
  await Promise.all([
    writeFile(join(gitDir, 'HEAD'), `${baseCommit ?? 'ref: refs/heads/none'}\n`),
    writeFile(join(gitDir, 'config'), [config[0], version, ...config.slice(1), ...format, ''].join('\n')),
    readsOnly === true || writeFile(join(gitDir, 'objects', 'info', 'alternates'), `${objects}\n`),
  ]);
  return createScratchRepo(options);
}

function createScratchRepo({ gitDir, workTree, path, ...options }: ScratchRepoOptions): ScratchRepo {
  const env = {
    PATH: path,
    HOME: '/nonexistent',
    LC_ALL: 'C',
    GIT_DIR: gitDir,
    GIT_WORK_TREE: workTree,
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_OPTIONAL_LOCKS: '0',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ALLOW_PROTOCOL: 'none',
    GIT_LITERAL_PATHSPECS: '1',
    ...(options.readsOnly === true && { GIT_OBJECT_DIRECTORY: options.objects }),
  };
  const common = { cwd: gitDir, extendEnv: false, encoding: 'buffer', killSignal: 'SIGKILL' } as const;
  const quiet = { stdin: 'ignore', buffer: false } as const;
  return {
    gitDir,
    async run(args, { input, signal, objects = [], index } = {}) {
      // Quoted as git reads it, so that a colon in a path separates nothing.
      const alternates = { GIT_ALTERNATE_OBJECT_DIRECTORIES: objects.map((one) => JSON.stringify(one)).join(':') };
      const { stdout } = await execa('git', args, {
        ...common,
        env: { ...env, ...alternates, ...(index !== undefined && { GIT_INDEX_FILE: index }) },
        maxBuffer: maxOutputBytes,
        ...(input === undefined ? { stdin: 'ignore' } : { input }),
        ...(signal && { cancelSignal: signal }),
      });
      return Buffer.from(stdout);
    },
    async runToFile(args, file, { maxBytes, signal, index, onHead }) {
      await using out = await open(file, 'w', 0o600);
      // Read from this very turn on: nobody else holds what it says before we ask.
      const indexed = { ...env, ...(index !== undefined && { GIT_INDEX_FILE: index }) };
      const child = execa('git', args, { ...common, ...quiet, env: indexed, cancelSignal: signal });
      let bytes = 0;
      try {
        const output = child.iterable({ from: 'stdout', binary: true, preserveNewlines: true });
        for await (const chunk of onHead === undefined ? output : afterHead(output, onHead)) {
          await out.writeFile(chunk.subarray(0, maxBytes - bytes));
          bytes += chunk.length;
          if (bytes > maxBytes) break;
        }
        if (bytes <= maxBytes) await child;
      } catch (error) {
        // Of a git that we stopped listening to, a broken pipe is the expected end.
        if (bytes <= maxBytes) throw error;
      } finally {
        child.kill();
        await child.catch(() => undefined); // Ended by us, or its failure is on its way already.
      }
      return { cut: bytes > maxBytes };
    },
  };
}

async function* afterHead(
  output: AsyncIterable<Uint8Array>,
  onHead: (head: Buffer) => void,
): AsyncGenerator<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  let isHead = true;
  for await (const chunk of output) {
    if (!isHead) yield chunk;
    else {
      length += chunk.length;
      if (length > maxOutputBytes) throw new Error('the list of changed files is too long');
      const endsBefore = chunks.at(-1)?.at(-1) === 0 && chunk[0] === 0;
      chunks.push(chunk);
      // Both may also lie astride of two chunks.
      if (!endsBefore && Buffer.from(chunk).indexOf(headEnd) === -1) continue;
      const all = Buffer.concat(chunks);
      const at = all.indexOf(headEnd);
      isHead = false;
      onHead(all.subarray(0, at + 1));
      yield all.subarray(at + headEnd.length);
    }
  }
  if (isHead) onHead(Buffer.concat(chunks));
}
