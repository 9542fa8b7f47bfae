import { chmod, cp, link, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { openGitRepo } from '../helpers/git-repo.ts';

/** What a job may do to its workspace, on purpose or not. `outside` is a directory beside it that it can write to. */
export interface Mischief {
  readonly name: string;
  readonly act: (workspace: string, outside: string) => Promise<unknown>;
}

const { path: searchPath = '/usr/bin:/bin' } = { path: process.env['PATH'] };
const python = async (script: string, ...args: readonly string[]) =>
  await execa('python3', ['-c', script, ...args], { env: { PATH: searchPath }, extendEnv: false });
const shell = async (cwd: string, script: string) =>
  await execa('sh', ['-euc', script], { cwd, env: { PATH: searchPath }, extendEnv: false });

/** What the script does to the file keeps its times, to the nanosecond; but for the one that nobody can set. */
const hidden = async (cwd: string, file: string, script: string) =>
  await shell(cwd, `cp -p ${file} /tmp/$$.times; ${script}; touch -r /tmp/$$.times ${file}; rm -f /tmp/$$.times`);

/** The base that all of it is done to. */
export const mischiefFiles = {
  'a.txt': 'aaaa\n',
  'b.txt': 'bbbb\n',
  'run.sh': '#!/bin/sh\n',
  'd/one.txt': 'one\n',
  'd/two.txt': 'two\n',
  'd/e/deep.txt': 'deep\n',
  'other/one.txt': 'other one\n',
  '.gitignore': 'ignored/\n*.log\n',
};

/** After these, what nobody touched stays. */
export const bearable: readonly Mischief[] = [
  { name: 'does nothing', act: async () => {} },
  {
    name: 'works: edits, adds, deletes, moves, makes executable, commits, and leaves ignored files',
    async act(workspace) {
      await writeFile(join(workspace, 'a.txt'), 'edited\n');
      await mkdir(join(workspace, 'new/deeper'), { recursive: true });
      await writeFile(join(workspace, 'new/deeper/file'), 'new\n');
      await rm(join(workspace, 'b.txt'));
      await rename(join(workspace, 'd/one.txt'), join(workspace, 'd/moved.txt'));
      await chmod(join(workspace, 'run.sh'), 0o755);
      const repo = openGitRepo(workspace);
      await repo.git('checkout', '--quiet', '-b', 'work');
      await repo.commit({ 'committed.txt': 'c' });
      await repo.git('tag', 'mine');
      await repo.git('stash', 'list');
      await shell(workspace, 'mkdir ignored; echo secret >ignored/secret; echo secret >build.log; echo secret >.env');
    },
  },
  {
    name: 'packs its store anew and drops the old packs',
    act: async (workspace) => await openGitRepo(workspace).git('repack', '--quiet', '-a', '-d', '-f'),
  },
  {
    name: 'changes a file in its place and hides it behind the old size and time',
    act: async (workspace) => await hidden(workspace, 'a.txt', 'printf AAAA | dd conv=notrunc of=a.txt status=none'),
  },
  {
    name: 'changes a file through memory and hides it behind the old size and time',
    act: async (workspace) =>
      await hidden(
        workspace,
        'a.txt',
        `python3 -c 'import mmap; f = open("a.txt", "r+b"); m = mmap.mmap(f.fileno(), 0); m[0:2] = b"MM"; m.close()'`,
      ),
  },
  {
    name: 'keeps a link to a file, to write through it later',
    act: async (workspace, outside) => await link(join(workspace, 'a.txt'), join(outside, 'link')),
  },
  {
    name: 'swaps two files',
    act: async (workspace) => await shell(workspace, 'mv a.txt x; mv b.txt a.txt; mv x b.txt'),
  },
  {
    name: 'swaps a file for a copy with its times, and one for a link to it',
    act: async (workspace) => await shell(workspace, 'cp -p a.txt x; mv x a.txt; rm b.txt; ln -s a.txt b.txt'),
  },
  {
    name: 'swaps two directories',
    act: async (workspace) => await shell(workspace, 'mv d x; mv other d; mv x other'),
  },
  {
    name: 'puts links to a directory outside where directories were',
    async act(workspace, outside) {
      await writeFile(join(outside, 'one.txt'), 'outside\n');
      await rm(join(workspace, 'd'), { recursive: true });
      await symlink(outside, join(workspace, 'd'));
      await symlink(outside, join(workspace, 'more'));
    },
  },
  {
    name: 'puts a directory where a file was, and a file where a directory was',
    act: async (workspace) =>
      await shell(workspace, 'rm a.txt; mkdir a.txt; echo x >a.txt/x; rm -r other; echo x >other'),
  },
  {
    name: 'leaves pipes, sockets and names that are no text',
    async act(workspace) {
      await shell(workspace, 'mkfifo pipe d/pipe; rm b.txt; mkfifo b.txt');
      await writeFile(Buffer.from(`${workspace}/d/bad\xff\nname`, 'latin1'), 'bytes');
      await python('import socket, sys\nsocket.socket(socket.AF_UNIX).bind(sys.argv[1])', join(workspace, 's'));
    },
  },
  {
    name: 'leaves hooks, settings, attributes, another store and other branches',
    async act(workspace, outside) {
      const repo = openGitRepo(workspace);
      await repo.git('config', 'core.fsmonitor', `touch ${outside}/fired`);
      await repo.git('config', 'core.hooksPath', outside);
      await repo.git('config', 'filter.x.smudge', 'cat');
      await mkdir(join(workspace, '.git/hooks'), { recursive: true });
      await writeFile(join(workspace, '.git/hooks/post-checkout'), `#!/bin/sh\ntouch ${outside}/fired\n`, {
        mode: 0o755,
      });
      await mkdir(join(workspace, '.git/info'), { recursive: true });
      await writeFile(join(workspace, '.git/info/attributes'), '* filter=x\n');
      await writeFile(join(workspace, '.git/info/exclude'), '*\n');
      await mkdir(join(workspace, '.git/objects/info'), { recursive: true });
      await writeFile(join(workspace, '.git/objects/info/alternates'), `${outside}\n`);
      await writeFile(join(workspace, '.git/packed-refs'), '');
      await repo.git('update-ref', 'refs/replace/x', 'HEAD');
    },
  },
  {
    name: 'overwrites the store in its place',
    async act(workspace) {
      const packs = join(workspace, '.git/objects/pack');
      for (const name of await readdir(packs)) {
        await hidden(packs, name, `chmod u+w ${name}; printf x | dd conv=notrunc of=${name} bs=1 seek=20 status=none`);
      }
    },
  },
  {
    name: 'swaps the store for one with the same names',
    async act(workspace, outside) {
      const store = join(workspace, '.git/objects/pack');
      await cp(store, join(outside, 'pack'), { recursive: true, preserveTimestamps: true });
      await rename(store, join(outside, 'true'));
      await rename(join(outside, 'pack'), store);
    },
  },
  {
    name: 'puts a link to another repository in the place of its own',
    async act(workspace, outside) {
      await rename(join(workspace, '.git'), join(outside, 'git'));
      await symlink(join(outside, 'git'), join(workspace, '.git'));
    },
  },
  {
    name: 'makes its index a directory, and its head a link',
    act: async (workspace, outside) =>
      await shell(workspace, `rm .git/index; mkdir .git/index; rm .git/HEAD; ln -s ${outside}/head .git/HEAD`),
  },
  {
    name: 'forges its index',
    act: async (workspace) =>
      await shell(workspace, 'echo evil >a.txt; git add a.txt; git update-index --assume-unchanged a.txt'),
  },
];

/** After these nothing stays. */
export const unbearable: readonly Mischief[] = [
  { name: 'lets others into a directory', act: async (workspace) => await chmod(join(workspace, 'd'), 0o777) },
  {
    name: 'lets others into what will be made in a directory',
    // user::rwx group::r-x other::rwx, as the kernel keeps it
    act: async (workspace) =>
      await python(
        'import os, struct, sys\nacl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, 0xffffffff) for t, p in ((1, 7), (4, 5), (32, 7)))\nos.setxattr(sys.argv[1], "system.posix_acl_default", acl)',
        join(workspace, 'd/e'),
      ),
  },
  {
    name: 'marks a directory',
    act: async (workspace) =>
      await python('import os, sys\nos.setxattr(sys.argv[1], "user.mark", b"x")', join(workspace, '.git/refs')),
  },
  { name: 'sets a flag of the file system', act: async (workspace) => await shell(workspace, 'chattr +A d') },
  {
    name: 'leaves more than is worth looking at',
    act: async (workspace) => await shell(workspace, 'mkdir many; cd many; seq 1200 | xargs touch'),
  },
  {
    name: 'leaves a directory that is very deep',
    act: async (workspace) => await shell(workspace, 'for n in $(seq 150); do mkdir x; cd x; done'),
  },
  {
    name: 'puts another directory in the place of its own',
    async act(workspace, outside) {
      await cp(workspace, join(outside, 'copy'), { recursive: true, preserveTimestamps: true });
      await rename(workspace, join(outside, 'mine'));
      await rename(join(outside, 'copy'), workspace);
    },
  },
];
