import type { PastTurn } from '../../jobs/job.ts';

/** An earlier message, with what it holds beside its text told apart. */
export interface SpokenTurn {
  readonly role: string;
  readonly text: string;
  /** It has a name, a refusal, a call of a tool, an attachment: more than a turn of the agent's own can hold. */
  readonly isMore: boolean;
}

/** What the CLI itself writes where an answer is missing, and drops where it reads one. */
const placeholder = '(no content)';

/**
 * The turns before the task as turns of the agent's own session; null where they cannot be that without a loss, and have to be
 * told in words. The session drops what is blank, and puts an answer of its own where one is missing.
 */
export function historyOf(turns: readonly SpokenTurn[]): readonly PastTurn[] | null {
  const last = turns.at(-1);
  if (last?.role !== 'assistant') return null;
  const history = turns.flatMap(({ role, text, isMore }): readonly PastTurn[] =>
    (role === 'user' || role === 'assistant') && !isMore && text.trim() !== '' && text !== placeholder
      ? [{ role, text }]
      : [],
  );
  const alternates = history.every(({ role }, index) => (role === 'user') === (index % 2 === 0));
  return history.length === turns.length && alternates ? history : null;
}
