import { execa } from 'execa';
import type { Containment } from './containment.ts';
import { createGroupContainment } from './group-containment.ts';
import { createSupervisorContainment } from './supervisor-containment.ts';

export const supervisorFile = new URL('../../native/supervise', import.meta.url).pathname;

/** It ends a daemon of its own in a millisecond; only a broken machine takes this long. */
const selfTestMs = 5_000;
/** The version of the settings and lines that `supervisor-containment.ts` speaks. */
const version = 'supervise 1';

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
