import type { DatabaseSync } from 'node:sqlite';
import type { Idempotency } from '../jobs/ports.ts';

/** The first job of a key, and whether it was submitted with the same content. */
export interface FirstJob {
  readonly seq: number;
  readonly isSame: boolean;
}

/** The keys of submits. To be called in the transaction of the submit itself: two at once then make one job. */
export function createIdempotencyKeys(db: DatabaseSync) {
  const find = db.prepare('SELECT seq, hash FROM idempotency_keys WHERE caller = ? AND key = ?');
  const insert = db.prepare('INSERT INTO idempotency_keys (caller, key, hash, seq) VALUES (?, ?, ?, ?)');
  return {
    first(caller: string, wish: Idempotency | undefined): FirstJob | null {
      const row = wish === undefined ? undefined : find.get(caller, wish.key);
      return row === undefined ? null : { seq: Number(row['seq']), isSame: row['hash'] === wish?.hash };
    },
    keep(caller: string, wish: Idempotency | undefined, seq: number): void {
      if (wish !== undefined) insert.run(caller, wish.key, wish.hash, seq);
    },
  };
}
