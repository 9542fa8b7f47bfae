import { z } from 'zod';
import { fileChanges, omissions } from '../jobs/change-set.ts';

/** What a job changed, against the commit that its clone started from. */
export const ChangesSchema = z.object({
  base_commit: z.string().nullable().describe('Null in a repository that had no commit'),
  head_commit: z.string().nullable().describe('Where the agent left HEAD'),
  files_changed: z.int(),
  insertions: z.int().describe('Lines'),
  deletions: z.int(),
  commits_made: z.int().describe('By the agent; counted up to 10,000'),
  patch_bytes: z.int(),
  truncated: z.boolean().describe('The patch or one of the lists does not hold all there is'),
  problem: z.string().nullable().describe('Why it is not whole, a sentence for a person'),
  push: z
    .object({
      branch: z.string(),
      commit: z.string().nullable().describe('What the branch at the remote names now; null if it was not pushed'),
      problem: z.string().nullable().describe('Why it was not pushed, a sentence for a person'),
    })
    .nullable()
    .describe(
      'What became of `push_branch`; null where none was asked for, and where the service was killed before it',
    ),
  left_out: z
    .array(z.object({ path: z.string(), kind: z.enum(['submodule', 'lfs']), reason: z.string() }))
    .describe('What the workspace lacked of the base commit though SUBMODULES or LFS is on; 20 at most'),
});

export const ChangeSetSchema = ChangesSchema.extend({
  files: z.array(
    z.object({
      path: z.string(),
      old_path: z.string().nullable(),
      change: z.enum(fileChanges),
      old_mode: z.string().nullable(),
      new_mode: z.string().nullable(),
      insertions: z.int().nullable().describe('Null for binary files and for those left out'),
      deletions: z.int().nullable(),
      omitted: z.enum(omissions).nullable().describe('Why the patch lacks it; null if it does not'),
    }),
  ),
  commits: z
    .array(
      z.object({
        hash: z.string(),
        author_name: z.string(),
        author_email: z.string(),
        authored_at: z.string().describe('As the commit says'),
        message: z.string(),
      }),
    )
    .describe('Newest first, as the agent wrote them'),
});
