import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GREEDY } from '../../src/contracts/generation.ts';
import type { EngineEvent, SequenceId } from '../../src/scheduler/protocol.ts';
import { isTerminal } from '../../src/scheduler/sequence.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { FakeEngine, FakeLeases, request } from './fake-engine.ts';

test('a repetition penalty does not count the stop token of the prompt', async () => {
  const [STOP, OTHER, SEEN] = [7, 8, 9];
  const engine = new FakeEngine();
  const logits = new Float32Array(engine.info.vocabSize);
  logits[SEEN] = 12;
  logits[STOP] = 10;
  logits[OTHER] = 9;
  engine.run = async (batch) => {
    const samplers = batch.kind === 'prefill' ? [batch.sampler!] : batch.rows.map((r) => r.sampler);
    return {
      rows: samplers.map((s) => [{ ok: true, id: s!.sample({ logits })!.id }]),
      promptLogprobs: [],
    };
  };
  const loop = new StepLoop({ engine, adapters: new FakeLeases() });
  const events = await new Promise<EngineEvent[]>((resolve) => {
    const all: EngineEvent[] = [];
    void loop.run((message) => {
      if (message.type !== 'step') return;
      all.push(...message.events);
      if (isTerminal(all.at(-1))) resolve(all);
    });
    const sampling = { ...GREEDY, repetitionPenalty: 1.5 };
    const of = request([SEEN, STOP], { sampling, stopTokenIds: [STOP] });
    loop.handle({
      type: 'submit',
      id: 1 as SequenceId,
      tenant: { id: 't', weight: 1 },
      request: of,
    });
  });
  loop.handle({ type: 'drain', deadlineMs: 0 });
  assert.deepEqual(events.at(-1), { type: 'finished', id: 1, reason: 'stop' });
  assert.ok(events.every(({ type }) => type !== 'token'));
});
