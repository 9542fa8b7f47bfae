import { appendFile, mkdir, readFile, symlink, truncate, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { providers } from '../../src/agents/registry.ts';
import { createRunLog, maxEvents } from '../../src/agents/run-log.ts';
import { createRunRecorder } from '../../src/agents/run-recorder.ts';
import type { JobRecord } from '../../src/jobs/job.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { RunLogEntry } from '../../src/jobs/run-log.ts';
import { newJob } from '../contracts/job-builders.ts';
import { silentLog } from '../helpers/fake-ports.ts';
import { temporaryDirectory } from '../helpers/service-process.ts';

const never = new AbortController().signal;

/** The directory of one run, written by hand; each `open` is a service that was started anew. */
async function createRun() {
  const runsDir = await temporaryDirectory();
  const id = createJobId();
  const directory = join(runsDir, id);
  await mkdir(directory);
  const untouched = { status: 'running', attempt: 1, startedAt: 1, finishedAt: null, queuePosition: null } as const;
  const job: JobRecord = { ...newJob({ id }), ...untouched, seq: 1, outcome: null };
  const open = () => {
    const recorder = createRunRecorder({ runsDir, log: silentLog });
    return { recorder, log: createRunLog({ runsDir, recorder, providers }) };
  };
  return {
    id,
    job,
    open,
    file: (name: string) => join(directory, name),
    stdout: (text: string) => appendFile(join(directory, 'stdout.log'), text),
    stderr: (text: string) => appendFile(join(directory, 'stderr.log'), text),
    read: (skip = 0) => collect(open().log.read(job, skip, never)),
  };
}

async function collect(entries: AsyncGenerator<RunLogEntry, number>) {
  const read: RunLogEntry[] = [];
  for (;;) {
    const next = await entries.next();
    if (next.done === true) return { read, count: next.value };
    read.push(next.value);
  }
}

const shown = (entries: readonly RunLogEntry[]) =>
  entries.map((entry) => {
    if (entry.place === null) return entry.delta;
    const { event } = entry;
    return event.type === 'agent'
      ? (event.raw ?? 'oversized')
      : event.type === 'stderr'
        ? `! ${event.text}`
        : event.type;
  });

describe('the log of a run', () => {
  test('is told in the order that was recorded, by whomever', async () => {
    const run = await createRun();
    const { recorder, log } = run.open();
    const recording = recorder.begin(run.id);
    recording.start();
    const live = log.read(run.job, 0, never);
    const take = async () => shown([(await live.next()).value as RunLogEntry])[0];
    await run.stdout('a\n');
    expect(await take()).toBe('a');
    await run.stderr('b\n');
    expect(await take()).toBe('! b');
    await run.stdout('c\nhalf');
    expect(await take()).toBe('c');
    await run.stderr('d\n');
    expect(await take()).toBe('! d');
    await run.stdout(' a line\nno newline');
    expect(await take()).toBe('half a line');
    await recording.end();
    expect(await take()).toBe('no newline');
    expect(await live.next()).toEqual({ done: true, value: 6 });
    const again = await run.read();
    expect(shown(again.read)).toEqual(['a', '! b', 'c', '! d', 'half a line', 'no newline']);
    expect(again.count).toBe(6);
    expect((await run.read(4)).read).toEqual(again.read.slice(4));
  });

  test('that a crash left is closed by its first reader: a survivor adds nothing', async () => {
    const run = await createRun();
    await run.stdout('one\ntwo');
    await run.stderr('odd\n');
    const first = await run.read();
    expect(shown(first.read)).toEqual(['one', 'two', '! odd']);
    await run.stdout(' and more\nthree\n');
    expect(await run.read()).toEqual(first);
  });

  test('keeps its order when the last line of the order was torn', async () => {
    const run = await createRun();
    await run.stdout('one\ntwo\n');
    await run.stderr('odd\nlater\n');
    await writeFile(run.file('order'), '\nat 4 4;\n\nat 8 10;\n');
    expect(shown((await run.read()).read)).toEqual(['one', '! odd', 'two', '! later']);
    const whole = await readFile(run.file('order'));
    const torn = whole.indexOf('at 8 10;') + 'at 8 1'.length;
    await truncate(run.file('order'), torn);
    expect(shown((await run.read()).read)).toEqual(['one', '! odd', 'two', '! later']);
  });

  test('is not led elsewhere by what the agent put in the place of its files', async () => {
    const run = await createRun();
    const victim = run.file('victim');
    await writeFile(victim, 'secret\n');
    for (const name of ['order', 'stdout.log']) await symlink(victim, run.file(name));
    await expect(run.read()).rejects.toThrow('cannot be read now');
    expect(await readFile(victim, 'utf8')).toBe('secret\n');
    await unlink(run.file('order'));
    expect(await run.read()).toEqual({ read: [], count: 0 });
  });

  test('is empty where nothing was printed', async () => {
    const run = await createRun();
    expect(await run.read()).toEqual({ read: [], count: 0 });
  });

  test('shows a line that is too long as one without its text', async () => {
    const run = await createRun();
    await run.stdout(`short\n${'x'.repeat(17 * 1024 * 1024)}\nlast\n`);
    const { read } = await run.read();
    expect(shown(read)).toEqual(['short', 'oversized', 'last']);
    expect(read[1]).toMatchObject({ event: { parts: [{ type: 'oversized', bytes: 17 * 1024 * 1024 }] } });
  });

  test('says so where it is cut off', async () => {
    const run = await createRun();
    await run.stdout('x\n'.repeat(maxEvents + 10));
    const { read, count } = await run.read(maxEvents - 1);
    expect(shown(read)).toEqual(['x', 'truncated']);
    expect([read[1]?.place, count]).toEqual([maxEvents + 1, maxEvents + 1]);
  });

  test('names what the claude CLI said', async () => {
    const run = await createRun();
    await run.stdout(await readFile(join(import.meta.dirname, '../fixtures/transcripts/subagent.jsonl'), 'utf8'));
    const { read } = await run.read();
    const parts = read.flatMap((entry) =>
      entry.place !== null && entry.event.type === 'agent' ? entry.event.parts.map(({ type }) => type) : [],
    );
    expect(parts).toEqual(['start', 'text', 'tool_call', 'text', 'tool_result', 'text', 'result']);
    expect(read.some((entry) => entry.place === null)).toBe(false);
    const parents = read.map((entry) => entry.place !== null && entry.event.type === 'agent' && entry.event.parent);
    expect(parents.filter((parent) => typeof parent === 'string')).toEqual(['toolu_aa4cd21ccc9bd06718f71fa2']);
  });
});
