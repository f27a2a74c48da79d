// The plan of a release: shares add up to 100, and a sentence says what changes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pointerSchema } from '../../adapters/repository/manifest.ts';
import { modelOf, pointerTo, releaseText, withShare } from '../../src/pages/release-plan.js';

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
