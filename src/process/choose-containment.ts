import { existsSync } from 'node:fs';
import { execa } from 'execa';
import type { Containment } from './containment.ts';
import { createGroupContainment } from './group-containment.ts';
import { createNamespaceContainment, namespaceFault } from './namespace-containment.ts';
import { createSupervisorContainment } from './supervisor-containment.ts';

export const supervisorFile = new URL('../../native/supervise', import.meta.url).pathname;

/** It ends a daemon of its own in a millisecond; only a broken machine takes this long. */
const selfTestMs = 5_000;
/** The version of the settings and lines that `supervisor-containment.ts` speaks. */
const version = 'supervise 2';

export interface ChosenContainment {
  readonly containment: Containment;
  /** Why it is not the strongest, a sentence for an operator that names the fix; null if it is. */
  readonly weakness: string | null;
}

/** The strongest containment that works here: each is tried, not assumed. Never rejects. */
export async function chooseContainment(file: string = supervisorFile): Promise<ChosenContainment> {
  const test = await execa(file, ['self-test'], { env: {}, extendEnv: false, timeout: selfTestMs, reject: false });
  if (!test.failed && test.stdout === version) {
    return { containment: createSupervisorContainment({ file }), weakness: null };
  }
  const why = test.failed ? test.shortMessage : `it says "${test.stdout}", expected "${version}"`;
  return {
    containment: createGroupContainment(),
    weakness:
      'jobs are held together by their process group alone, and what leaves it stays behind: ' +
      `the supervisor does not work here (${why}); build it with native/build.sh`,
  };
}

/** Where distributions put it: nothing of the environment decides which program shuts agents in. */
const bwrapFiles = ['/usr/bin/bwrap', '/usr/local/bin/bwrap'];

/** A sandbox under the supervisor, or why that cannot be had here, a sentence. There is nothing to fall back on. Never rejects. */
export async function chooseNamespace(
  hidden: readonly string[],
  chosen: ChosenContainment,
): Promise<Containment | string> {
  if (chosen.weakness !== null) return chosen.weakness;
  const bwrap = bwrapFiles.find((path) => existsSync(path));
  if (bwrap === undefined) return 'bubblewrap is not installed: there is no /usr/bin/bwrap';
  const options = { bwrap, hidden, supervisor: chosen.containment };
  const fault = await namespaceFault(options);
  return fault === null ? createNamespaceContainment(options) : `bubblewrap does not work here: ${fault}`;
}
