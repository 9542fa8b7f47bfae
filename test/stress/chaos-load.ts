import { setTimeout as delay } from 'node:timers/promises';
import type { ChaosJob, ChaosService } from './chaos-service.ts';

/** Between two submits of a client: the service is to be caught running jobs, not to be flooded. */
const pauseMs = 60;
/** How often a caller repeats what was acknowledged already, or asks for a job once more. */
const repeated = 0.2;
const retried = 0.1;

/** One wish for a job, repeated with the same key until it is acknowledged. */
export interface Wish {
  /** The prompt, and so what the agent writes down. */
  readonly name: string;
  readonly body: { readonly prompt: string; readonly max_attempts?: number; readonly after?: string };
  id: string | null;
  /** Jobs that were asked for with `POST /jobs/:id/retry`: those that were acknowledged, and all that may be there. */
  readonly retries: string[];
  triedAgain: number;
}

export interface Ledger {
  readonly wishes: Wish[];
  /** Wishes of which nobody knows whether they were taken. */
  readonly open: Wish[];
  readonly missing: string[];
}

/** One client: submits, repeats and retries until it is stopped or the service is gone. */
export async function submitUntil(service: ChaosService, signal: AbortSignal, ledger: Ledger): Promise<void> {
  while (!signal.aborted) {
    const known = anyKnown(ledger.wishes);
    const wish = ledger.open.pop() ?? (Math.random() < repeated ? known : undefined) ?? create(ledger.wishes, known);
    try {
      await submit(service, wish, signal, ledger.missing);
      if (known?.body.max_attempts === undefined && Math.random() < retried) await retry(service, known, signal);
      await delay(pauseMs, undefined, { signal });
    } catch {
      // Killed before it answered: the next life is asked again.
      if (wish.id === null && !ledger.open.includes(wish)) ledger.open.push(wish);
    }
  }
}

async function submit(service: ChaosService, wish: Wish, signal: AbortSignal, missing: string[]): Promise<void> {
  const { job_id: id } = await service.read<ChaosJob>('/execute', {
    ...{ method: 'POST', body: JSON.stringify(wish.body), signal },
    headers: { 'idempotency-key': wish.name },
  });
  if (wish.id !== null && wish.id !== id) missing.push(`${wish.name}: was ${wish.id}, then ${id}`);
  wish.id = id;
}

/** Whatever becomes of the answer, it may have been taken. */
async function retry(service: ChaosService, wish: Wish | undefined, signal: AbortSignal): Promise<void> {
  if (wish === undefined) return;
  const { status } = await service.read<ChaosJob>(`/jobs/${wish.id}`, { signal });
  if (['queued', 'running'].includes(status)) return;
  wish.triedAgain += 1;
  const { job_id: id } = await service.read<ChaosJob>(`/jobs/${wish.id}/retry`, { method: 'POST', signal });
  wish.retries.push(id);
}

function anyKnown(wishes: readonly Wish[]): Wish | undefined {
  const known = wishes[Math.floor(Math.random() * wishes.length)];
  return known?.id === null ? undefined : known;
}

/** Of five jobs one may be started again, and one starts after another one. */
function create(wishes: Wish[], other: Wish | undefined): Wish {
  const kind = Math.floor(Math.random() * 5);
  const after = kind === 1 && other?.id != null ? other.id : undefined;
  const name = `${kind === 0 ? 'again' : after === undefined ? 'plain' : 'after'}-${wishes.length}`;
  const body = { prompt: name, ...(kind === 0 && { max_attempts: 3 }), ...(after !== undefined && { after }) };
  const wish: Wish = { name, body, id: null, retries: [], triedAgain: 0 };
  wishes.push(wish);
  return wish;
}
