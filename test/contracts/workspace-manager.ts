import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WorkspaceError } from '../../src/jobs/errors.ts';
import type { JobId } from '../../src/jobs/job.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { WorkspaceManager } from '../../src/jobs/ports.ts';

export interface WorkspaceManagerFixture {
  readonly manager: WorkspaceManager;
  /** Where the workspaces are: one directory each, named by the job. */
  readonly jobsDir: string;
  /** A file of the base and its content. */
  readonly file: { readonly name: string; readonly text: string };
  /** The newest commit of the base. */
  readonly commit: string;
  close(): Promise<void>;
}

const never = new AbortController().signal;

/** What every `WorkspaceManager` must do; `create` makes one whose base has at least one file. */
export function describeWorkspaceManager(name: string, create: () => Promise<WorkspaceManagerFixture>): void {
  describe(`a workspace manager: ${name}`, () => {
    let fixture: WorkspaceManagerFixture;
    let manager: WorkspaceManager;

    beforeEach(async () => {
      fixture = await create();
      manager = fixture.manager;
    });
    afterEach(() => fixture.close());

    const contentOf = (path: string) => readFile(join(path, fixture.file.name), 'utf8');
    const visible = async () => (await readdir(fixture.jobsDir)).filter((entry) => !entry.startsWith('.'));

    test('a workspace holds the files of the base and says which commit they are of', async () => {
      const id = createJobId();
      await using workspace = await manager.create(id, never);
      expect(workspace.path).toBe(join(fixture.jobsDir, id));
      expect(await contentOf(workspace.path)).toBe(fixture.file.text);
      expect(workspace.baseCommit).toBe(fixture.commit);
    });

    test('ten workspaces at once are ten directories, and what is written in one is in no other', async () => {
      const made = await Promise.all(Array.from({ length: 10 }, () => manager.create(createJobId(), never)));
      expect(new Set(made.map(({ path }) => path)).size).toBe(10);
      const [first, ...others] = made;
      await writeFile(join(first?.path ?? '', fixture.file.name), 'changed');
      for (const other of others) expect(await contentOf(other.path)).toBe(fixture.file.text);
      await using later = await manager.create(createJobId(), never);
      expect(await contentOf(later.path)).toBe(fixture.file.text);
      await Promise.all(made.map((workspace) => workspace[Symbol.asyncDispose]()));
      expect(await visible()).toEqual([later.path.slice(fixture.jobsDir.length + 1)]);
    });

    test('a disposed workspace is out of sight when disposing resolves, however often it is disposed', async () => {
      const workspace = await manager.create(createJobId(), never);
      await workspace[Symbol.asyncDispose]();
      await expect(stat(workspace.path)).rejects.toThrow('ENOENT');
      await workspace[Symbol.asyncDispose]();
      expect(await visible()).toEqual([]);
    });

    test('a workspace that is given back is out of sight then, and nobody finds what was done in it', async () => {
      for (let round = 0; round < 3; round += 1) {
        const id = createJobId();
        const workspace = await manager.create(id, never);
        expect(await contentOf(workspace.path)).toBe(fixture.file.text);
        expect((await readdir(workspace.path)).toSorted()).toEqual(['.git', fixture.file.name]);
        await writeFile(join(workspace.path, fixture.file.name), 'changed');
        await writeFile(join(workspace.path, 'new'), 'new');
        await workspace.giveBack();
        await workspace.giveBack();
        await workspace[Symbol.asyncDispose]();
        expect(await visible()).toEqual([]);
      }
    });

    test('disposing a workspace that has gone by itself resolves', async () => {
      const workspace = await manager.create(createJobId(), never);
      const elsewhere = await manager.create(createJobId(), never);
      await elsewhere[Symbol.asyncDispose]();
      await manager.sweep();
      await workspace[Symbol.asyncDispose]();
      expect(await visible()).toEqual([]);
    });

    test('an aborted creation rejects with the reason of the signal and leaves nothing', async () => {
      await expect(manager.create(createJobId(), AbortSignal.abort('cancelled'))).rejects.toBe('cancelled');
      const controller = new AbortController();
      const creating = manager.create(createJobId(), controller.signal);
      controller.abort('shutdown');
      await expect(creating).rejects.toBe('shutdown');
      expect(await visible()).toEqual([]);
    });

    test('what is not the id of a job names no directory', async () => {
      // The type forbids it; whoever gets around the type must not get around the directory.
      const hostile = '../escaped' as JobId;
      await expect(manager.create(hostile, never)).rejects.toThrow(WorkspaceError);
      await expect(stat(join(fixture.jobsDir, hostile))).rejects.toThrow('ENOENT');
    });

    test('a second workspace for the same job is refused and the first one stays', async () => {
      const id = createJobId();
      await using workspace = await manager.create(id, never);
      await expect(manager.create(id, never)).rejects.toThrow(WorkspaceError);
      expect(await contentOf(workspace.path)).toBe(fixture.file.text);
    });

    test('a sweep removes what dead processes left and nothing else', async () => {
      const left = join(fixture.jobsDir, createJobId());
      const foreign = `not-ours-${randomBytes(4).toString('hex')}`;
      await mkdir(join(left, 'deep'), { recursive: true });
      await writeFile(join(fixture.jobsDir, foreign), 'keep');
      await manager.sweep();
      expect(await visible()).toEqual([foreign]);
    });

    test('nothing is wrong with a manager that can make workspaces', async () => {
      expect(await manager.check()).toBeNull();
    });
  });
}
