// The random operations that a simulated scheduler runs over.
import fc from 'fast-check';
import type { GenerationRequest } from '../../src/contracts/generation.ts';
import { Drafter } from '../../src/scheduler/drafter.ts';
import type { SchedulerOptions } from '../../src/scheduler/options.ts';
import { POISON, referenceTokens } from './fake-engine.ts';
import { ScriptedProposer, spoil } from './proposers.ts';

export const MAX_PROMPT = 12;
export const MAX_TOKENS = 8;

/** The options of a scheduler. Without the limits of adapters, no slot and no tenant has to wait for the end of an adapter. */
export type SimulationOptions = Required<
  Pick<SchedulerOptions, 'slotCount' | 'reservedSlots' | 'maxSeqLength' | 'prefillChunk'>
> &
  Pick<SchedulerOptions, 'maxActiveAdapters' | 'canAttach'>;

export const SIM_OPTIONS: SimulationOptions = {
  slotCount: 4,
  reservedSlots: 1,
  maxSeqLength: MAX_PROMPT + MAX_TOKENS,
  prefillChunk: 5,
};

export const WEIGHTS = { a: 1, b: 8, c: 2 };

const submissionOf = (...adapters: (string | undefined)[]) =>
  fc.record({
    tenant: fc.constantFrom('a', 'b', 'c'),
    adapter: fc.constantFrom(...adapters),
    promptLength: fc.integer({ min: 1, max: MAX_PROMPT }),
    maxTokens: fc.integer({ min: 0, max: MAX_TOKENS }),
    stops: fc.boolean(),
    scores: fc.boolean(),
  });

const submission = submissionOf(undefined, undefined, 'x', 'y', 'z', POISON);

/** Requests without end, and one that comes into them. */
const streamOf = (one: typeof submission, rival: typeof submission) =>
  fc
    .record({ streams: fc.array(one, { minLength: 1, maxLength: 3 }), rival })
    .map((of) => ({ type: 'stream' as const, ...of }));

/** A request of a tenant. */
export type Submission = typeof submission extends fc.Arbitrary<infer T> ? T : never;

const operation = fc.oneof(
  { weight: 4, arbitrary: submission.map((of) => ({ type: 'submit' as const, of })) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('a', 'b').map((tenant) => ({ type: 'flood' as const, tenant })),
  },
  { weight: 4, arbitrary: fc.nat().map((pick) => ({ type: 'ready' as const, pick })) },
  { weight: 2, arbitrary: fc.nat().map((pick) => ({ type: 'abort' as const, pick })) },
  {
    weight: 12,
    arbitrary: fc.integer({ min: 1, max: 12 }).map((count) => ({ type: 'tick' as const, count })),
  },
  { weight: 1, arbitrary: streamOf(submission, submission) },
  { weight: 1, arbitrary: fc.constant({ type: 'crash' as const }) },
  { weight: 1, arbitrary: fc.nat().map((culprit) => ({ type: 'overdue' as const, culprit })) },
);

export const operations = fc.array(operation, { minLength: 5, maxLength: 60 });

/** Streams for one adapter and for the base, and requests for another adapter. */
export const contests = fc.array(streamOf(submissionOf('x', 'x', undefined), submissionOf('y')), {
  minLength: 1,
  maxLength: 3,
});

/** A random operation. */
export type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

/** A request of a flood: two chunks, four tokens. */
export function shortBaseRequest(tenant: Submission['tenant']): Submission {
  return { tenant, adapter: undefined, promptLength: 8, maxTokens: 4, stops: false, scores: false };
}

/** Guesses that are all right, that are wrong now and then, that are all wrong, that end the sequence, or none. */
export function drafterOf(
  request: GenerationRequest,
  adapter: string | undefined,
): Drafter | undefined {
  const { promptIds, maxTokens, stopTokenIds } = request;
  const beyondTheEnd = { ...request, maxTokens: maxTokens + 4, stopTokenIds: [] };
  const right = referenceTokens(beyondTheEnd, adapter);
  const scripts = [
    right,
    spoil(right, 3, 50),
    spoil(right, 1, 50),
    right.map((id, i) => (i % 2 === 0 ? id : (stopTokenIds[0] ?? id))),
    undefined,
  ];
  const script = scripts[(promptIds.length + maxTokens) % scripts.length];
  return script && new Drafter(new ScriptedProposer(script));
}
