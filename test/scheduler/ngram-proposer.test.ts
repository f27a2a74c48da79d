import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { NgramProposer } from '../../src/scheduler/drafter.ts';

/** The plain twin: compares every earlier position with the end, token by token. */
function plainProposal(tokens: readonly number[], maxTokens: number): number[] {
  const last = tokens.length - 1;
  let best = -1;
  let bestLength = 1;
  for (let at = last - 1; at > 0; at--) {
    let length = 0;
    while (length < 4 && at - length >= 0 && tokens[at - length] === tokens[last - length])
      length++;
    if (length > bestLength) [best, bestLength] = [at, length];
  }
  if (best < 0) return [];
  const all = [...tokens];
  for (let i = 0; i < maxTokens; i++) all.push(all[best + 1 + i]!);
  return all.slice(tokens.length);
}

function proposal(tokens: readonly number[], promptLength: number, maxTokens: number) {
  const proposer = new NgramProposer(tokens.slice(0, promptLength));
  for (const id of tokens.slice(promptLength)) proposer.append(id);
  return proposer.propose(maxTokens);
}

test('the tokens after the longest match are proposed, after the latest of equal ones', () => {
  assert.deepEqual(proposal([1, 2, 3, 9, 1, 2, 4, 9, 1, 2], 10, 2), [4, 9]);
  assert.deepEqual(proposal([7, 1, 2, 3, 9, 1, 2, 4, 7, 1, 2], 11, 2), [3, 9]);
});

test('one equal token is no match', () => {
  assert.deepEqual(proposal([1, 5, 6, 1], 4, 3), []);
});

test('a text that repeats itself is proposed to go on', () => {
  assert.deepEqual(proposal([1, 2, 3, 1, 2, 3], 2, 7), [1, 2, 3, 1, 2, 3, 1]);
  assert.deepEqual(proposal([5, 5, 5], 3, 4), [5, 5, 5, 5]);
});

test('the first token of a prompt and a prompt of one token have no match', () => {
  assert.deepEqual(proposal([4], 1, 3), []);
  assert.deepEqual(proposal([4, 4], 1, 3), []);
});

test('the index proposes what a plain search proposes, whenever it is asked', () => {
  const texts = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 30 });
  const property = fc.property(texts, fc.nat(40), fc.nat(6), (tokens, split, maxTokens) => {
    const promptLength = 1 + (split % tokens.length);
    const proposer = new NgramProposer(tokens.slice(0, promptLength));
    for (let length = promptLength; length <= tokens.length; length++) {
      const want = plainProposal(tokens.slice(0, length), maxTokens);
      assert.deepEqual(proposer.propose(maxTokens), want);
      if (length < tokens.length) proposer.append(tokens[length]!);
    }
    assert.deepEqual(proposal(tokens, promptLength, maxTokens), plainProposal(tokens, maxTokens));
  });
  fc.assert(property, { seed: 20260801, numRuns: 2000 });
});

test('a prediction is proposed from its start, and the prompt and the answer count as before', () => {
  const proposer = new NgramProposer([5, 6], [20, 21, 22]);
  assert.deepEqual(proposer.propose(3), [20, 21, 22]);
  for (const id of [20, 21]) proposer.append(id);
  assert.deepEqual(proposer.propose(1), [22]);
  for (const id of [9, 20, 21]) proposer.append(id);
  assert.deepEqual(proposer.propose(1), [9]);
});
