import { describe, expect, test } from 'vitest';
import { emptyReport, type JobId, type JobRecord, type JobStatus } from '../../src/jobs/job.ts';
import { createJobSignals, type JobSignals, type Wait, waitForJob } from '../../src/jobs/job-signals.ts';
import { newJob } from '../contracts/job-builders.ts';
import { settled } from './jobs-fixture.ts';

const base = newJob();

function inState(status: JobStatus): JobRecord {
  const finished = status === 'completed' || status === 'cancelled';
  const outcome = finished ? { status, reason: 'ok' as const, error: null, report: emptyReport } : null;
  return {
    ...base,
    ...{
      seq: 1,
      status,
      attempt: status === 'queued' ? 0 : 1,
      startedAt: null,
      finishedAt: finished ? 2_000 : null,
      queuePosition: null,
      outcome,
    },
  };
}

/** Signals that count who listens. */
function countedSignals(): JobSignals & { listening(): number } {
  const signals = createJobSignals();
  let listening = 0;
  const counted = (stop: () => void) => {
    listening += 1;
    return () => {
      listening -= 1;
      stop();
    };
  };
  return {
    ...signals,
    on: (id, listener) => counted(signals.on(id, listener)),
    onSettle: (listener) => counted(signals.onSettle(listener)),
    listening: () => listening,
  };
}

/** A signal that counts who listens to it. */
function countedAbort() {
  const controller = new AbortController();
  const { signal } = controller;
  let listening = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listening += 1;
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listening -= 1;
    remove(...args);
  };
  return { signal, abort: (reason: unknown) => controller.abort(reason), listening: () => listening };
}

function waitFinal(overrides: Partial<Wait> = {}): Wait {
  return {
    id: base.id,
    read: async () => inState('queued'),
    until: (job) => job.status === 'completed' || job.status === 'cancelled',
    timeoutMs: null,
    settleQueued: true,
    ...overrides,
  };
}

describe('waiting for a job', () => {
  test('a change that comes while the state is being read is not lost, and an older state that was read does not hide it', async () => {
    const signals = countedSignals();
    const read = Promise.withResolvers<JobRecord>();
    const waiting = waitForJob(signals, waitFinal({ read: () => read.promise }), null);
    signals.tell(inState('running'));
    signals.tell(inState('completed'));
    read.resolve(inState('queued'));
    expect((await waiting).status).toBe('completed');
    expect(signals.listening()).toBe(0);
  });

  test('nobody listens any more once it is over, whichever way it ended', async () => {
    const signals = countedSignals();
    const abort = countedAbort();
    await waitForJob(signals, waitFinal({ read: async () => inState('completed') }), abort.signal);
    await waitForJob(signals, waitFinal({ timeoutMs: 1 }), abort.signal);
    await expect(
      waitForJob(signals, waitFinal({ read: () => Promise.reject(new Error('away')) }), abort.signal),
    ).rejects.toThrow('away');
    const told = waitForJob(signals, waitFinal(), abort.signal);
    await settled();
    signals.tell(inState('cancelled'));
    await told;
    const settling = waitForJob(signals, waitFinal(), abort.signal);
    await settled();
    signals.settle();
    await settling;
    const aborted = waitForJob(signals, waitFinal({ settleQueued: false }), abort.signal);
    await settled();
    abort.abort(new Error('gone'));
    await expect(aborted).rejects.toThrow('gone');
    await expect(waitForJob(signals, waitFinal(), abort.signal)).rejects.toThrow('gone');
    expect([signals.listening(), abort.listening()]).toEqual([0, 0]);
  });

  test('a caller who leaves while the state is being read is told so, and the process is left in peace', async () => {
    const signals = countedSignals();
    const leaving = new AbortController();
    const read = Promise.withResolvers<JobRecord>();
    const waiting = waitForJob(signals, waitFinal({ read: () => read.promise }), leaving.signal);
    leaving.abort(new Error('gone'));
    // An unhandled rejection would be reported now, and fail the run.
    await settled();
    read.resolve(inState('queued'));
    await expect(waiting).rejects.toThrow('gone');
    expect(signals.listening()).toBe(0);
  });

  test('settling frees those whose job is queued, also when they come later, and nobody else', async () => {
    const signals = createJobSignals();
    const queued = waitForJob(signals, waitFinal(), null);
    const running = waitForJob(signals, waitFinal({ read: async () => inState('running') }), null);
    const patient = waitForJob(signals, waitFinal({ settleQueued: false }), null);
    await settled();
    signals.settle();
    expect((await queued).status).toBe('queued');
    expect((await waitForJob(signals, waitFinal(), null)).status).toBe('queued');
    const first = await Promise.race([running, patient, settled()]);
    expect(first).toBeUndefined();
    signals.tell(inState('completed'));
    expect((await Promise.all([running, patient])).map((job) => job.status)).toEqual(['completed', 'completed']);
  });

  test('a timeout answers with the state of then, read anew', async () => {
    const signals = createJobSignals();
    const states = [inState('queued'), inState('running')];
    const read = async () => states.shift() ?? inState('completed');
    expect((await waitForJob(signals, waitFinal({ read, timeoutMs: 1 }), null)).status).toBe('running');
  });
});

describe('signals', () => {
  test('reach all who listen to the job and nobody else, until they stop', () => {
    const signals = createJobSignals();
    const heard: string[] = [];
    const other: JobId = newJob().id;
    const stop = signals.on(base.id, (job) => heard.push(`a ${job.status}`));
    signals.on(base.id, (job) => heard.push(`b ${job.status}`));
    signals.on(other, () => heard.push('other'));
    signals.tell(inState('running'));
    stop();
    stop();
    signals.tell(inState('completed'));
    expect(heard).toEqual(['a running', 'b running', 'b completed']);
  });

  test('a listener that stops others while it is called does not keep them from this signal', () => {
    const signals = createJobSignals();
    const heard: string[] = [];
    const stops = [
      signals.on(base.id, () => {
        heard.push('first');
        for (const stop of stops) stop();
      }),
      signals.on(base.id, () => heard.push('second')),
    ];
    signals.tell(inState('running'));
    signals.tell(inState('completed'));
    expect(heard).toEqual(['first', 'second']);
  });
});
