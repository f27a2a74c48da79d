import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ServeError } from '../../src/common/errors.ts';
import { type GenerationRequest, GREEDY } from '../../src/contracts/generation.ts';
import { compiled } from '../grammar/compiled.ts';
import { pluck } from '../pluck.ts';
import { POISON, referencePromptLogprobs, referenceTokens, request } from './fake-engine.ts';
import { Bench } from './scheduler-bench.ts';
import { ZERO_SAMPLER } from './zero-sampler.ts';

test('a prompt is prefilled in chunks, back to back while nothing runs', () => {
  const bench = new Bench({ prefillChunk: 4 });
  const id = bench.submit(request([1, 2, 3, 4, 5, 6, 7, 8, 9], { maxTokens: 3 }));
  const steps = bench.runAll();
  assert.deepEqual(
    steps.map(({ prefills, decode }) => [prefills[0]?.batch.tokenIds.length, decode?.rows.length]),
    [
      [4, undefined],
      [3, undefined],
      [2, undefined],
      [undefined, 1],
      [undefined, 1],
    ],
  );
  assert.deepEqual(
    steps.map(({ prefills }) => prefills[0]?.batch.sampler !== undefined),
    [false, false, true, false, false],
  );
  assert.equal(bench.ending(id), 'length');
  assert.equal(bench.tokens(id).length, 3);
});

test('several short prompts share the budget of a step, and none is cut to fit into it', () => {
  const bench = new Bench({ prefillChunk: 6 });
  const ids = [[1, 2], [3, 4], [5, 6, 7], [8]].map((prompt) =>
    bench.submit(request(prompt, { maxTokens: 2 })),
  );
  const first = bench.step()!;
  assert.deepEqual(
    first.prefills.map(({ batch }) => [batch.slot, batch.tokenIds.length]),
    [
      [0, 2],
      [1, 2],
    ],
  );
  const second = bench.step()!;
  assert.deepEqual(
    second.prefills.map(({ batch }) => [batch.slot, batch.tokenIds.length]),
    [
      [2, 3],
      [3, 1],
    ],
  );
  assert.equal(second.decode?.rows.length, 2);
  bench.runAll();
  for (const id of ids) assert.equal(bench.ending(id), 'length');
});

test('running rows get a token in each step that also prefills a prompt', () => {
  const bench = new Bench({ prefillChunk: 2 });
  bench.submit(request([1], { maxTokens: 10 }));
  bench.step();
  bench.submit(request([1, 2, 3, 4, 5], { maxTokens: 2 }));
  const shapes = [1, 2, 3, 4].map(() => {
    const step = bench.step()!;
    return [step.prefills[0]?.batch.tokenIds.length, step.decode?.rows.length];
  });
  assert.deepEqual(shapes, [
    [2, 1],
    [2, 1],
    [1, 1],
    [undefined, 2],
  ]);
});

test('the last running row moves into the slot of one that finished', () => {
  const bench = new Bench();
  const first = bench.submit(request([1], { maxTokens: 3 }));
  const others = [2, 3].map((prompt) => bench.submit(request([prompt], { maxTokens: 12 })));
  const steps = bench.runAll();
  const moves = steps.flatMap((step) => step.moves);
  assert.deepEqual(moves[0], { from: 2, to: 0, length: 3 });
  assert.equal(bench.tokens(first).length, 3);
  for (const [i, id] of others.entries()) {
    assert.deepEqual(
      bench.tokens(id),
      referenceTokens(request([i + 2], { maxTokens: 12 }), undefined),
    );
  }
});

test('a stop token ends the sequence and is not reported', () => {
  const plain = request([5, 6], { maxTokens: 8 });
  const [first, second, third] = referenceTokens(plain, undefined);
  const bench = new Bench();
  const id = bench.submit({ ...plain, stopTokenIds: [third!] });
  bench.runAll();
  assert.deepEqual(bench.tokens(id), [first, second]);
  assert.equal(bench.ending(id), 'stop');
});

test('a prompt is scored across its chunks, and maxTokens 0 samples nothing', () => {
  const bench = new Bench({ prefillChunk: 2 });
  const promptIds = [1, 2, 3, 4, 5];
  const id = bench.submit(request(promptIds, { maxTokens: 0, promptTopLogprobs: 0 }));
  bench.runAll();
  assert.deepEqual(bench.events, [
    { type: 'prompt', id, logprobs: referencePromptLogprobs(promptIds, undefined) },
    { type: 'finished', id, reason: 'length' },
  ]);
});

