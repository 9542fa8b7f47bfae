import { expect, test } from 'vitest';
import { checkStoreModel } from '../stress/store-model.ts';

test('whatever is done to the store, it does what the table of states allows and nothing else', async () => {
  expect(await checkStoreModel({ runs: 8, length: 100 })).toBeGreaterThan(300);
}, 60_000);
