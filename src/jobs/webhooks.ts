import type { JobId, JobRecord } from './job.ts';
import type { Clock, Log } from './ports.ts';

/** What a receiver can be told of: that the job began, that it ended. */
export const webhookEvents = ['running', 'final'] as const;
export type WebhookEvent = (typeof webhookEvents)[number];

/** Who is told what of a job. */
export interface Webhook {
  readonly url: string;
  readonly events: readonly WebhookEvent[];
}

/** One message to one receiver. */
export interface Delivery {
  /** The same at every try. */
  readonly id: string;
  readonly jobId: JobId;
  readonly type: string;
  readonly url: string;
  readonly body: string;
  readonly createdAt: number;
  readonly tries: number;
  /** Why the last try failed. */
  readonly error: string | null;
}

/** Messages wait here from the transaction of the change that they tell of until they were taken: none is lost, some come twice. */
export interface Outbox {
  /** Up to `limit` messages that are due, longest due first, each to nobody else for `leaseMs`. */
  take(limit: number, now: number, leaseMs: number): Promise<readonly Delivery[]>;
  /** The receiver has it: it is forgotten. */
  delivered(id: string): Promise<void>;
  /** It did not: tried again at `nextAt`, or, with null, given up and kept to be sent by hand. */
  failed(id: string, error: string, nextAt: number | null): Promise<void>;
  /** When the next message is due; null if none waits. */
  nextAt(): Promise<number | null>;
  /** The latest messages that were given up. */
  dead(limit: number): Promise<readonly Delivery[]>;
  /** Sends one that was given up once more, with all its tries. False if there is none of that id. */
  resend(id: string, now: number): Promise<boolean>;
  /** Deletes what was given up and is older than that. */
  forget(createdBefore: number): Promise<void>;
}

/** Posts a message. Rejects, with a message fit for callers, unless the receiver answered that it has it. */
export type PostWebhook = (delivery: Delivery, now: number) => Promise<void>;

/** Waits between tries: about a day in all, then it is given up. */
const backoffMs = [
  5_000, 30_000, 120_000, 600_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 21_600_000, 36_000_000,
];
/** Receivers that failed together must not be asked again together. */
const jitter = 0.2;
/** How long a message that was tried so often waits at most: more only if the clock was set back. */
export const longestWaitsMs: readonly number[] = [0, ...backoffMs].map((ms) => ms * (1 + jitter));
/** At once: a few receivers that do not answer must not keep the others waiting. */
const maxAtOnce = 16;
/** Far above the time that one post may take: a message is sent twice only if the process died meanwhile. */
const leaseMs = 60_000;
/** The next look when nothing is known to be due. */
const idleMs = 30_000;
/** How long one that was given up is kept. */
const deadMs = 30 * 86_400_000;

export interface WebhookSender {
  begin(): void;
  /** Something may be due: look now. */
  notify(): void;
  /** Takes nothing more; resolves when what is under way has ended. */
  stop(): Promise<void>;
}

interface SenderDeps {
  readonly outbox: Outbox;
  readonly post: PostWebhook;
  readonly clock: Clock;
  /** What decides when a message is due; absent: `clock`. */
  readonly dues?: Clock;
  readonly log: Log;
}

/** Sends what is due, until each message was taken or given up. */
export function createWebhookSender(deps: SenderDeps): WebhookSender {
  const { outbox, clock, log, dues = clock } = deps;
  const underWay = new Set<Promise<void>>();
  let state: 'waiting' | 'sending' | 'stopped' = 'waiting';
  let looking: Promise<void> | undefined;
  let again = false;
  let timer: NodeJS.Timeout | undefined;

  async function look(): Promise<void> {
    do {
      again = false;
      const free = maxAtOnce - underWay.size;
      for (const delivery of free > 0 ? await outbox.take(free, dues.now(), leaseMs) : []) send(delivery);
      // With all places taken, the end of a delivery is the next moment.
      if (underWay.size >= maxAtOnce) return;
      // What came meanwhile goes first: somebody waits for it.
      if (!again) schedule(await outbox.nextAt());
    } while (again);
    await outbox.forget(clock.now() - deadMs);
  }

  function schedule(next: number | null): void {
    const waitMs = next === null ? idleMs : Math.min(idleMs, Math.max(10, next - dues.now()));
    clearTimeout(timer);
    if (state === 'sending') timer = setTimeout(notify, waitMs);
  }

  function send(delivery: Delivery): void {
    const sending = deliver({ ...deps, dues }, delivery).finally(() => {
      underWay.delete(sending);
      notify();
    });
    underWay.add(sending);
  }

  function notify(): void {
    again = true;
    if (state !== 'sending' || looking !== undefined) return;
    looking = look()
      .catch((error: unknown) => {
        log.warn({ err: error }, 'the outbox could not be read; trying again');
        again = false;
        clearTimeout(timer);
        timer = setTimeout(notify, idleMs);
      })
      .finally(() => {
        looking = undefined;
        if (again) notify();
      });
  }

  return {
    begin() {
      if (state === 'waiting') state = 'sending';
      notify();
    },
    notify,
    async stop() {
      state = 'stopped';
      await looking;
      clearTimeout(timer);
      await Promise.all(underWay);
    },
  };
}

/** One try. Never rejects: what cannot be written down is tried again when its lease is over. */
async function deliver({ outbox, post, clock, log, dues = clock }: SenderDeps, delivery: Delivery): Promise<void> {
  const fields = { delivery: delivery.id, job_id: delivery.jobId, tries: delivery.tries + 1 };
  try {
    const error = await post(delivery, clock.now()).then(
      () => null,
      (reason: unknown) => (reason instanceof Error ? reason.message : 'could not be sent'),
    );
    if (error === null) return await outbox.delivered(delivery.id);
    const delayMs = backoffMs[delivery.tries];
    const nextAt = delayMs === undefined ? null : dues.now() + delayMs * (1 + jitter * (Math.random() * 2 - 1));
    if (nextAt === null) log.warn({ ...fields, error }, 'a webhook was given up');
    else log.debug({ ...fields, error }, 'a webhook could not be delivered; it is tried again');
    await outbox.failed(delivery.id, error, nextAt === null ? null : Math.round(nextAt));
  } catch (error) {
    log.warn({ ...fields, err: error }, 'the outcome of a webhook could not be stored');
  }
}

/** What a receiver is told, by the Standard Webhooks: lean, for the job itself can be read. */
export function webhookMessage(job: JobRecord, at: number): { readonly type: string; readonly body: string } {
  const report = job.outcome?.report;
  const time = (epochMs: number | null): string | null => (epochMs === null ? null : new Date(epochMs).toISOString());
  const type = `job.${job.status}`;
  const data = {
    job_id: job.id,
    status: job.status,
    reason: job.outcome?.reason ?? null,
    error: job.outcome?.error ?? null,
    metadata: job.spec.metadata,
    created_at: time(job.createdAt),
    started_at: time(job.startedAt),
    finished_at: time(job.finishedAt),
    exit_code: report?.exitCode ?? null,
    cost_usd: report?.costUsd ?? null,
    num_turns: report?.numTurns ?? null,
    session_id: report?.sessionId ?? null,
  };
  return { type, body: JSON.stringify({ type, timestamp: time(at), data }) };
}