test('I12: a sequence whose adapter is loading delays no other', () => {
  const bench = new Bench({ slotCount: 1 });
  const loading = bench.submit(request([1], { maxTokens: 1 }), { adapter: 'slow' });
  const later = bench.submit(request([2], { maxTokens: 1 }));
  bench.runAll();
  assert.equal(bench.ending(later), 'length');
  assert.equal(bench.ending(loading), undefined);
  bench.scheduler.loaded(loading);
  bench.runAll();
  assert.equal(bench.ending(loading), 'length');
});

test('an adapter is attached with its first sequence and stays until a step does not use it', () => {
  const bench = new Bench({ slotCount: 1 });
  const one = request([1], { maxTokens: 1 });
  bench.submitReady(one, { adapter: 'a' });
  bench.submitReady(one, { adapter: 'a' });
  bench.submitReady(one, { adapter: 'b' });
  const switches = bench
    .runAll()
    .map(({ prefills, detach }) => [...prefills.map(({ attach }) => attach), ...detach]);
  assert.deepEqual(switches, [['a'], [undefined], ['b', 'a']]);
});

test('F37: a row that is not finite ends alone, with an error that names the cause', () => {
  const bench = new Bench();
  const good = bench.submitReady(request([1], { maxTokens: 5 }), { adapter: 'a' });
  const bad = bench.submitReady(request([2], { maxTokens: 5 }), { adapter: POISON });
  bench.runAll();
  assert.equal(bench.ending(bad), 'adapter_non_finite');
  assert.deepEqual(bench.tokens(good), referenceTokens(request([1], { maxTokens: 5 }), 'a'));
  assert.equal(bench.scheduler.stats().nonFiniteRows, 1);
});

test('a run that throws fails only its own rows', () => {
  const bench = new Bench();
  const rows = [1, 2].map((prompt) => bench.submit(request([prompt], { maxTokens: 9 })));
  bench.step();
  bench.step();
  const joining = bench.submitReady(request([3], { maxTokens: 3 }), { adapter: 'a' });
  const step = bench.scheduler.next()!;
  const error = new ServeError('internal_error', 'The engine failed.');
  bench.engine.attachAdapter({ digest: 'a' });
  const result = bench.engine.runNow(step.prefills[0]!.batch);
  bench.events.push(...bench.scheduler.applyPrefill(step, { result }));
  bench.events.push(...bench.scheduler.applyResults(step, { error }));
  for (const id of rows) assert.equal(bench.ending(id), 'internal_error');
  bench.runAll();
  assert.deepEqual(bench.tokens(joining), referenceTokens(request([3], { maxTokens: 3 }), 'a'));
});

test('an adapter that could not be attached is attached for the next prompt', () => {
  const bench = new Bench();
  const error = new ServeError('internal_error', 'The engine failed.');
  const failed = bench.submitReady(request([1]), { adapter: 'a' });
  const step = bench.scheduler.next()!;
  assert.equal(step.prefills[0]!.attach, 'a');
  bench.events.push(...bench.scheduler.applyPrefill(step, { error, isDetached: true }));
  bench.events.push(...bench.scheduler.applyResults(step, undefined));
  assert.equal(bench.ending(failed), 'internal_error');
  bench.submitReady(request([2]), { adapter: 'a' });
  assert.equal(bench.step()!.prefills[0]!.attach, 'a');
});

