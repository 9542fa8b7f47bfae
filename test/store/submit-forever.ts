import { createSqliteStore } from '../../src/store/sqlite-store.ts';
import { newJob } from '../contracts/job-builders.ts';

/**
 * A program for tests: submits to the store named by its first argument until it is killed. Prints `accepted <id>` once a
 * submit resolved; `refused <id> <error>`, and `read <status>` of an accepted job, when it did not.
 */
const callers = 16;
/** More than a row keeps inline, so that each submit writes to two tables. */
const prompt = 'Say hello. '.repeat(300);

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error('usage: submit-forever.ts <file>');
const print = (line: string) => process.stdout.write(`${line}\n`);
const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const store = createSqliteStore({ file, log });
await store.ready();
await Promise.all(Array.from({ length: callers }, submitForever));

async function submitForever(): Promise<never> {
  let accepted = newJob();
  for (;;) {
    const job = newJob({ spec: { prompt } });
    try {
      await store.jobs.submit(job, { maxUnfinished: Number.MAX_SAFE_INTEGER });
      accepted = job;
      print(`accepted ${job.id}`);
    } catch (error) {
      print(`refused ${job.id} ${error instanceof Error ? error.name : 'unknown'}`);
      print(`read ${(await store.jobs.get(accepted.id))?.status ?? 'nothing'}`);
    }
  }
}
