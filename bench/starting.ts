import { execFile } from 'node:child_process';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createGitRepo } from '../test/helpers/git-repo.ts';
import { quantile, row, timed } from './figures.ts';
import { agents, headers, type RunningService, startService } from './running-service.ts';

const run = promisify(execFile);
/** The first one of a large repository takes half a minute. */
const readyMs = 180_000;
const instant = join(agents, 'instant.sh');
const jobsPerRound = 5;
/** Of a minute each. */
const longestWaits = 10;
/** Figures of the pool are told once a second. */
const pauseMs = 1_000;
const atOnce = 10;

/** How long a job takes to its agent and to its end, against clone, run and remove as processes of their own. */
export async function benchStarting(dir: string, files: number, rounds: number): Promise<void> {
  const repo = (await createGitRepo(join(dir, `repo-${files}`), sampleFiles(files))).path;
  const spawns = join(dir, `spawns-${files}`);
  await mkdir(spawns);
  const agent = await timingAgent(dir, spawns);
  await using service = await startService({ CLAUDE_BIN: agent, BASE_REPO_URL: repo, MAX_QUEUE_DEPTH: '1000' });
  const bareJob = createBareJob(dir, repo);
  const alone: number[] = [];
  const whole: number[] = [];
  const clone: number[] = [];
  const bareWhole: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    // Several, for the first after a while waits for a fetch, as the settings say: between two rounds passes a while on a large
    // repository. Each comes alone: to a clone that waits, and when what the one before left is made good.
    for (let job = 0; job < jobsPerRound; job += 1) {
      await delay(pauseMs);
      await readyClone(service);
      whole.push(await timed(async () => alone.push(await acceptToSpawn(service, spawns))));
    }
    const bare = await bareJob();
    clone.push(bare.untilSpawned);
    bareWhole.push(bare.whole);
  }
  const what = `${files} files: accept to agent`;
  row(
    `${what}, one at a time, p50, against git clone --local + spawn`,
    quantile(alone, 0.5),
    quantile(clone, 0.5),
    'ms',
  );
  row('  p99', quantile(alone, 0.99), quantile(clone, 0.99), 'ms');
  row(
    `${files} files: submit to final, p50, against clone + run + rm`,
    quantile(whole, 0.5),
    quantile(bareWhole, 0.5),
    'ms',
  );
  const ten = await Promise.all(Array.from({ length: atOnce }, () => acceptToSpawn(service, spawns)));
  row(`${what}, ten at once, the last, against ten clones`, Math.max(...ten), quantile(clone, 0.5) * atOnce, 'ms');
  const steady = await jobsPerSecond(repo, rounds);
  row(`${files} files: jobs/s, ten at once, against one at a time`, steady, 1000 / quantile(bareWhole, 0.5), 'jobs/s');
}

/** Of the agent that the baseline runs, which notes nothing, once all that is made ready at the start is there. */
async function jobsPerSecond(repo: string, rounds: number): Promise<number> {
  await using service = await startService({ CLAUDE_BIN: instant, BASE_REPO_URL: repo, MAX_QUEUE_DEPTH: '1000' });
  const jobs = rounds * jobsPerRound;
  let left = atOnce * 2;
  const work = async (): Promise<void> => {
    for (; left > 0; await oneJob(service)) left -= 1;
  };
  const workAll = async (): Promise<unknown> => await Promise.all(Array.from({ length: atOnce }, work));
  await workAll();
  await readyClone(service);
  left = jobs;
  return (jobs * 1_000) / (await timed(workAll));
}

async function oneJob(service: RunningService): Promise<string> {
  const { job_id } = await service.call('/execute', { prompt: 'x' });
  const wait = async () => await service.call(`/jobs/${String(job_id)}?wait=60`);
  let job = await wait();
  // Ten clones of a large repository at once take longer.
  for (let left = longestWaits; left > 0 && job['finished_at'] === null; left -= 1) job = await wait();
  if (job['status'] !== 'completed') throw new Error(JSON.stringify(job));
  return String(job_id);
}

async function readyClone({ url }: RunningService): Promise<void> {
  const deadline = Date.now() + readyMs;
  while (Date.now() < deadline) {
    const text = await (await fetch(`${url}/metrics`, { headers })).text();
    if (Number(/^agent_workspace_pool_ready (\d+)/m.exec(text)?.[1]) > 0) return;
    await delay(100);
  }
  throw new Error('no clone became ready');
}

/** Milliseconds from sending the request to the first act of the agent. */
async function acceptToSpawn(service: RunningService, spawns: string): Promise<number> {
  const sent = Date.now();
  const id = await oneJob(service);
  return Number(await readFile(join(spawns, id), 'utf8')) / 1e6 - sent;
}

/** The instant agent, noting first of all when it began. */
async function timingAgent(dir: string, spawns: string): Promise<string> {
  const path = join(dir, 'timing-agent.sh');
  const note = `[ "$1" = --version ] || date +%s%N >"${spawns}/$AGENT_JOB_ID"`;
  await writeFile(path, `#!/bin/sh\n${note}\nexec ${instant} "$@"\n`);
  await chmod(path, 0o755);
  return path;
}

function createBareJob(dir: string, repo: string) {
  const path = join(dir, 'bare');
  return async () => {
    const start = performance.now();
    await run('git', ['clone', '-q', '--local', repo, path]);
    const untilSpawned = performance.now() - start + (await timed(() => run('true')));
    const agent = run(instant, [], { cwd: path });
    agent.child.stdin?.end();
    await agent;
    await run('rm', ['-rf', path]);
    return { untilSpawned, whole: performance.now() - start };
  };
}

function sampleFiles(count: number): Record<string, string> {
  const names = Array.from({ length: count }, (_, index) => `src/part${index % 97}/file${index}.txt`);
  return Object.fromEntries(names.map((name, index) => [name, `${name}\n`.repeat(100 + (index % 200))]));
}
