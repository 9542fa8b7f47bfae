/** What a run changed in its workspace, against the commit that it started from. Small: it is part of the job's row. */
export interface ChangeSummary {
  /** Null in a repository that had no commit. */
  readonly baseCommit: string | null;
  /** Where the agent left its HEAD; null if that cannot be told. */
  readonly headCommit: string | null;
  readonly filesChanged: number;
  readonly insertions: number;
  readonly deletions: number;
  /** Commits that HEAD has and the base commit has not, counted up to 10,000. */
  readonly commitsMade: number;
  /** Of the patch; 0 if nothing changed. */
  readonly patchBytes: number;
  /** True if the patch, the list of files or the list of commits does not hold all there is. */
  readonly truncated: boolean;
  /** Why it is not whole, a sentence for a person; null if it is. */
  readonly problem: string | null;
  /** What became of the push that was asked for; absent where none was. */
  readonly push?: PushResult;
  /** What the workspace lacked of its base commit, at most 20; absent where it lacked nothing that was switched on. */
  readonly leftOut?: readonly LeftOut[];
}

/** A part of the base commit that could not be had. */
export interface LeftOut {
  readonly path: string;
  readonly kind: 'submodule' | 'lfs';
  /** A clause for a person, such as `the remote does not answer`. */
  readonly reason: string;
}

export interface PushResult {
  readonly branch: string;
  /** What the branch at the remote names now; null if it was not pushed. */
  readonly commit: string | null;
  /** Why it was not pushed, a sentence for a person; null if it was. */
  readonly problem: string | null;
}

export const fileChanges = ['added', 'modified', 'deleted', 'renamed', 'type_changed'] as const;
/**
 * Why the patch lacks a file: it is past the bound on size or number, it is kept encrypted in the repository (the patch would
 * show its plain text), it is the content of a file that LFS keeps elsewhere, it is a submodule or another repository of its
 * own, or the service cannot read it.
 */
export const omissions = ['too_large', 'encrypted', 'lfs', 'repository', 'unreadable'] as const;

export interface ChangedFile {
  /** As UTF-8; bytes that are none are shown as U+FFFD. The patch has them exactly. */
  readonly path: string;
  /** Where it was before, if it was renamed. */
  readonly oldPath: string | null;
  readonly change: (typeof fileChanges)[number];
  /** Git's modes, such as `100644`; null where there is no file. */
  readonly oldMode: string | null;
  readonly newMode: string | null;
  /** Lines; null for binary and omitted files. */
  readonly insertions: number | null;
  readonly deletions: number | null;
  readonly omitted: (typeof omissions)[number] | null;
}

/** A commit that the agent made: what it wrote there, nothing of it checked. */
export interface AgentCommit {
  readonly hash: string;
  readonly authorName: string;
  readonly authorEmail: string;
  /** ISO 8601 with an offset. */
  readonly authoredAt: string;
  /** Bounded. */
  readonly message: string;
}

/** The summary with its parts, both lists bounded; commits newest first. */
export interface ChangeSet extends ChangeSummary {
  readonly files: readonly ChangedFile[];
  readonly commits: readonly AgentCommit[];
}
