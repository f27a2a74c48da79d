// The plan of a release: shares add up to 100, and a sentence says what changes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pointerSchema } from '../../adapters/repository/manifest.ts';
import {
  candidateOf,
  modelOf,
  pointerTo,
  releaseText,
  type Shares,
  stateText,
  stepsOf,
  withShare,
} from '../../src/pages/store/release-plan.ts';

const whole = (version: number) => [{ version, percent: 100 }];

test('a version takes a share, and the others keep their proportions', () => {
  assert.deepEqual(withShare(whole(1), 2, 10), [
    { version: 1, percent: 90 },
    { version: 2, percent: 10 },
  ]);
  assert.deepEqual(withShare(whole(1), 2, 100), whole(2));
  assert.deepEqual(withShare(whole(2), 2, 10), whole(2));
  assert.deepEqual(withShare([], 2, 10), whole(2));
  const three = [1, 2, 3].map((version) => ({ version, percent: version === 1 ? 33.4 : 33.3 }));
  assert.deepEqual(
    withShare(three, 3, 50).map(({ version }) => version),
    [1, 2, 3],
  );
});

test('the API accepts every target', () => {
  const splits = [whole(1)];
  for (let percent = 1; percent <= 100; percent++) {
    for (const version of [2, 3, 4, 5, 6]) {
      const next = withShare(splits.at(-1)!, version, percent);
      const { error } = pointerSchema.safeParse(pointerTo(next));
      assert.equal(error, undefined, JSON.stringify(next));
      splits.push(next);
    }
  }
});

test('a sentence says what changes for requests', () => {
  const split = withShare(whole(7), 8, 10);
  assert.equal(
    releaseText(modelOf('zen', 'latest'), whole(7), whole(8)),
    'Requests for zen get version 8 instead of version 7.',
  );
  assert.equal(
    releaseText(modelOf('zen', 'stable'), whole(7), split),
    'Requests for zen:stable: now version 7, then 90% version 7, 10% version 8.',
  );
  assert.equal(releaseText('zen', split, split), '');
  assert.match(releaseText('zen:new', undefined, whole(8)), /^New name: requests for zen:new get/);
});

const split = (...percents: number[]) =>
  percents.map((percent, i) => ({ version: i + 1, percent }));
const alias = (leads_to: Shares, previous: Shares | null = null, is_rolled_back = false) => ({
  alias: 'latest',
  leads_to,
  previous,
  is_rolled_back,
});
const labels = (...args: Parameters<typeof stepsOf>) => stepsOf(...args).map(({ label }) => label);

test('a release begins at 10%, and ends with all requests or the version before', () => {
  const [first] = stepsOf(alias(whole(1)), 2);
  assert.equal(first!.label, 'Release version 2 at 10%');
  assert.deepEqual(first!.moves, [split(90, 10)]);
  const [forward, back] = stepsOf(alias(split(90, 10), whole(1)), 2);
  assert.equal(forward!.label, 'Release version 2 to 100%');
  assert.deepEqual(forward!.moves, [whole(2)]);
  assert.equal(back!.label, 'Roll back to version 1');
  assert.deepEqual(back!.moves, [whole(1)]);
});

test('a version that has all requests can go back to 10%, and from there to the version before', () => {
  const [, again] = stepsOf(alias(whole(2), whole(1)), 2);
  assert.equal(again!.label, 'Release version 2 at 10%');
  assert.deepEqual(again!.moves, [whole(1), split(90, 10)]);
  assert.deepEqual(stepsOf(alias(whole(1)), 1), []);
});

test('the first version of a name gets all requests', () => {
  assert.deepEqual(labels(undefined, 1), ['Release version 1 to 100%']);
  assert.equal(stateText('zen', undefined, 1), 'Not released: requests for zen get 404.');
});

test('after a rollback none is offered, but its opposite', () => {
  assert.deepEqual(labels(alias(whole(1), split(90, 10), true), 2), [
    'Release version 2 at 10%',
    'Undo the rollback: 90% version 1, 10% version 2',
  ]);
});

test('the version whose release is under way is the one that the split has added', () => {
  assert.equal(candidateOf(alias(split(90, 10), whole(1)), [3, 2, 1]), 2);
  assert.equal(candidateOf(alias(split(10, 90), whole(2)), [3, 2, 1]), 1);
  assert.equal(candidateOf(alias(split(50, 50)), [3, 2, 1]), 2);
  assert.equal(candidateOf(alias(whole(1)), [3, 2, 1]), 3);
});

test('says who gets a version', () => {
  const text = (leads_to: Shares) => stateText('zen', alias(leads_to), 2);
  assert.equal(text(whole(2)), 'Version 2 gets all requests for zen.');
  assert.equal(text(whole(1)), 'Requests for zen: version 1. Version 2 gets none.');
  assert.equal(text(split(90, 10)), 'Requests for zen: 90% version 1, 10% version 2.');
});
