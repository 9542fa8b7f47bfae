import { randomBytes } from 'node:crypto';
import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';
import type { JobId, JobRecord } from '../jobs/job.ts';
import { type Delivery, type WebhookEvent, webhookMessage } from '../jobs/webhooks.ts';
import type { Tally } from './job-operations.ts';
import type { Calls } from './store-protocol.ts';

type OutboxCalls = 'outboxTake' | 'outboxSettle' | 'outboxNextAt' | 'outboxDead' | 'outboxResend' | 'outboxForget';
type OutboxOperations = { readonly [K in OutboxCalls]: (input: Calls[K]['input']) => Calls[K]['output'] };

const columns = 'id, job_id, type, url, body, created_at, tries, error';

/** Writes the messages of a change of status, in the transaction of that change. */
export function createAnnouncer(db: DatabaseSync): (job: JobRecord, event: WebhookEvent, at: number) => void {
  const insert = db.prepare(
    'INSERT INTO outbox (id, job_id, caller, type, url, body, created_at, next_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
  );
  return (job, event, at) => {
    for (const { url, events } of job.spec.webhooks ?? []) {
      if (!events.includes(event)) continue;
      const { type, body } = webhookMessage(job, at);
      const id = `msg_${randomBytes(18).toString('base64url')}`;
      insert.run(id, job.id, job.caller, type, url, body, at, at);
    }
  };
}

export function createOutboxOperations(db: DatabaseSync, tally: Pick<Tally, 'leases'>): OutboxOperations {
  const due = db.prepare(`SELECT ${columns} FROM outbox WHERE next_at <= ? ORDER BY next_at LIMIT ?`);
  const forgetOne = db.prepare('DELETE FROM outbox WHERE id = ?');
  const fail = db.prepare('UPDATE outbox SET tries = tries + 1, error = ?, next_at = ? WHERE id = ?');
  const soonest = db.prepare('SELECT id, next_at FROM outbox WHERE next_at IS NOT NULL ORDER BY next_at LIMIT ?');
  const dead = db.prepare(`SELECT ${columns} FROM outbox WHERE next_at IS NULL ORDER BY created_at DESC LIMIT ?`);
  const resend = db.prepare('UPDATE outbox SET tries = 0, next_at = ? WHERE id = ? AND next_at IS NULL');
  const forget = db.prepare('DELETE FROM outbox WHERE next_at IS NULL AND created_at < ?');
  return {
    outboxTake: ({ limit, now, leaseMs }) => {
      const held = new Map([...tally.leases].filter(([, until]) => until > now));
      const rows = due.all(now, limit + held.size).map(toDelivery);
      const taken = rows.filter(({ id }) => !held.has(id)).slice(0, limit);
      tally.leases = new Map([...held, ...taken.map(({ id }) => [id, now + leaseMs] as const)]);
      return taken;
    },
    outboxSettle: ({ id, failure }) => {
      tally.leases = new Map([...tally.leases].filter(([held]) => held !== id));
      if (failure === null) forgetOne.run(id);
      else fail.run(failure.error, failure.nextAt, id);
      return null;
    },
    outboxNextAt: () => {
      const times = soonest
        .all(tally.leases.size + 1)
        .map(({ id, next_at: at }) => tally.leases.get(String(id)) ?? Number(at));
      return times.length === 0 ? null : Math.min(...times);
    },
    outboxDead: ({ limit }) => dead.all(limit).map(toDelivery),
    outboxResend: ({ id, now }) => Number(resend.run(now, id).changes) > 0,
    outboxForget: ({ createdBefore }) => {
      forget.run(createdBefore);
      return null;
    },
  };
}

function toDelivery(row: Record<string, SQLOutputValue>): Delivery {
  return {
    id: String(row['id']),
    jobId: String(row['job_id']) as JobId,
    type: String(row['type']),
    url: String(row['url']),
    body: String(row['body']),
    createdAt: Number(row['created_at']),
    tries: Number(row['tries']),
    error: row['error'] === null || row['error'] === undefined ? null : String(row['error']),
  };
}
