// Why a sequence has no KV slot: none is free, its tenant has its share, or it starts soon.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitReason } from '../../src/engine-client/wait-reason.ts';

const live = (tenant: string, hasSlot = true, weight = 1) =>
  ({ tenant, weight, phase: hasSlot ? 'running' : 'waiting' }) as const;

test('a lone tenant waits for a slot, or starts in a next step', () => {
  const waiting = live('a', false);
  assert.equal(waitReason('a', [live('a'), live('a'), waiting], 2), 'no_slot');
  assert.equal(waitReason('a', [live('a'), waiting], 2), 'next_step');
  assert.equal(waitReason('a', [waiting], 2), 'next_step');
  const idle = { ...live('b'), isIdle: true } as const;
  assert.equal(waitReason('a', [idle, idle, waiting], 2), 'next_step');
});

test('next to others, a tenant waits if it has its share of the slots by weight', () => {
  const three = [live('a'), live('a'), live('b')];
  assert.equal(waitReason('a', [...three, live('a', false)], 4), 'tenant_share');
  assert.equal(waitReason('b', [...three, live('b', false)], 4), 'next_step');
  assert.equal(waitReason('c', [...three, live('b'), live('c', false)], 4), 'no_slot');
  const heavy = three.map((one) => ({ ...one, weight: one.tenant === 'a' ? 3 : 1 }));
  assert.equal(waitReason('a', [...heavy, live('a', false, 3)], 4), 'next_step');
});
