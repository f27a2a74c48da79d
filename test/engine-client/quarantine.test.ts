import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type InFlight, Quarantine } from '../../src/engine-client/quarantine.ts';
import { request } from '../scheduler/fake-engine.ts';

const suspect = (adapter: string | undefined, prompt: number, isNew = true): InFlight => ({
  adapter,
  request: request([prompt]),
  isNew,
});

function code(quarantine: Quarantine, of: InFlight): string | undefined {
  return quarantine.refusal(of)?.code;
}

test('sequences that joined before two crashes are refused, by adapter and by request', () => {
  const quarantine = new Quarantine(() => 1);
  quarantine.crashed([suspect('a', 1), suspect(undefined, 2)]);
  assert.equal(code(quarantine, suspect('a', 1)), undefined);
  quarantine.crashed([suspect('a', 3), suspect(undefined, 2)]);
  assert.equal(code(quarantine, suspect('a', 9)), 'quarantined');
  assert.equal(code(quarantine, suspect(undefined, 2)), 'quarantined');
  assert.equal(quarantine.refusal(suspect('a', 9))?.status, 503);
  assert.equal(quarantine.refusal(suspect('a', 9))?.retryAfterS, 600);
});

test('the base is never refused, only a request to it', () => {
  const quarantine = new Quarantine();
  for (const prompt of [1, 2, 3]) quarantine.crashed([suspect(undefined, prompt)]);
  assert.equal(code(quarantine, suspect(undefined, 4)), undefined);
});

test('running sequences are blamed only if no sequence joined', () => {
  const quarantine = new Quarantine();
  for (let crashes = 0; crashes < 2; crashes++) {
    quarantine.crashed([suspect('old', 1, false), suspect('new', 2)]);
  }
  assert.equal(code(quarantine, suspect('old', 1)), undefined);
  assert.equal(code(quarantine, suspect('new', 2)), 'quarantined');
  for (let crashes = 0; crashes < 2; crashes++) quarantine.crashed([suspect('old', 1, false)]);
  assert.equal(code(quarantine, suspect('old', 1)), 'quarantined');
});

test('an adapter with a finished sequence is not blamed for a request that uses it', () => {
  const quarantine = new Quarantine();
  for (let crashes = 0; crashes < 2; crashes++) {
    quarantine.served('a');
    quarantine.crashed([suspect('a', 1)]);
  }
  assert.equal(code(quarantine, suspect('a', 1)), 'quarantined');
  assert.equal(code(quarantine, suspect('a', 2)), undefined);
});

test('a refusal expires', () => {
  let nowMs = 0;
  const quarantine = new Quarantine(() => nowMs);
  nowMs = 1;
  for (let crashes = 0; crashes < 2; crashes++) quarantine.crashed([suspect('a', 1)]);
  nowMs += 599_000;
  assert.equal(code(quarantine, suspect('a', 1)), 'quarantined');
  nowMs += 2_000;
  assert.equal(code(quarantine, suspect('a', 1)), undefined);
});

test('requests that differ in a parameter are different requests', () => {
  const quarantine = new Quarantine();
  const biased = suspect(undefined, 1);
  const request = {
    ...biased.request,
    sampling: { ...biased.request.sampling, logitBias: new Map([[1, 5]]) },
  };
  for (let crashes = 0; crashes < 2; crashes++) quarantine.crashed([{ ...biased, request }]);
  assert.equal(code(quarantine, { ...biased, request }), 'quarantined');
  assert.equal(code(quarantine, biased), undefined);
});

test('sequences in only one of two failing steps are admitted', () => {
  const quarantine = new Quarantine();
  quarantine.crashed([suspect('a', 1), suspect('b', 2)]);
  quarantine.crashed([suspect('a', 1), suspect('c', 3)]);
  assert.equal(code(quarantine, suspect('a', 1)), 'quarantined');
  for (const digest of ['b', 'c']) assert.equal(code(quarantine, suspect(digest, 4)), undefined);
});
