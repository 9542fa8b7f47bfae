import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import {
  type AdoptedFiles,
  type ContainedEnd,
  type ContainedProcess,
  neverRan,
  supervisionLost,
} from './containment.ts';
import { killStrays } from './strays.ts';
import { EndSchema, endOf, RecordSchema } from './supervisor-lines.ts';

/** Reading a file that is not there is next to free; asking for the lock starts a process. */
const endCheckMs = 100;
const looksPerLockCheck = 20;
/** A supervisor that was just started writes its record within milliseconds. */
const recordWithinMs = 1_000;

/**
 * True if a supervisor of an earlier process runs still, or has left word of how it ended. The lock is the truth: a process
 * id may be another's by now, and a dead supervisor may be listed for ever. If neither, what is left is killed.
 */
export async function canAdopt(supervisor: string, files: AdoptedFiles): Promise<boolean> {
  if ((await readEnd(files)) !== null) return true;
  for (const deadline = performance.now() + recordWithinMs; performance.now() < deadline; await wait(endCheckMs)) {
    if (!(await isHeld(supervisor, files))) break;
    if ((await readRecord(files)) !== null) return true;
  }
  // It may have ended between the two looks.
  if ((await readEnd(files)) !== null) return true;
  await killStrays({ session: null, marks: files.mark === null ? [] : [files.mark] });
  return false;
}

/** A program whose supervisor an earlier process started: told by signals, heard by its exit file. */
export function adoptProcess(supervisor: string, files: AdoptedFiles): ContainedProcess {
  let reason: string | null = null;
  let hurried = false;
  const end = async (): Promise<ContainedEnd> => {
    for (let look = 1; ; look += 1) {
      const found = await readEnd(files);
      if (found !== null) return endOf(found, 'the program', reason);
      // Asked for the file once more after the lock: it is written before the lock is let go.
      if (look % looksPerLockCheck === 0 && !(await isHeld(supervisor, files)) && (await readEnd(files)) === null) {
        return await lost(files);
      }
      await wait(endCheckMs);
    }
  };
  return {
    end(why) {
      if (reason !== null) return;
      reason = why;
      void signalGuard(files, hurried ? 'SIGUSR1' : 'SIGTERM');
    },
    hurry() {
      hurried = true;
      if (reason !== null) void signalGuard(files, 'SIGUSR1');
    },
    ended: end(),
  };
}

async function lost(files: AdoptedFiles): Promise<ContainedEnd> {
  const record = await readRecord(files);
  const killed = await killStrays({ session: record?.program ?? null, marks: files.mark === null ? [] : [files.mark] });
  const unknown = { level: 'supervisor', survivors: null, peakRssBytes: null, cpuMs: null } as const;
  return { ...neverRan, endedBy: supervisionLost, containment: { ...unknown, killed } };
}

async function isHeld(supervisor: string, { recordFile }: AdoptedFiles): Promise<boolean> {
  return await new Promise((resolve) => {
    execFile(supervisor, ['is-held', recordFile], { env: {} }, (error) => resolve(error === null));
  });
}

/** Signals the supervisor only if it is the very process that wrote the record. */
async function signalGuard(files: AdoptedFiles, signal: NodeJS.Signals): Promise<void> {
  const record = await readRecord(files);
  if (record === null) return;
  try {
    const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
    const stat = await readFile(`/proc/${record.guard}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const isSame = bootId === record.boot_id && Number(fields[19]) === record.guard_start && fields[0] !== 'Z';
    if (isSame) process.kill(record.guard, signal);
  } catch {
    // It ended: its exit file, or the lock, says so.
  }
}

async function readEnd({ exitFile }: AdoptedFiles) {
  return EndSchema.safeParse(await readJson(exitFile)).data ?? null;
}

/** Null also where it was only half written. */
async function readRecord({ recordFile }: AdoptedFiles) {
  return RecordSchema.safeParse(await readJson(recordFile)).data ?? null;
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch {
    // Not there, or not whole: as good as absent.
    return null;
  }
}
