// The fragment of the fine-tuning page's address selects what it shows.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toRoute } from '../../src/pages/fine-tuning/route.ts';

for (const [fragment, route] of [
  ['', { view: 'overview' }],
  ['#all', { view: 'overview' }],
  ['#ftjob-a1', { view: 'job', id: 'ftjob-a1' }],
  ['#ftjob-a1"<b>', { view: 'overview' }],
  ['#tinker-0f:train:2', { view: 'run', id: 'tinker-0f:train:2' }],
  ['#compare=ftjob-a,ftjob-b', { view: 'comparison', ids: ['ftjob-a', 'ftjob-b'] }],
  ['#compare=ftjob-a', { view: 'overview' }],
  ['#new', { view: 'new', repeated: undefined, changes: {} }],
  ['#repeat-ftjob-a', { view: 'new', repeated: 'ftjob-a', changes: {} }],
  [
    '#repeat-ftjob-a&n_epochs=6&rank=8',
    { view: 'new', repeated: 'ftjob-a', changes: { n_epochs: '6', rank: '8' } },
  ],
] as const) {
  test(`${fragment || 'no fragment'} shows ${route.view}`, () => {
    assert.deepEqual(toRoute(fragment), route);
  });
}
