import { describe, expect, test } from 'vitest';
import type { Store } from '../../src/jobs/ports.ts';
import { createWebhookSender, type Delivery } from '../../src/jobs/webhooks.ts';
import { silentLog } from '../helpers/fake-ports.ts';
import { waitFor } from '../helpers/wait.ts';
import { cancelled, claimOne, completed, submitTo } from './job-builders.ts';

/** Part of `describeJobStore`: messages are there exactly when the change is that they tell of, and until they were taken. */
export function describeOutbox(fixture: { readonly store: () => Store; reopen(): Promise<Store> }): void {
  const { store, reopen } = fixture;
  const both = [{ url: 'https://one.example/', events: ['running', 'final'] as const }];
  const submit = (webhooks: typeof both | undefined = both) =>
    submitTo(store(), { spec: webhooks === undefined ? {} : { webhooks } });
  const take = (now = 10_000, limit = 10, leaseMs = 1_000) => store().outbox.take(limit, now, leaseMs);
  const typesOf = (deliveries: readonly Delivery[]) => deliveries.map(({ type }) => type);

  describe('outbox', () => {
    test('each change that was asked for leaves one message, others none', async () => {
      await submit();
      await submitTo(store(), { spec: { webhooks: [{ url: 'https://two.example/', events: ['final'] }] } });
      await submitTo(store());
      expect(await take()).toEqual([]);
      const claims = await store().jobs.claim(3, 2_000);
      const [started, ...others] = await take();
      expect([started?.type, started?.url, others]).toEqual(['job.running', 'https://one.example/', []]);
      for (const claim of claims) await store().jobs.finish(claim, completed(), 3_000);
      for (const claim of claims) expect(await store().jobs.finish(claim, completed(), 3_000)).toBeUndefined();
      const ends = await take();
      expect(typesOf(ends)).toEqual(['job.completed', 'job.completed']);
      expect(JSON.parse(ends[0]?.body ?? '')).toMatchObject({
        data: { job_id: claims[0]?.job.id, status: 'completed' },
      });
    });

    test('tells of cancelled jobs, and of those that a restart ended', async () => {
      const { id } = await submit();
      await submit();
      await store().jobs.cancelQueued(id, cancelled, 2_000);
      await claimOne(store());
      const told = await take(2_000);
      expect(typesOf(told).toSorted()).toEqual(['job.cancelled', 'job.running']);
      for (const message of told) await store().outbox.delivered(message.id);
      await reopen();
      await store().membership.recover(2_500);
      expect(typesOf(await take(2_500))).toEqual(['job.lost']);
    });

    test('gives a message to one at a time, again after its lease, and never after it was taken', async () => {
      await submit();
      await claimOne(store());
      const [first] = await take(10_000);
      expect(await take(10_999)).toEqual([]);
      expect(await store().outbox.nextAt()).toBe(11_000);
      await reopen();
      const [again] = await take(11_000);
      expect(again).toEqual(first);
      await store().outbox.delivered(first?.id ?? '');
      expect([await take(99_000), await store().outbox.nextAt()]).toEqual([[], null]);
    });

    test('after a restart waits for no lease of the dead process, and for no longer than after its last try', async () => {
      await submit();
      const hourMs = 3_600_000;
      await store().jobs.claim(1, hourMs);
      const [message] = await take(hourMs, 1, hourMs);
      await reopen();
      // The clock was set back by an hour.
      await store().membership.recover(2_000);
      expect(await take(2_000, 1)).toEqual([message]);
      await store().outbox.failed(message?.id ?? '', 'refused', hourMs + 5_000);
      await reopen();
      await store().membership.recover(3_000);
      expect(typesOf(await take(3_000, 10, hourMs))).toEqual(['job.lost']);
      expect(await take(9_000)).toEqual([{ ...message, tries: 1, error: 'refused' }]);
    });

    test('what was given up is listed, sent again by hand, and forgotten at last', async () => {
      await submit();
      await claimOne(store());
      const [{ id } = { id: '' }] = await take(10_000);
      await store().outbox.failed(id, 'refused', null);
      expect(await take(99_000)).toEqual([]);
      expect(await store().outbox.dead(10)).toMatchObject([{ id, tries: 1, error: 'refused' }]);
      expect(await store().outbox.resend(id, 20_000)).toBe(true);
      expect(await store().outbox.resend(id, 20_000)).toBe(false);
      expect(await take(20_000)).toMatchObject([{ id, tries: 0 }]);
      await store().outbox.failed(id, 'refused', null);
      await store().outbox.forget(2_000);
      expect(await store().outbox.dead(10)).toHaveLength(1);
      await store().outbox.forget(2_001);
      expect(await store().outbox.dead(10)).toEqual([]);
    });

    test('its sender tries for about a day, then gives up', async () => {
      await submit();
      await claimOne(store());
      let now = 10_000;
      const times: number[] = [];
      const sender = createWebhookSender({
        outbox: store().outbox,
        clock: { now: () => now },
        log: silentLog,
        post: async () => {
          times.push(now);
          throw new Error('the receiver answered 500');
        },
      });
      sender.begin();
      const dead = async (): Promise<number> => {
        now += 1_800_000;
        sender.notify();
        return (await store().outbox.dead(1)).length;
      };
      await waitFor(dead, (n) => n === 1, { what: 'the last try' });
      await sender.stop();
      expect(times).toHaveLength(11);
      expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeGreaterThan(12 * 3_600_000);
      expect(await store().outbox.dead(1)).toMatchObject([{ tries: 11, error: 'the receiver answered 500' }]);
    });
  });
}
