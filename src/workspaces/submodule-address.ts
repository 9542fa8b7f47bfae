import type { Transport } from './git.ts';
import { transportOf } from './open-base.ts';

/** What `.gitmodules` says of one submodule: whoever can commit wrote it. */
export interface Declared {
  readonly name: string;
  readonly path: string;
  readonly url: string;
  /** True if it asks to be left alone. Other ways to update, such as a command, are not obeyed. */
  readonly isLeftAlone: boolean;
}

/** Where a submodule is fetched from. */
export interface Address {
  readonly url: string;
  readonly transport: Transport;
  /** True if it is not the host of the base's remote: that one's password is not for it. */
  readonly isForeign: boolean;
}

export interface Parent {
  /** Where the repository that has the submodule comes from; a path where it comes from nowhere else. */
  readonly url: string;
  /** The same of the base. */
  readonly baseUrl: string;
}

const maxUrlLength = 2_000;
const maxNameLength = 200;

/** Reads what `git config --list -z` says of a `.gitmodules`: by path, and the last one of a path counts. */
export function declaredIn(list: string): ReadonlyMap<string, Declared> {
  const byName = new Map<string, Map<string, string>>();
  for (const record of list.split('\0')) {
    const [, name, key, value] = record.match(/^submodule\.(.+)\.([a-z]+)\n(.*)$/s) ?? [];
    if (name === undefined || key === undefined || value === undefined) continue;
    byName.set(name, (byName.get(name) ?? new Map<string, string>()).set(key, value));
  }
  const byPath = new Map<string, Declared>();
  for (const [name, values] of byName) {
    const [path, url] = [values.get('path'), values.get('url')];
    if (path === undefined || url === undefined) continue;
    byPath.set(path, { name, path, url, isLeftAlone: values.get('update') === 'none' });
  }
  return byPath;
}

/** The name is part of a path in the git directory of the clone, where it must lead to no other place. */
export function isSafeName(name: string): boolean {
  if (name.length > maxNameLength || /[\p{Cc}\\]/u.test(name)) return false;
  return name.split('/').every((part) => part !== '' && !/^(\.{1,2}$|-|\.git$)/i.test(part));
}

/** A reason, where the service does not go there. */
export function addressOf(url: string, parent: Parent): Address | string {
  const isRelative = /^\.{1,2}\//.test(url);
  const absolute = isRelative ? relativeTo(parent.url, url) : url;
  if (absolute === null || !/^(?!-)[^\s\p{Cc}]+$/u.test(absolute) || absolute.length > maxUrlLength) {
    return 'its address is none that git can be given';
  }
  if (transportOf(absolute) === 'local') {
    if (!/^(\/|file:\/\/\/)/.test(absolute)) return 'its address is none that git can be given';
    if (transportOf(parent.baseUrl) !== 'local') return 'its address is a path on this machine';
    return { url: absolute, transport: 'local', isForeign: false };
  }
  const host = hostOf(absolute, parent);
  if (host === null) return 'its address is not one of https, ssh or git';
  return { url: absolute, transport: 'remote', isForeign: host !== hostOf(parent.baseUrl, parent) };
}

/** One way to read it: what git and others would take for different hosts is no address here. */
const urlPattern = /^(https?|ssh|git):\/\/(?:[^/@\\?#]+@)?(\w[\w.-]*|\[[0-9a-f:]+\])(?::\d+)?(?:\/[^\\]*)?$/i;
const scpPattern = /^(?:[\w.+-]+@)?(\w[\w.-]*):(?![:/]*\/\/|:)[^\\]+$/;

/** Null if that is no address that is allowed here. */
function hostOf(url: string, { baseUrl }: Parent): string | null {
  const [, scheme, host] = urlPattern.exec(url) ?? [];
  if (host === undefined) return scpPattern.exec(url)?.[1]?.toLowerCase() ?? null;
  // Without encryption only where an operator has chosen that for the base, and so for what lies beside it.
  const isPlain = scheme?.toLowerCase() === 'http' && !baseUrl.startsWith('http://');
  return isPlain ? null : host.toLowerCase();
}

/** As git takes `./` and `../`. Null if that leads above the host or the root. */
function relativeTo(parentUrl: string, url: string): string | null {
  const [, start = '', path = ''] = parentUrl.match(/^([a-z+]+:\/\/[^/]*|[^/:]*:(?!\/\/)|)(.*)$/s) ?? [];
  const parts = path.split('/').filter((part, at) => part !== '' || at === 0);
  let rest = url;
  for (let step = /^(\.{1,2})\/+/.exec(rest); step !== null; step = /^(\.{1,2})\/+/.exec(rest)) {
    // The first part is what stands before the first slash: nothing, or for `host:path` the first directory.
    if (step[1] === '..' && (parts.pop() ?? '') === '') return null;
    rest = rest.slice(step[0].length);
  }
  return `${start}${[...parts, rest].join('/')}`.replace(/\/+$/, '');
}
