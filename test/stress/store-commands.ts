import fc from 'fast-check';

/** One thing that is done to a store. Numbers choose among the jobs and claims that there are, also those of the past. */
export type Command =
  | {
      do: 'submit';
      kind: 'execute' | 'chat';
      key: string | null;
      hash: string;
      followUp: boolean;
      max: number;
      attempts: number;
      after: number | null;
    }
  | { do: 'claim'; slots: number }
  | { do: 'finish' | 'fail' | 'lose' | 'cancel' | 'remove' | 'acknowledge'; which: number }
  | { do: 'evict'; age: number; dueAge: number; limit: number }
  | { do: 'restart' };

const index = fc.nat(40);
export const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('submit' as const),
      kind: fc.constantFrom('execute' as const, 'execute' as const, 'chat' as const),
      key: fc.option(fc.constantFrom('a', 'b', 'c')),
      hash: fc.constantFrom('same', 'same', 'other'),
      followUp: fc.boolean(),
      max: fc.integer({ min: 1, max: 8 }),
      attempts: fc.integer({ min: 1, max: 3 }),
      after: fc.option(index),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('claim' as const), slots: fc.nat(3) }) },
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'finish' as const,
        'finish' as const,
        'fail' as const,
        'lose' as const,
        'cancel' as const,
        'remove' as const,
        'acknowledge' as const,
      ),
      which: index,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('evict' as const),
      age: fc.nat(30),
      dueAge: fc.nat(60),
      limit: fc.integer({ min: 1, max: 5 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
);
