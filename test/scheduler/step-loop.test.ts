import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Clock, withResolvers } from '../../src/common/waiting.ts';
import type { AdapterSource, GenerationRequest } from '../../src/contracts/generation.ts';
import type { Batch, SlotId } from '../../src/engine/batch.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import type { StepLoopOptions } from '../../src/scheduler/options.ts';
import type { EngineEvent, FromEngine, SequenceId } from '../../src/scheduler/protocol.ts';
import { isTerminal } from '../../src/scheduler/sequence.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { compiled } from '../grammar/compiled.ts';
import { vocabularyOf } from '../grammar/written.ts';
import { pluck } from '../pluck.ts';
import { FakeEngine, FakeLeases, referenceTokens, request, source } from './fake-engine.ts';
import { PlainPrefixCache } from './plain-prefix-cache.ts';
import { ScriptedProposer, spoil } from './proposers.ts';

/** A loop with a fake engine, the messages it posted, and promises for later ones. */
class Bench {
  readonly engine: FakeEngine;
  readonly leases = new FakeLeases();
  readonly messages: FromEngine[] = [];
  readonly loop: StepLoop;
  readonly ended: Promise<void>;
  #watchers: (() => void)[] = [];
  #lastId = 0;

  constructor(
    limits: StepLoopOptions['limits'] = {},
    slotCount = 2,
    create: Pick<StepLoopOptions, 'createProposer' | 'createMatcher' | 'clock'> = {},
  ) {
    this.engine = new FakeEngine({ slotCount });
    const { engine, leases: adapters } = this;
    this.loop = new StepLoop({ engine, adapters, limits, ...create });
    this.ended = this.loop.run((message) => {
      this.messages.push(message);
      for (const watch of [...this.#watchers]) watch();
    });
  }

  submit(request: GenerationRequest, adapter?: AdapterSource): SequenceId {
    const id = ++this.#lastId as SequenceId;
    this.loop.handle({
      type: 'submit',
      id,
      tenant: { id: 't', weight: 1 },
      ...(adapter && { adapter }),
      request,
    });
    return id;
  }

  eventsOf(id: SequenceId): EngineEvent[] {
    return this.messages
      .flatMap((m) => (m.type === 'step' ? m.events : []))
      .filter((e) => e.id === id);
  }

  tokensOf(id: SequenceId): number[] {
    return this.eventsOf(id).flatMap((event) => (event.type === 'token' ? [event.tokenId] : []));
  }

  /** Resolves when the condition holds after a message. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const watch = () => {
        if (!condition()) return;
        this.#watchers = this.#watchers.filter((other) => other !== watch);
        resolve();
      };
      this.#watchers.push(watch);
      watch();
    });
  }

  async endOf(id: SequenceId): Promise<EngineEvent> {
    await this.until(() => isTerminal(this.eventsOf(id).at(-1)));
    return this.eventsOf(id).at(-1)!;
  }

  /** The code of the error that ends a sequence. */
  async failureOf(id: SequenceId): Promise<string | undefined> {
    const end = await this.endOf(id);
    return end.type === 'failed' ? end.error.code : undefined;
  }

  async drain(deadlineMs = 10_000): Promise<void> {
    this.loop.handle({ type: 'drain', deadlineMs });
    await this.ended;
  }
}

const long = request([7, 8], { maxTokens: 30 });

test('changes of the prefix cache are posted once, and nothing is posted without one', async () => {
  const bench = new Bench();
  const prefixes = new PlainPrefixCache(bench.engine.slots);
  bench.engine.prefixes = prefixes;
  await bench.endOf(bench.submit(request([1])));
  const events = [{ type: 'removed' as const, keys: ['a', 'b'] }];
  prefixes.events.push(...events);
  await bench.endOf(bench.submit(request([2])));
  await bench.drain();
  const posted = bench.messages.filter(({ type }) => type === 'prefixes');
  assert.deepEqual(posted, [{ type: 'prefixes', events }]);
});

test('a token that the model lacks is refused before anything runs', async () => {
  const bench = new Bench();
  const { vocabSize } = bench.engine.info;
  const sampling = request([1]).sampling;
  const refused: GenerationRequest[] = [
    request([1, vocabSize]),
    { ...request([1]), predictionIds: [vocabSize] },
    { ...request([1]), sampling: { ...sampling, logitBias: new Map([[vocabSize, 1]]) } },
    { ...request([1]), sampling: { ...sampling, allowedTokenIds: [1, vocabSize] } },
  ];
  const ids = refused.flatMap((one) => [bench.submit(one), bench.submit(one, source('a'))]);
  await bench.until(() => ids.every((id) => bench.eventsOf(id).some(isTerminal)));
  for (const id of ids) {
    const [event, ...others] = bench.eventsOf(id);
    assert.ok(event?.type === 'failed' && others.length === 0);
    assert.match(event.error.message, new RegExp(`no token ${vocabSize}:`));
  }
});

test('the loop announces its model, then generates the same tokens for each sequence as it would alone', async () => {
  const bench = new Bench();
  const requests = [1, 2, 3, 4, 5].map((prompt) => request([prompt], { maxTokens: 6 }));
  const adapters = [undefined, 'a', 'b', 'a', undefined];
  const ids = requests.map((one, i) =>
    bench.submit(one, adapters[i] ? source(adapters[i]) : undefined),
  );
  for (const [i, id] of ids.entries()) {
    assert.deepEqual(await bench.endOf(id), { type: 'finished', id, reason: 'length' });
    assert.deepEqual(bench.tokensOf(id), referenceTokens(requests[i]!, adapters[i]));
  }
  assert.deepEqual(bench.messages[0], { type: 'ready', model: bench.engine.info });
  await bench.drain();
});

test('the events of a step are one message, and step numbers have no gaps', async () => {
  const bench = new Bench();
  const ids = [1, 2].map((prompt) => bench.submit(request([prompt], { maxTokens: 6 })));
  for (const id of ids) await bench.endOf(id);
  const steps = bench.messages.flatMap((message) => (message.type === 'step' ? [message] : []));
  assert.deepEqual(
    pluck(steps, 'step'),
    steps.map((_, i) => i + 1),
  );
  const shared = steps.filter(({ events }) => events.some((event) => event.id === ids[0]));
  assert.ok(shared.some(({ events }) => events.some((event) => event.id === ids[1])));
  await bench.drain();
});

test('a sequence learns where its adapter came from, and its lease ends with it', async () => {
  const bench = new Bench();
  const first = bench.submit(long, source('a'));
  await bench.until(() => bench.tokensOf(first).length > 0);
  const second = bench.submit(request([1], { maxTokens: 1 }), source('a'));
  await bench.endOf(second);
  for (const [id, tier] of [
    [first, 'disk'],
    [second, 'slot'],
  ] as const) {
    assert.deepEqual(bench.eventsOf(id)[0], { type: 'accepted', id, tier, loadMs: 3 });
  }
  assert.equal(bench.leases.held, 1);
  await bench.endOf(first);
  assert.equal(bench.leases.held, 0);
  await bench.drain();
});

test('an abort ends the wait for the adapter', async () => {
  const bench = new Bench();
  bench.leases.beforeLease = () => new Promise(() => {});
  const id = bench.submit(long, source('a'));
  assert.equal(bench.leases.waiting, 1);
  bench.loop.handle({ type: 'abort', id });
  assert.deepEqual(bench.eventsOf(id), [{ type: 'finished', id, reason: 'abort' }]);
  await bench.drain();
  assert.deepEqual([bench.leases.waiting, bench.leases.held], [0, 0]);
  assert.equal(bench.eventsOf(id).length, 1);
});

test('after an abort while the vocabulary is loaded, the adapter is not', async () => {
  const grammars = new Grammars(vocabularyOf(['a'], { withBytes: false }), 1);
  const constraint = compiled({ kind: 'any_text' });
  const { resolve: open, promise: opened } = withResolvers<void>();
  const tenants: string[] = [];
  const createMatcher: StepLoopOptions['createMatcher'] = async (own, added, tenant) => {
    tenants.push(tenant);
    await opened;
    return grammars.createMatcher(own, added, tenant);
  };
  const bench = new Bench({}, 2, { createMatcher });
  const id = bench.submit({ ...long, constraint }, source('a'));
  bench.loop.handle({ type: 'abort', id });
  open();
  await bench.drain();
  assert.deepEqual(tenants, ['t']);
  assert.deepEqual([bench.leases.waiting, bench.leases.held], [0, 0]);
  assert.deepEqual(bench.eventsOf(id), [{ type: 'finished', id, reason: 'abort' }]);
});

test('a lease that arrives after the abort is released at once', async () => {
  const bench = new Bench();
  const { resolve: open, promise: opened } = withResolvers<void>();
  bench.leases.beforeLease = () => opened;
  const id = bench.submit(long, source('a'));
  open();
  await opened;
  bench.loop.handle({ type: 'abort', id });
  await bench.drain();
  assert.equal(bench.leases.held, 0);
});

test('an adapter that takes too long to load fails its sequence', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const bench = new Bench();
  bench.leases.beforeLease = () => new Promise(() => {});
  const id = bench.submit(long, source('a'));
  for (let tick = 0; tick < 20; tick++) t.mock.timers.tick(3_000);
  assert.equal(await bench.failureOf(id), 'adapter_unavailable');
  await bench.drain();
});

test('an adapter that the engine cannot prepare fails its sequence, and the log says why', async () => {
  const bench = new Bench();
  bench.engine.prepareFor = () => Promise.reject(new Error('no memory for a session'));
  const id = bench.submit(long, source('a'));
  assert.equal(await bench.failureOf(id), 'adapter_unavailable');
  const log = bench.messages.filter(({ type }) => type === 'log');
  assert.match(JSON.stringify(log), /no memory for a session/);
  await bench.drain();
  assert.equal(bench.leases.held, 0);
});

test('an adapter that cannot be loaded fails its sequence and delays no other', async () => {
  const bench = new Bench();
  const { resolve: open, promise: opened } = withResolvers<void>();
  bench.leases.beforeLease = () => opened;
  const missing = bench.submit(long, source('missing'));
  const other = bench.submit(long);
  await bench.endOf(other);
  open();
  const end = await bench.endOf(missing);
  assert.equal(end.type === 'failed' && end.error.code, 'adapter_unavailable');
  assert.doesNotMatch(JSON.stringify(end), /ENOENT/);
  await bench.drain();
});

test('F03, I04: a run that throws ends its rows with an error, its slots are zeroed and the loop continues', async () => {
  const bench = new Bench();
  let runs = 0;
  bench.engine.beforeRun = () => {
    runs++;
    if (runs === 3) throw new Error('out of memory');
  };
  const failed = bench.submit(long, source('a'));
  assert.equal(await bench.failureOf(failed), 'internal_error');
  assert.deepEqual(bench.engine.slots[0], []);
  const next = bench.submit(long, source('a'));
  await bench.endOf(next);
  assert.deepEqual(bench.tokensOf(next), referenceTokens(long, 'a'));
  assert.match(JSON.stringify(bench.messages), /out of memory/, 'the log says why');
  await bench.drain();
});

for (const [what, drawsTogether, ran] of [
  ['run together', true, [4]],
  ['run alone after a run together that drew nothing', false, [4, 1, 1, 1, 1]],
] as const) {
  test(`prompts of one step ${what}, one message has their tokens, and each gets the tokens it has alone`, async () => {
    const bench = new Bench({}, 4);
    const { engine } = bench;
    const runs: number[] = [];
    engine.beforeRun = (batch) => {
      if (batch.kind === 'prefill') runs.push(1);
    };
    engine.runTogether = async (batches) => {
      runs.push(batches.length);
      return drawsTogether ? batches.map((batch) => engine.runNow(batch).rows[0]!) : undefined;
    };
    const requests = [
      [1, 2],
      [3, 4],
      [5, 6],
      [7, 8],
    ].map((ids) => request(ids));
    const adapters = [undefined, 'a', 'b', 'a'];
    const ids = requests.map((one, i) =>
      bench.submit(one, adapters[i] ? source(adapters[i]) : undefined),
    );
    for (const id of ids) assert.equal((await bench.endOf(id)).type, 'finished');
    await bench.drain();
    assert.deepEqual(
      ids.map((id) => bench.tokensOf(id)),
      requests.map((one, i) => referenceTokens(one, adapters[i])),
    );
    assert.deepEqual(runs, ran);
    const drawn = bench.messages.flatMap((message) =>
      message.type === 'step' ? [message.events.filter(({ type }) => type === 'token').length] : [],
    );
    assert.equal(
      drawn.find((count) => count > 0),
      4,
    );
  });
}

describe('the rows of a run that is terminated run again, each alone', () => {
  const adapters = ['a', 'b', 'c', 'a'];
  const requests = [[1, 2], [3], [4, 5], [6]].map((ids) => request(ids, { maxTokens: 12 }));

  /** Runs four rows. Once they all decode, their run hangs until it is terminated, and then those of `culprits` alone. */
  async function run(culprits: readonly number[]) {
    const bench = new Bench({}, 4);
    const { engine, loop } = bench;
    const alone: SlotId[] = [];
    let hasHung = false;
    engine.beforeRun = (batch) => {
      const isAlone = batch.kind === 'prefill' && batch.pastLength > 0;
      if (isAlone) alone.push(batch.slot);
      else if (hasHung || batch.kind === 'prefill' || batch.rows.length < 4) return undefined;
      hasHung = true;
      if (isAlone && !culprits.includes(batch.slot)) return undefined;
      setImmediate(() => loop.handle({ type: 'terminate' }));
      return new Promise(() => {});
    };
    const ids = requests.map((one, i) => bench.submit(one, source(adapters[i]!)));
    const ends: string[] = [];
    for (const id of ids) {
      const end = await bench.endOf(id);
      ends.push(end.type === 'failed' ? end.error.code : end.type);
    }
    await bench.drain();
    return { bench, ids, ends, alone };
  }

  for (const [what, culprits, ran, failed] of [
    ['all go on if the machine was at fault', [], [0, 1, 2, 3], []],
    ['one that takes too long again ends with an error', [1], [0, 1, 2, 3], [1]],
    ['after two of these the rest is not tried', [0, 2], [0, 1, 2], [0, 2, 3]],
  ] as const) {
    test(`F39: ${what}`, async () => {
      const { bench, ids, ends, alone } = await run(culprits);
      assert.deepEqual(alone, ran);
      for (const [i, id] of ids.entries()) {
        const isFailed = failed.some((row) => row === i);
        assert.equal(ends[i], isFailed ? 'engine_restarting' : 'finished');
        const expected = referenceTokens(requests[i]!, adapters[i]);
        const tokens = bench.tokensOf(id);
        assert.deepEqual(tokens, isFailed ? expected.slice(0, tokens.length) : expected);
      }
    });
  }
});

for (const culprit of [0, 1] as const) {
  test(`F39: of two rows with drafts, of which row ${culprit} is terminated, each gets the tokens it has alone`, async () => {
    const adapters = ['a', 'b'];
    const requests = [[1, 2], [3]].map((ids) => request(ids, { maxTokens: 30 }));
    const proposer = (of: GenerationRequest) =>
      new ScriptedProposer(spoil(referenceTokens(of, adapters[requests.indexOf(of)]), 3, 50));
    const bench = new Bench({}, 2, { createProposer: proposer });
    const { engine, loop } = bench;
    const alone: SlotId[] = [];
    let terminated = 0;
    engine.beforeRun = (batch) => {
      if (batch.kind === 'prefill' && batch.pastLength > 0) alone.push(batch.slot);
    };
    engine.beforeRow = (slot) => {
      if (slot !== culprit || terminated === 5) return undefined;
      terminated++;
      setImmediate(() => loop.handle({ type: 'terminate' }));
      return new Promise(() => {});
    };
    const ids = requests.map((one, i) => bench.submit(one, source(adapters[i]!)));
    for (const id of ids) assert.equal((await bench.endOf(id)).type, 'finished');
    for (const [i, id] of ids.entries()) {
      assert.deepEqual(bench.tokensOf(id), referenceTokens(requests[i]!, adapters[i]));
    }
    assert.equal(terminated, 5);
    const again = culprit === 0 ? [0, 1] : [1];
    assert.deepEqual(alone, Array(5).fill(again).flat(), 'a complete row does not run again');
    await bench.drain();
  });
}

test('a request that fails an assertion fails alone', async () => {
  const bench = new Bench();
  const id = bench.submit(request([1], { maxTokens: 1000 }));
  assert.equal(await bench.failureOf(id), 'internal_error');
  await bench.endOf(bench.submit(long));
  await bench.drain();
});

test('an abort ends a running sequence within a step', async () => {
  const bench = new Bench();
  const id = bench.submit(long);
  await bench.until(() => bench.tokensOf(id).length === 3);
  bench.loop.handle({ type: 'abort', id });
  await bench.endOf(id);
  assert.deepEqual(bench.eventsOf(id).at(-1), { type: 'finished', id, reason: 'abort' });
  assert.ok(bench.tokensOf(id).length <= 4);
  await bench.drain();
});

test('an idle loop runs nothing', async () => {
  const bench = new Bench();
  const batches: Batch[] = [];
  bench.engine.beforeRun = (batch) => {
    batches.push(batch);
  };
  const id = bench.submit(request([1], { maxTokens: 2 }));
  await bench.endOf(id);
  const before = bench.messages.length;
  bench.loop.handle({ type: 'stats' });
  assert.equal(bench.messages.length, before + 1);
  assert.equal(batches.length, 2);
  await bench.drain();
});

test('T33, I22: a drain refuses waiting sequences, lets running ones end, and releases the engine', async () => {
  const bench = new Bench();
  const running = [1, 2].map((prompt) => bench.submit(request([prompt], { maxTokens: 20 })));
  await bench.until(() => running.every((id) => bench.tokensOf(id).length > 0));
  const waiting = bench.submit(long);
  const drained = bench.drain();
  const late = bench.submit(long);
  await drained;
  for (const id of running) assert.equal(bench.tokensOf(id).length, 20);
  for (const id of [waiting, late]) {
    assert.equal(await bench.failureOf(id), 'overloaded');
  }
  assert.ok(bench.engine.isReleased);
});

test('F24, T33: a drain in the middle of a prompt lets it end, and the load of an adapter is given up', async () => {
  const bench = new Bench({ prefillChunk: 2 });
  bench.leases.beforeLease = () => new Promise(() => {});
  const loading = bench.submit(long, source('slow'));
  const chunks: number[] = [];
  bench.engine.beforeRun = (batch) => {
    if (batch.kind === 'decode') return;
    chunks.push(batch.pastLength);
    if (batch.pastLength === 2) bench.loop.handle({ type: 'drain', deadlineMs: 10_000 });
  };
  const prompt = request([1, 2, 3, 4, 5, 6], { maxTokens: 3 });
  const id = bench.submit(prompt);
  await bench.ended;
  assert.deepEqual(chunks, [0, 2, 4]);
  assert.deepEqual(bench.tokensOf(id), referenceTokens(prompt, undefined));
  assert.equal(await bench.failureOf(loading), 'overloaded');
  assert.equal(bench.leases.waiting, 0);
});

test('T33, I22: a drain that reaches its deadline ends the streams with an error', async () => {
  const bench = new Bench();
  const id = bench.submit(request([1], { maxTokens: 60 }));
  bench.engine.beforeRun = () => new Promise((resolve) => setTimeout(resolve, 5));
  await bench.until(() => bench.tokensOf(id).length > 0);
  await bench.drain(20);
  assert.equal(await bench.failureOf(id), 'overloaded');
  assert.ok(bench.tokensOf(id).length < 60);
});

test('F03: a prompt whose run throws takes the adapter from no other prompt of its step', async () => {
  const bench = new Bench();
  let runs = 0;
  bench.engine.beforeRun = () => {
    if (++runs === 1) throw new Error('the first run fails');
  };
  const [failed, other] = [[1], [2]].map((prompt) => bench.submit(request(prompt), source('a')));
  assert.equal((await bench.endOf(failed!)).type, 'failed');
  assert.equal((await bench.endOf(other!)).type, 'finished');
  assert.deepEqual(bench.tokensOf(other!), referenceTokens(request([2]), 'a'));
  await bench.drain();
});

test('the loop ends if a slot cannot be moved, because the engine cannot be trusted any more', async () => {
  const bench = new Bench();
  bench.engine.moveSlot = () => {
    throw new Error('device lost');
  };
  bench.submit(request([1], { maxTokens: 2 }));
  bench.submit(long);
  await assert.rejects(bench.ended, /device lost/);
});

test('while nothing runs, the engine is prepared for adapters, and no more than once', async () => {
  const scheduled = new Set<() => void>();
  const clock: Clock = {
    now: () => 0,
    schedule(_, callback) {
      scheduled.add(callback);
      return () => scheduled.delete(callback);
    },
  };
  const bench = new Bench({}, 2, { clock });
  const id = bench.submit(request([1, 2]));
  assert.equal(scheduled.size, 1);
  await bench.until(() => bench.eventsOf(id).some(isTerminal));
  assert.equal(bench.engine.piecesAhead, 3, 'not while it has work');
  for (let turn = 0; turn < 20; turn++) {
    for (const callback of scheduled) callback();
    await nextTurn();
  }
  assert.equal(bench.engine.piecesAhead, 0);
  assert.equal(scheduled.size, 0);
});
