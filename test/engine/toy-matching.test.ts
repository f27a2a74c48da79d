// Ambiguous constraints of one tenant beside the rows of another: the real engine, scheduler and matchers, and a virtual clock.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Constraint, type GenerationRequest, GREEDY } from '../../src/contracts/generation.ts';
import { createSampler } from '../../src/engine/sampling/sampler.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import { FairQueue } from '../../src/scheduler/fair-queue.ts';
import type { EngineEvent, SequenceId } from '../../src/scheduler/protocol.ts';
import { Scheduler } from '../../src/scheduler/scheduler.ts';
import { createSequence } from '../../src/scheduler/sequence.ts';
import { ambiguous } from '../grammar/ambiguous.ts';
import { compiled } from '../grammar/compiled.ts';
import { tokensOf } from '../scheduler/generate.ts';
import { openToy } from './toy.ts';

/** The work that a step may do after one that took no time on the clock. */
const LEAST_WORK = 10_000;
/** The places of a state of `ambiguous(600)`, and a byte visits up to twice as many. */
const BYTE_WORK = 4 * (600 + 32);
const LONGEST_TOKEN = 16;

class CountingQueue extends FairQueue {
  /** Of the last step, by tenant. */
  readonly charged = new Map<string, number>();

  override charge(...[payer, service, count]: Parameters<FairQueue['charge']>): void {
    if (service === 'matchedPositions') this.charged.set(payer.tenant, count);
    super.charge(payer, service, count);
  }
}

/** A sequence for the stage, and who sends it. */
interface Actor {
  readonly tenant: string;
  readonly request: GenerationRequest;
}

/** One step: its events by sequence, and the places that each tenant was charged. */
interface Step {
  readonly events: readonly EngineEvent[];
  readonly charged: ReadonlyMap<string, number>;
}

type Stage = Awaited<ReturnType<typeof openToy>>;

/** Runs them all. `stepMs`: how long a step takes on the clock. */
async function play(
  { engine, tokenizer }: Stage,
  actors: readonly Actor[],
  stepMs: number,
): Promise<Step[]> {
  const grammars = new Grammars(tokenizer, engine.info.vocabSize);
  const { slotCount, maxSeqLength } = engine.info;
  let nowMs = 0;
  const queue = new CountingQueue();
  const scheduler = new Scheduler({ slotCount, maxSeqLength, queue, now: () => nowMs });
  for (const [i, { tenant, request }] of actors.entries()) {
    const { promptIds, sampling, stopTokenIds, constraint } = request;
    const sampler = createSampler(sampling, { promptIds, stopTokenIds });
    if (constraint) {
      sampler.follow(grammars.createMatcher(constraint, undefined, tenant));
    }
    const of = { id: (i + 1) as SequenceId, tenant, weight: 1, adapter: undefined };
    scheduler.submit(createSequence({ ...of, request, sampler }));
    scheduler.loaded(of.id);
  }
  const steps: Step[] = [];
  for (let plan = scheduler.next(); plan; plan = scheduler.next()) {
    const events: EngineEvent[] = [];
    for (const { from, to, length } of plan.moves) engine.moveSlot(from, to, length);
    for (const { batch } of plan.prefills) {
      events.push(...scheduler.applyPrefill(plan, { result: await engine.run(batch) }));
    }
    const decode = plan.decode && { result: await engine.run(plan.decode) };
    nowMs += stepMs;
    events.push(...scheduler.applyResults(plan, decode));
    steps.push({ events, charged: new Map(queue.charged) });
    queue.charged.clear();
  }
  return steps;
}

const request = (seed: number, changes: Partial<GenerationRequest> = {}): GenerationRequest => ({
  promptIds: [1, 2, 3],
  maxTokens: 40,
  stopTokenIds: [],
  sampling: { ...GREEDY, temperature: 1, seed },
  ...changes,
});

/** Rows of one request with 8 choices. */
function attackers(constraint: Constraint): Actor[] {
  return Array.from({ length: 8 }, (_, i) => ({
    tenant: 'attacker',
    request: request(i, { constraint: compiled(constraint), maxTokens: 8 }),
  }));
}

const pattern = ambiguous(600);
const rules = Array.from({ length: 600 }, (_, i) => `[QJ]* "Q" [QJ]{20} "${i}"`).join(' | ');
const ATTACKS: [name: string, constraint: Constraint][] = [
  ['a regular expression', { kind: 'regex', pattern }],
  ['a literal before it', { kind: 'regex', pattern: `${'the Queen '.repeat(6)}${pattern}` }],
  ['a grammar', { kind: 'grammar', source: `root ::= ${rules}` }],
  [
    'tags',
    {
      kind: 'tags',
      triggers: [],
      tags: [{ begin: 'Q', content: { kind: 'regex', pattern }, end: 'J' }],
      isRequired: true,
    },
  ],
];

for (const [name, constraint] of ATTACKS) {
  test(`T44: another tenant has a token in every step beside ${name} that is too ambiguous`, async (t) => {
    const stage = await openToy(t, 10);
    const victims: Actor[] = [
      { tenant: 'good', request: request(1) },
      {
        tenant: 'good',
        request: request(2, { constraint: compiled({ kind: 'regex', pattern: '[a-z ]*' }) }),
      },
    ];
    const steps = await play(stage, [...attackers(constraint), ...victims], 0);
    for (const id of [9, 10]) {
      const own = steps.map(
        ({ events }) => tokensOf(events.filter((event) => event.id === id)).length,
      );
      const first = own.findIndex((count) => count > 0);
      assert.ok(first <= 1, `the first token came in step ${first}`);
      const rest = own.slice(first, own.findLastIndex((count) => count > 0) + 1);
      assert.ok(
        rest.every((count) => count > 0),
        `${own}`,
      );
    }
    const most = Math.max(...steps.map(({ charged }) => charged.get('attacker') ?? 0));
    assert.ok(most <= LEAST_WORK + LONGEST_TOKEN * BYTE_WORK, `${most} places in a step`);
    const all = steps.reduce((sum, { charged }) => sum + (charged.get('attacker') ?? 0), 0);
    t.diagnostic(`${all} places in ${steps.length} steps, at most ${most} in one`);
    assert.ok(all > 2 * LEAST_WORK, 'the attack takes several steps');
    const ends = steps.flatMap(({ events }) =>
      events.filter(({ type }) => type === 'finished' || type === 'failed'),
    );
    assert.equal(ends.length, 10);
  });
}

test('a row that sits steps out has the tokens that it has in long steps', async (t) => {
  const stage = await openToy(t, 10);
  const actors = attackers({ kind: 'regex', pattern: `the Queen${pattern}` });
  const [slow, fast] = [await play(stage, actors, 0), await play(stage, actors, 1000)];
  const tokens = (steps: readonly Step[], id: number) =>
    tokensOf(steps.flatMap(({ events }) => events.filter((event) => event.id === id)));
  for (const id of actors.keys()) assert.deepEqual(tokens(slow, id + 1), tokens(fast, id + 1));
  assert.ok(slow.length > fast.length, `${slow.length} and ${fast.length} steps`);
});
