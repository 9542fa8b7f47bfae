import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { print, quantile, row } from './figures.ts';
import { agents, type RunningService, startService } from './running-service.ts';

const megabyte = 1024 * 1024;

/** What the service holds and how it answers while agents print much. */
export async function benchHolding(): Promise<void> {
  await using service = await startService({ CLAUDE_BIN: join(agents, 'fake-claude.mjs'), MAX_QUEUE_DEPTH: '1000' });
  await delay(2_000);
  const idleRss = await rss(service);
  print(`memory, idle: ${idleRss.toFixed(0)} MB`);
  const idle = await probe(service, async () => await delay(2_000));
  const before = await cpuMs(service);
  const probed = await rss(service);
  const busy = await probe(service, () => jobs(service, 10, `flood: ${50 * megabyte}\nsay: done`));
  row(
    'GET /health p99 while ten agents print 50 MB each, against idle',
    quantile(busy, 0.99),
    quantile(idle, 0.99),
    'ms',
  );
  row('  its maximum', Math.max(...busy), Math.max(...idle), 'ms');
  print(`the service's CPU per 50 MB, probes included: ${(((await cpuMs(service)) - before) / 10).toFixed(0)} ms`);
  print(`memory after ten jobs of 50 MB: ${((await rss(service)) - probed).toFixed(1)} MB more than before them`);
  await jobs(service, 100, `fill: ${400 * 1024}\nsay: done`);
  const warm = await rss(service);
  await jobs(service, 500, `flood: ${400 * 1024}\nsay: done`);
  print(`memory after 500 jobs of 400 kB: ${((await rss(service)) - warm).toFixed(1)} MB more than after 100`);
}

async function jobs(service: RunningService, count: number, prompt: string): Promise<void> {
  const one = async (): Promise<unknown> => {
    const { job_id } = await service.call('/execute', { prompt });
    for (;;) {
      const job = await service.call(`/jobs/${String(job_id)}?wait=60`);
      if (job['status'] === 'completed') return undefined;
      if (job['status'] !== 'queued' && job['status'] !== 'running') throw new Error(JSON.stringify(job));
    }
  };
  await Promise.all(Array.from({ length: count }, one));
}

async function probe({ url }: RunningService, work: () => Promise<unknown>): Promise<readonly number[]> {
  const program = join(import.meta.dirname, 'health-probe.ts');
  const child = spawn(process.execPath, [program, url], { stdio: ['pipe', 'pipe', 'inherit'] });
  const chunks: string[] = [];
  const warm = once(child.stdout.setEncoding('utf8'), 'data');
  await warm;
  child.stdout.on('data', (chunk: string) => void chunks.push(chunk));
  await work();
  child.stdin.end();
  await once(child, 'close');
  return z.array(z.number()).parse(JSON.parse(chunks.join('')));
}

/** Megabytes. */
async function rss({ pid }: RunningService): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
}

/** User and system time of the process, without its children; the clock ticks every 10 ms on Linux. */
async function cpuMs({ pid }: RunningService): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
