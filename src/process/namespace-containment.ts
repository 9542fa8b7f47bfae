import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import type { Command } from './command.ts';
import type { Access, ContainedProcess, Containment, Launch } from './containment.ts';

export interface NamespaceOptions {
  /** The `bwrap` program: a path. */
  readonly bwrap: string;
  /** Directories and files of the service that a job has no business with; absolute. Those that are absent are left out. */
  readonly hidden: readonly string[];
  /** What contains the sandbox itself. */
  readonly supervisor: Containment;
}

/** bwrap, and the first process of its namespace, which collects orphans. */
const generations = 2;
const testMs = 10_000;
const noAccess: Access = { writable: [], readable: [] };

/**
 * Shuts a program in with bubblewrap, under a supervisor: a process namespace and a /tmp of its own, every file read-only
 * but those it is given, what is hidden absent, no capability whoever runs it. The network is shared.
 */
export function createNamespaceContainment(options: NamespaceOptions): Containment {
  const { adoption, startWaiting } = options.supervisor;
  const inside = <L extends Pick<Launch, 'command' | 'access'>>(launch: L) => ({
    ...launch,
    command: shutIn(options, launch.command, launch.access ?? noAccess),
    depth: generations,
  });
  return {
    level: 'namespace',
    start: (launch) => atThisLevel(options.supervisor.start(inside(launch))),
    ...(startWaiting === undefined ? {} : { startWaiting: (launch) => atThisLevel(startWaiting(inside(launch))) }),
    ...(adoption === undefined
      ? {}
      : { adoption: { ...adoption, take: (files) => atThisLevel(adoption.take(files)) } }),
  };
}

function atThisLevel<P extends ContainedProcess>(contained: P): P {
  const ended = contained.ended.then((end) =>
    end.containment === null ? end : { ...end, containment: { ...end.containment, level: 'namespace' as const } },
  );
  return { ...contained, ended };
}

const installation = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** Why it does not work here, the end of a sentence; null if it does. */
export async function namespaceFault(options: NamespaceOptions): Promise<string | null> {
  const command = { file: '/bin/true', args: [], env: {}, cwd: '/' };
  const { file, args } = shutIn(options, command, noAccess);
  const test = await execa(file, args, { env: {}, extendEnv: false, timeout: testMs, reject: false });
  if (!test.failed) return null;
  return test.stderr || (test.shortMessage ?? 'it failed');
}

function shutIn({ bwrap, hidden }: NamespaceOptions, command: Command, { writable, readable }: Access): Command {
  const kindOf = (path: string) => statSync(path, { throwIfNoEntry: false });
  const directories = hidden.filter((path) => kindOf(path)?.isDirectory());
  const files = hidden.filter((path) => kindOf(path)?.isFile());
  const isCovered = (path: string): boolean => ['/tmp', ...directories].some((top) => path.startsWith(`${top}/`));
  const args = [
    ...['--die-with-parent', '--unshare-pid', '--unshare-ipc', '--unshare-cgroup-try', '--cap-drop', 'ALL'],
    ...['--ro-bind', '/', '/', '--dev', '/dev', '--proc', '/proc', '--tmpfs', '/tmp'],
    // What is installed with the service, the CLI among it, is seen wherever it is.
    ...(installation.startsWith('/tmp/') ? ['--ro-bind', installation, installation] : []),
    ...directories.flatMap((path) => ['--tmpfs', path]),
    ...files.filter((path) => !isCovered(path)).flatMap((path) => ['--ro-bind', '/dev/null', path]),
    ...[command.file, ...readable].filter(isCovered).flatMap((path) => ['--ro-bind', path, path]),
    ...writable.flatMap((path) => ['--bind', path, path]),
    // What is bound into them keeps its own rights.
    ...directories.flatMap((path) => ['--remount-ro', path]),
    ...['--chdir', command.cwd, '--', command.file, ...command.args],
  ];
  return { ...command, file: bwrap, args };
}
