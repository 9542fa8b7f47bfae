import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

const packName = /^pack-[0-9a-f]{40}\.[a-z]+$/;

/** A line for each file of the packed store of a fresh clone, by which it is known again: as native/renewal.h has them. */
export async function noteStore(clone: string): Promise<readonly string[]> {
  const directory = join(clone, '.git', 'objects', 'pack');
  const names = (await readdir(directory).catch(() => [])).filter((name) => packName.test(name));
  return await Promise.all(
    names.map(async (name) => {
      const { ino, size, ctimeNs } = await stat(join(directory, name), { bigint: true });
      return `${ino} ${size} ${momentText(ctimeNs)} ${name}`;
    }),
  );
}

const nanosecondsPerSecond = 1_000_000_000n;

/** As our programs read a moment: seconds and nanoseconds, which are no fraction. */
export function momentText(ns: bigint): string {
  return `${ns / nanosecondsPerSecond}.${ns % nanosecondsPerSecond}`;
}
