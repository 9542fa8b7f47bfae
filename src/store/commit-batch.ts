import type { DatabaseSync } from 'node:sqlite';
import type { Execute, Tally } from './job-operations.ts';
import type { Answer, Request } from './store-protocol.ts';

/** Requests that share one commit: enough to make its fsync cheap, few enough that the first does not wait long. */
const maxRequests = 512;

/** Characters of JSON in one batch: bounds the thread's memory and the growth of the write-ahead log. */
const maxHandled = 16 * 1024 * 1024;

/** Takes requests, commits them together, and answers those that it took, in order; no answers when there were none. */
export type CommitBatch = (requests: Iterator<Request>) => readonly Answer[];

/**
 * Group commit: one transaction, one fsync, many requests. If anything in it fails, it is rolled back and its requests
 * are carried out again one by one, so that only those fail that fail alone; and no read answers from what was undone.
 */
export function createCommitBatch(db: DatabaseSync, tally: Tally, execute: Execute): CommitBatch {
  const begin = db.prepare('BEGIN');
  const commit = db.prepare('COMMIT');

  const inTransaction = <T>(work: () => T): T => {
    const { queued, running, waiting, leases } = tally;
    const ended = tally.ended.length;
    try {
      begin.run();
      const result = work();
      commit.run();
      return result;
    } catch (error) {
      // SQLite has rolled back by itself after some errors, a full disk among them.
      if (db.isTransaction) db.exec('ROLLBACK');
      Object.assign(tally, { queued, running, waiting, leases });
      tally.ended.length = ended;
      throw error;
    }
  };

  const alone = (request: Request): Answer => {
    try {
      return { value: inTransaction(() => execute(request)) };
    } catch (error) {
      return { failure: error instanceof Error ? error.message : String(error) };
    }
  };

  return (requests) => {
    const taken: Request[] = [];
    tally.handled = 0;
    try {
      return inTransaction(() => {
        const answers: Answer[] = [];
        while (taken.length < maxRequests && tally.handled < maxHandled) {
          const next = requests.next();
          if (next.done === true) break;
          taken.push(next.value);
          answers.push({ value: execute(next.value) });
        }
        return answers;
      });
    } catch {
      // Why it failed is found out, and told, request by request.
      makeRoom(db);
      return taken.map(alone);
    }
  };
}

/** On a full disk the write-ahead log cannot grow, but emptied into the database it can be used again from its start. */
function makeRoom(db: DatabaseSync): void {
  try {
    db.exec('PRAGMA wal_checkpoint(PASSIVE)');
  } catch {
    // Nothing is lost: the log is only as long as it was, and the requests will say what is wrong.
  }
}
