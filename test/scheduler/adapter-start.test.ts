// Adapters that are used from an invocation on: the part of the prompt before it runs as the base.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GenerationRequest } from '../../src/contracts/generation.ts';
import type { Batch } from '../../src/engine/batch.ts';
import type { FromEngine, SequenceId } from '../../src/scheduler/protocol.ts';
import { adapterStart, isTerminal } from '../../src/scheduler/sequence.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { FakeEngine, FakeLeases, referenceTokens, request, source } from './fake-engine.ts';
import { PlainPrefixCache } from './plain-prefix-cache.ts';

const INVOCATION = [40, 41];

test('an adapter begins at the last invocation in the prompt', () => {
  assert.equal(adapterStart([1, 40, 41, 2, 40, 41, 3], INVOCATION), 4);
  assert.equal(adapterStart([40, 41], INVOCATION), 0);
  assert.equal(adapterStart([1, 40, 2, 41, 40], INVOCATION), Number.POSITIVE_INFINITY);
  assert.equal(adapterStart([41], INVOCATION), Number.POSITIVE_INFINITY);
});

interface Sent {
  readonly request: GenerationRequest;
  readonly adapter?: string;
}

/** Runs requests together on a fake engine. Returns the batches and the tokens of each request. */
async function run(requests: readonly Sent[], prefillChunk = 64) {
  const engine = new FakeEngine({ slotCount: 4 });
  engine.prefixes = new PlainPrefixCache(engine.slots);
  const adapters = new FakeLeases();
  adapters.invocations.set('activated', INVOCATION);
  const batches: Batch[] = [];
  engine.beforeRun = (batch) => void batches.push(batch);
  const loop = new StepLoop({ engine, adapters, limits: { prefillChunk } });
  const tokens: number[][] = requests.map(() => []);
  let open = requests.length;
  await loop.run((message: FromEngine) => {
    if (message.type === 'ready') {
      requests.forEach(({ request, adapter }, i) => {
        const of = adapter === undefined ? {} : { adapter: source(adapter) };
        loop.handle({
          type: 'submit',
          id: i as SequenceId,
          tenant: { id: 't', weight: 1 },
          request,
          ...of,
        });
      });
    }
    if (message.type !== 'step') return;
    for (const event of message.events) {
      if (event.type === 'token') tokens[event.id]!.push(event.tokenId);
      if (isTerminal(event) && --open === 0) loop.handle({ type: 'drain', deadlineMs: 1000 });
    }
  });
  return { batches, tokens };
}

const chunks = (batches: readonly Batch[]) =>
  batches.flatMap((batch) =>
    batch.kind === 'prefill' ? [[batch.pastLength, batch.tokenIds.length, batch.adapter]] : [],
  );

test('the prompt is cut at the invocation, and the answer comes from the adapter', async () => {
  const sent = { request: request([1, 2, 3, ...INVOCATION, 4]), adapter: 'activated' };
  const { batches, tokens } = await run([sent]);
  assert.deepEqual(chunks(batches), [
    [0, 3, undefined],
    [3, 3, 'activated'],
  ]);
  assert.deepEqual(tokens[0], referenceTokens(sent.request, 'activated'));
});

test('chunks within both parts keep the budget', async () => {
  const sent = { request: request([1, 2, 3, 4, 5, ...INVOCATION, 6, 7]), adapter: 'activated' };
  const { batches } = await run([sent], 3);
  assert.deepEqual(chunks(batches), [
    [0, 3, undefined],
    [3, 2, undefined],
    [5, 2, 'activated'],
    [7, 2, 'activated'],
  ]);
});

test('without an invocation the base answers', async () => {
  const sent = { request: request([1, 2, 3]), adapter: 'activated' };
  const { batches, tokens } = await run([sent]);
  assert.deepEqual(chunks(batches), [[0, 3, undefined]]);
  assert.deepEqual(tokens[0], referenceTokens(sent.request, undefined));
});

test('activated, plain and base sequences decode in one batch', async () => {
  const sent: Sent[] = [
    { request: request([1, ...INVOCATION, 4]), adapter: 'activated' },
    { request: request([1, ...INVOCATION, 5]), adapter: 'plain' },
    { request: request([6, 7]) },
    { request: request([8, 9]), adapter: 'activated' },
  ];
  const { batches, tokens } = await run(sent);
  const used = ['activated', 'plain', undefined, undefined];
  sent.forEach(({ request }, i) => {
    assert.deepEqual(tokens[i], referenceTokens(request, used[i]), `sequence ${i}`);
  });
  assert.ok(batches.some((batch) => batch.kind === 'decode' && batch.rows.length === 4));
});
