import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

interface Trick {
  readonly name: string;
  readonly config: (program: string) => string;
  /** What runs the program if it is run with the job's own `.git`; null where that takes more than is at hand. */
  readonly firesOn: readonly string[] | null;
}

const origin = (lines: string) => `[remote "origin"]\n${lines}\nfetch = +refs/heads/*:refs/remotes/origin/*\n`;

/** Settings of git that name a program to run. */
export const tricks: readonly Trick[] = [
  { name: 'core.fsmonitor', config: (run) => `[core]\nfsmonitor = ${run}\n`, firesOn: ['status'] },
  { name: 'core.hooksPath', config: () => `[core]\nhooksPath = .git/evil-hooks\n`, firesOn: ['add', 'a.txt'] },
  {
    name: 'filter',
    config: (run) => `[filter "evil"]\nclean = ${run}\nsmudge = ${run}\n`,
    firesOn: ['status'],
  },
  { name: 'include.path', config: (run) => `[include]\npath = ${run}.conf\n`, firesOn: ['status'] },
  { name: 'diff.external', config: (run) => `[diff]\nexternal = ${run}\n`, firesOn: ['diff'] },
  { name: 'textconv', config: (run) => `[diff "evil"]\ntextconv = ${run}\n`, firesOn: ['diff'] },
  {
    name: 'core.sshCommand',
    config: (run) => `[core]\nsshCommand = ${run}\n${origin('url = ssh://x/y')}`,
    firesOn: ['fetch', 'origin'],
  },
  {
    name: 'remote.uploadpack',
    config: (run) => origin(`uploadpack = ${run}\nurl = /x\npromisor = true\npartialclonefilter = blob:none`),
    firesOn: ['fetch', 'origin'],
  },
  {
    name: 'ext::',
    config: (run) => `[protocol "ext"]\nallow = always\n${origin(`url = ext::${run}\npromisor = true`)}`,
    firesOn: ['fetch', 'origin'],
  },
  {
    name: 'gpg.program',
    config: (run) => `[gpg]\nprogram = ${run}\n[log]\nshowSignature = true\n[commit]\ngpgSign = true\n`,
    firesOn: ['commit', '--allow-empty', '--message=x'],
  },
  { name: 'credential.helper', config: (run) => `[credential]\nhelper = !${run}\n`, firesOn: null },
];

/** Hooks that leave a mark if one of them is run. */
export async function writeHooks(directory: string, marker: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const hook of ['post-index-change', 'pre-commit', 'reference-transaction', 'fsmonitor-watchman']) {
    await writeFile(join(directory, hook), `#!/bin/sh\ntouch '${marker}'\n`, { mode: 0o755 });
  }
}
