import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createGitRepo } from '../helpers/git-repo.ts';
import { type ServiceProcess, startServiceProcess, temporaryDirectory } from '../helpers/service-process.ts';

/** As jobs are told apart from outside: by what their agent sees. */
async function seenBy(service: ServiceProcess, script: string): Promise<Readonly<Record<string, unknown>>> {
  const job = await service.finished(await service.submit({ prompt: `bash: ${script}\nsay: done` }));
  expect(job).toMatchObject({ status: 'completed' });
  return job;
}

test('a job works in what another one used, and finds nothing of it', async () => {
  const root = await temporaryDirectory();
  const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'a\n', '.gitignore': 'cache/\n' });
  const told = join(root, 'told');
  await mkdir(told);
  const service = await startServiceProcess({ env: { BASE_REPO_URL: origin.path, POOL_SIZE: '1' } });
  const look = (name: string) =>
    `{ stat -c '%i %w' .; ls -A; git status --porcelain --ignored; git log --oneline; git config --get x.y; } >${told}/${name} 2>&1`;
  const mess =
    'echo x >a.txt; mkdir cache; echo secret >cache/key; echo s >.env; git config x.y z; git add -A; git -c user.name=a -c user.email=b commit -qm mine';
  const ids = new Set<string>();
  const views = new Set<string>();
  for (let n = 0; n < 6; n += 1) {
    const job = await seenBy(service, `${look(`job-${n}`)}; ${mess}`);
    expect(job).toMatchObject({ changes: { files_changed: 2, commits_made: 1, problem: null } });
    const [id = '', ...view] = (await readFile(join(told, `job-${n}`), 'utf8')).split('\n');
    ids.add(id);
    views.add(view.join('\n'));
  }
  // Fewer directories than jobs: some were used again.
  expect(ids.size).toBeLessThan(6);
  expect([...views]).toEqual([`.git\n.gitignore\na.txt\n${(await origin.git('log', '--oneline')).trim()}\n`]);
});
