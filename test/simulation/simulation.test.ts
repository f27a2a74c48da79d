import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import type { Command, Story } from './commands.ts';
import { INVARIANTS, withoutBug } from './invariants.ts';
import { PLANTED_BUGS } from './planted-bugs.ts';
import { runStory } from './run-story.ts';
import { explain, findSeed, shrink, storyOf } from './seeds.ts';
import { Violation } from './violation.ts';

/** `npm run test:e2e` runs more. */
const SEED_COUNT = 30;
/** Enough for the rarest of the planted bugs. */
const BUG_SEEDS = 400;
/** Of the seeds that were run. */
const traces: [seed: number, traceHash: string][] = [];
const TO_X = {
  type: 'submit',
  server: 0,
  tenant: 'a',
  key: 0,
  model: 'x',
  family: 0,
  promptLength: 3,
  maxTokens: 2,
  stops: false,
} as const satisfies Command;

/** Stories that once failed. */
const REGRESSIONS: Readonly<Record<string, Story>> = {
  'of two prompts with one adapter in a step, the run of the first one throws': {
    seed: 1,
    mode: 'liveness',
    serverCount: 1,
    prefillChunk: 64,
    commands: [TO_X, TO_X, { type: 'engineFault', server: 0, fault: 'throw' }],
  },
};

test('I01, I02, I03, I04, I05, I06, I07, I08, I09, I10, I11, I12, I15, I16, I17, I18, I19, I20, I21, I22, I23, I24: these invariants hold whatever happens to servers, engines, trainers, store and clocks', async () => {
  for (let seed = 1; seed <= SEED_COUNT; seed++) {
    const { violation, traceHash } = await runStory(storyOf(seed));
    if (violation) assert.fail(explain(seed, violation));
    traces.push([seed, traceHash]);
  }
});

for (const [what, story] of Object.entries(REGRESSIONS)) {
  test(what, async () => {
    const { violation } = await runStory(story);
    if (violation) throw violation;
  });
}

test('the story that is shortened is that of the seed', async () => {
  const tried: Story[] = [];
  const shortest = await shrink(7, async (story) => {
    tried.push(story);
    return { violation: new Violation('I08', 'planted') };
  });
  assert.deepEqual(tried[0], storyOf(7));
  assert.ok(JSON.stringify(shortest!.story).length < JSON.stringify(tried[0]).length);
});

test('two runs of a seed have the same trace', async () => {
  assert.equal(traces.length, SEED_COUNT);
  for (const [seed, traceHash] of traces.slice(0, 10)) {
    assert.equal((await runStory(storyOf(seed))).traceHash, traceHash, `seed ${seed}`);
  }
});

test('each invariant is checked here or elsewhere, and each check here has a planted bug', () => {
  for (const { id, checkedBy } of INVARIANTS) {
    assert.ok(checkedBy.length > 0, `${id} is not checked`);
    for (const file of checkedBy) assert.ok(existsSync(path.join(import.meta.dirname, file)), file);
  }
  assert.deepEqual(withoutBug(), []);
});

describe('a planted bug is found', () => {
  for (const bug of PLANTED_BUGS) {
    test(`${bug.invariant}: ${bug.what}`, async () => {
      assert.ok(await findSeed(bug, { from: bug.seed, count: BUG_SEEDS }), 'no seed shows it');
    });
  }
});
