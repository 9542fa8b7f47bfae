import { chmodSync, closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { migrate } from './migrate.ts';

/** How long a restarted service waits for its predecessor to let go; then it is told that the file is in use. */
const lockTimeoutMs = 1_000;

/** The write-ahead log is cut to this after a checkpoint; one large transaction may make it longer for a moment. */
const walKeptBytes = 64 * 1024 * 1024;

/** Prompts and answers are for the service alone. */
const fileMode = 0o600;
const directoryMode = 0o700;

/**
 * Opens the database, makes it if absent, and migrates it. Holds it exclusively until it is closed.
 * Throws an error whose message tells an operator what is wrong with the file.
 */
export function openDatabase(file: string): DatabaseSync {
  try {
    makePrivate(file);
    const db = new DatabaseSync(file, { timeout: lockTimeoutMs });
    try {
      // EXCLUSIVE before WAL: the index of the log is then in this process's memory, and no second service can join.
      db.exec('PRAGMA locking_mode = EXCLUSIVE');
      db.exec('PRAGMA journal_mode = WAL');
      // FULL: with NORMAL a loss of power takes the latest commits along.
      db.exec('PRAGMA synchronous = FULL');
      db.exec(`PRAGMA journal_size_limit = ${walKeptBytes}`);
      migrate(db);
      return db;
    } catch (error) {
      db.close();
      throw error;
    }
  } catch (error) {
    throw refusalOf(file, error);
  }
}

/** What an operator is told when the file cannot be used, and what to do. */
export function refusalOf(file: string, error: unknown): Error {
  return new Error(`The job store ${file} cannot be opened: ${explain(error)}`, { cause: error });
}

function makePrivate(file: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: directoryMode });
  // An existing file is not opened here: closing it again would drop the locks of a store of this process on it.
  if (existsSync(file)) chmodSync(file, fileMode);
  else closeSync(openSync(file, 'wx', fileMode));
}

/** Primary result codes of SQLite: https://www.sqlite.org/rescode.html */
const explanations: Readonly<Record<number, string>> = {
  5: 'another service is using it. Stop that one, or give this one a file of its own',
  8: 'it is read-only. Check its owner and mode, and those of its directory',
  11: 'it is damaged. Restore it from a backup, or move it away to start with an empty one',
  13: 'the disk is full',
  26: 'it is not an SQLite database. Move it away, or use another file',
};

function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'errcode' in error ? Number(error.errcode) & 0xff : 0;
  return explanations[code] ?? error.message;
}
