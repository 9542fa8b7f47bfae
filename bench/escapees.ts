/**
 * Whether anything ever stays behind: `node bench/escapees.ts [jobs]` runs that many jobs, a hundred if not said, each of whose
 * agents leaves processes behind in one of nine ways of not being found, and counts processes, zombies too, and places that
 * did not come back. Ends with 1 if there are any.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildZoo, kinds, survivors } from '../test/fixtures/zoo/zoo.ts';
import { waitFor } from '../test/helpers/wait.ts';
import { print, timed } from './figures.ts';
import { type RunningService, startService } from './running-service.ts';

const jobs = Number(process.argv[2] ?? 100);
const atOnce = 8;
const dir = await mkdtemp(join(tmpdir(), 'bench-escapees-'));

try {
  await using service = await startService({ CLAUDE_BIN: await buildZoo(dir), MAX_CONCURRENCY: String(atOnce) });
  let next = 0;
  let left = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < jobs; i = next++) left += await runOne(service, i);
  };
  const ms = await timed(() => Promise.all(Array.from({ length: atOnce }, worker)));
  // The last place is given back just after its job is final.
  const active = async () => (await service.call('/health'))['active'];
  const taken = await waitFor(active, (places) => places === 0).catch(active);
  print(
    `${jobs} jobs with escapees: ${left} processes left, ${String(taken)} places taken, ${(ms / 1000).toFixed(0)} s`,
  );
  process.exitCode = left === 0 && taken === 0 ? 0 : 1;
} finally {
  await rm(dir, { recursive: true, maxRetries: 5 });
}

/** How many processes the job left. */
async function runOne(service: RunningService, index: number): Promise<number> {
  const file = join(dir, `escapee${index}`);
  const { job_id } = await service.call('/execute', { prompt: `${kinds[index % kinds.length] ?? ''} ${file} leave` });
  for (;;) {
    const job = await service.call(`/jobs/${String(job_id)}?wait=60`);
    if (job['status'] === 'queued' || job['status'] === 'running') continue;
    if (job['status'] !== 'completed') throw new Error(JSON.stringify(job));
    const found = await survivors(file);
    await Promise.all([rm(file), rm(`${file}.hop`, { force: true })]);
    return found.length;
  }
}