test('a first token does not wait for the other runs of its step', () => {
  const bench = new Bench();
  const running = bench.submit(request([1], { maxTokens: 9 }));
  bench.step();
  bench.step();
  const [short, aborted, long] = [1, 3, 3].map((maxTokens) =>
    bench.submit(request([2], { maxTokens })),
  );
  const step = bench.scheduler.next()!;
  const [first, ...others] = step.prefills.map(({ batch }) => ({
    result: bench.engine.runNow(batch),
  }));
  const early = bench.scheduler.applyPrefill(step, first!);
  assert.deepEqual(
    early.map(({ id, type }) => [id, type]),
    [
      [short, 'token'],
      [short, 'finished'],
    ],
  );
  bench.events.push(...early, ...bench.scheduler.applyPrefill(step, others[0]!));
  assert.deepEqual(bench.scheduler.abort(aborted!), [], 'the step has not ended');
  const decode = { result: bench.engine.runNow(step.decode!) };
  bench.events.push(...bench.scheduler.applyPrefill(step, others[1]!));
  bench.events.push(...bench.scheduler.applyResults(step, decode));
  assert.equal(bench.ending(aborted!), 'abort');
  bench.runAll();
  assert.deepEqual(bench.tokens(long!), referenceTokens(request([2], { maxTokens: 3 }), undefined));
  assert.deepEqual(
    bench.tokens(running),
    referenceTokens(request([1], { maxTokens: 9 }), undefined),
  );
});

test('an abort takes effect at once between steps, or at the end of the step in flight', () => {
  const bench = new Bench();
  const between = bench.submit(request([1], { maxTokens: 9 }));
  const within = bench.submit(request([2], { maxTokens: 9 }));
  bench.step();
  bench.step();
  assert.deepEqual(bench.scheduler.abort(between), [
    { type: 'finished', id: between, reason: 'abort' },
  ]);
  const step = bench.scheduler.next()!;
  assert.equal(step.decode!.rows.length, 1);
  assert.deepEqual(bench.scheduler.abort(within), []);
  bench.run(step);
  assert.equal(bench.ending(within), 'abort');
  assert.deepEqual(bench.scheduler.abort(within), []);
  assert.equal(bench.scheduler.next(), undefined);
});

test('an adapter that does not fit even alone is admitted, and refused when it is attached', () => {
  const bench = new Bench({ canAttach: () => false });
  const alone = bench.submitReady(request([1], { maxTokens: 1 }), { adapter: 'huge' });
  assert.deepEqual(pluck(bench.step()!.prefills, 'attach'), ['huge']);
  assert.equal(bench.ending(alone), 'length');
});

const FORBIDDING: [Partial<GenerationRequest>, names: string, param: string | null][] = [
  [
    { constraint: compiled({ kind: 'regex', pattern: 'a' }) },
    'the regular expression forbids',
    null,
  ],
  [{ badWords: ['a'] }, 'bad_words forbids', 'bad_words'],
  [
    {
      constraint: compiled({ kind: 'json_schema', schema: true }),
      sampling: { ...GREEDY, allowedTokenIds: [1], minTokens: { count: 1, endings: [] } },
    },
    'allowed_token_ids, min_tokens, and the JSON schema together forbid',
    'allowed_token_ids',
  ],
];

test('the error that no token is allowed names only what the request has', () => {
  for (const [changes, names, param] of FORBIDDING) {
    const bench = new Bench();
    bench.submitReady({ ...request([1]), ...changes });
    const step = bench.scheduler.next()!;
    const rows = [[{ ok: false, reason: 'nothing_allowed' } as const]];
    const [event] = bench.scheduler.applyPrefill(step, { result: { rows, promptLogprobs: [] } });
    assert.ok(event?.type === 'failed');
    assert.equal(
      event.error.message,
      `No token can be generated: ${names} every token. Allow at least one.`,
    );
    assert.equal(event.error.param, param);
  }
});

test('while no row can be drawn, steps run nothing, and a sequence ends as soon as it is aborted or complete', () => {
  const bench = new Bench();
  const waiting = { ...ZERO_SAMPLER, prepare: () => false };
  const late = { ...waiting };
  const aborted = bench.submitReady(request([1]), { sampler: waiting });
  const complete = bench.submitReady(request([2]), { sampler: late });
  bench.step();
  const { steps } = bench.scheduler.stats();
  for (let i = 0; i < 3; i++) assert.equal(bench.step()?.decode, undefined);
  assert.equal(bench.scheduler.stats().steps, steps);
  const step = bench.scheduler.next()!;
  assert.deepEqual(bench.scheduler.abort(aborted), []);
  Object.assign(late, { isComplete: true });
  bench.run(step);
  assert.equal(bench.ending(aborted), 'abort');
  assert.equal(bench.ending(complete), 'stop');
  assert.equal(bench.step(), undefined);
});
