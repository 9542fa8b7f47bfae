import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { createCommitBatch } from './commit-batch.ts';
import { countUnfinished, createJobOperations, type Tally } from './job-operations.ts';
import { openDatabase, refusalOf } from './open-database.ts';
import type { FromWorker, Request, ToWorker, WorkerInput } from './store-protocol.ts';

/** The program of the store's thread: it alone touches the database, so that no fsync ever stops the event loop. */
function main(port: MessagePort, { file, incarnation }: WorkerInput): void {
  const say = (message: FromWorker) => port.postMessage(message);
  let opened: ReturnType<typeof open>;
  try {
    opened = open(file, incarnation);
  } catch (error) {
    say({ type: 'refused', message: error instanceof Error ? error.message : String(error) });
    port.close();
    return;
  }
  const { db, tally, commitBatch } = opened;
  const counts = () => ({ queued: tally.queued, running: tally.running });

  let isClosing = false;

  port.on('message', (first: ToWorker) => {
    const arrivals = arriving(port, first, () => {
      isClosing = true;
    });
    for (let answers = commitBatch(arrivals); answers.length > 0; answers = commitBatch(arrivals)) {
      say({ type: 'answers', answers, counts: counts(), ended: tally.ended.splice(0) });
    }
    // Only now: what is said to a closed port is lost.
    if (isClosing) {
      port.close();
      db.close();
    }
  });
  say({ type: 'opened', counts: counts() });
}

/** Throws an error for an operator, also where the file turns out to be damaged at the first look into it. */
function open(file: string, incarnation: string) {
  const db = openDatabase(file);
  try {
    const tally: Tally = { ...countUnfinished(db), handled: 0, ended: [], leases: new Map() };
    return { db, tally, commitBatch: createCommitBatch(db, tally, createJobOperations(db, tally, incarnation)) };
  } catch (error) {
    db.close();
    throw refusalOf(file, error);
  }
}

/** Every request that waits now, in order. A wish to close is the last message there is. */
function* arriving(port: MessagePort, first: ToWorker, onClose: () => void): Generator<Request, undefined> {
  for (let message: ToWorker | undefined = first; message !== undefined; message = receive(port)) {
    if (message === 'close') onClose();
    else yield* message;
  }
}

function receive(port: MessagePort): ToWorker | undefined {
  return receiveMessageOnPort(port)?.message as ToWorker | undefined;
}

if (parentPort === null) throw new Error('sqlite-worker.ts is the program of a worker thread');
main(parentPort, workerData as WorkerInput);
