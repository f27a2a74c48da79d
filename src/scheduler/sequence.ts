// One generation in flight, as plain state, and how the results of a run change it. Knows no queue, no other sequence
// and no engine.

import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { assert } from '../common/assert.ts';
import { ServeError } from '../common/errors.ts';
import type { AddedTokens } from '../contracts/added-tokens.ts';
import type {
  CompiledConstraint,
  Constraint,
  GenerationRequest,
  TokenLogprob,
} from '../contracts/generation.ts';
import type { AdapterKey, DecodeRow, PrefillBatch, RowResult, SlotId } from '../engine/batch.ts';
import type { Pooler } from '../engine/pooler.ts';
import type { PrefixChain } from '../engine/prefix/prefix-cache.ts';
import type { TokenBan, TokenMatcher } from '../engine/sampling/constraints.ts';
import type { Sampler } from '../engine/sampling/sampler.ts';
import { type Drafter, planDrafts } from './drafter.ts';
import { type ForcedRow, planForced, usableForced } from './forced-text.ts';
import type { EngineEvent, SequenceId } from './protocol.ts';

/** `loading` → `waiting` → `prefilling` → `running` → `finished`. A sequence can finish in any state. */
type SequenceState = 'loading' | 'waiting' | 'prefilling' | 'running' | 'finished';

/** Creates the matcher of a constraint, for the tokens of the base and those of an adapter. */
export type CreateMatcher = (
  constraint: CompiledConstraint,
  added: AddedTokens | undefined,
  tenant: string,
) => Promise<TokenMatcher>;

/** Creates the ban of a sequence's words, for the tokens of the base and those of an adapter. */
export type CreateBan = (
  words: readonly string[],
  added: AddedTokens | undefined,
) => Promise<TokenBan>;

/** An event that ends a sequence. */
export type TerminalEvent = Extract<EngineEvent, { type: 'finished' | 'failed' }>;

/** One generation in flight. */
export interface Sequence {
  readonly id: SequenceId;
  readonly tenant: string;
  /** The tenant's share at the time of the submit. */
  readonly weight: number;
  /** Undefined: the base. */
  readonly adapter: AdapterKey | undefined;
  readonly request: GenerationRequest;
  readonly sampler: Sampler;
  /** Makes the prompt's embedding. Absent: none is wanted. */
  readonly pooler?: Pooler | undefined;
  /** Absent: no drafts. */
  readonly drafter?: Drafter | undefined;
  /** The position from which the adapter is used. The tokens before it run as the base. */
  adapterFrom: number;
  /**
   * The keys of the prompt in the prefix cache. Undefined if the sequence does not use it, or if its slot was zeroed.
   */
  prefix: PrefixChain | undefined;
  state: SequenceState;
  /** When it began to wait for a slot, in monotonic milliseconds. */
  waitingSinceMs: number;
  /** The KV slot that it owns in prefill and while it runs. */
  slot: SlotId | undefined;
  /** Tokens in the KV cache. */
  pastLength: number;
  /** How many tokens of the prompt came from the prefix cache. */
  cachedTokens: number;
  /** How many tokens the prefix cache had when this sequence last used it. */
  savedTokens: number;
  /** The sequence with the same prefix whose prefill this one has waited for. It waits for one only. */
  waitedFor: SequenceId | undefined;
  /** The last token, which is not in the cache yet. */
  lastTokenId: number | undefined;
  /** The generated tokens except a final stop token. */
  readonly generatedIds: number[];
  completionTokens: number;
  /** Logprobs of the chunks so far. */
  promptLogprobs: TokenLogprob[];
  /** Set when the sequence was ended while its step was in flight. Replaces the results of that step. */
  ending: TerminalEvent | undefined;
}

/** The fields that a new sequence is created from. */
export type SequenceInit = Pick<
  Sequence,
  'id' | 'tenant' | 'weight' | 'adapter' | 'request' | 'sampler' | 'pooler' | 'drafter'
> &
  Partial<Pick<Sequence, 'prefix'>>;

/** Whether something has to be loaded before the sequence can run: an adapter, a grammar, banned words or the graph of embeddings. */
export function needsLoading({ adapter, request }: Pick<Sequence, 'adapter' | 'request'>): boolean {
  return [adapter, request.constraint, request.badWords, request.pooling].some(
    (needed) => needed !== undefined,
  );
}

/** Gives the pooler its classifier. Throws `ServeError` if the request wants other results than the adapter gives. */
export function matchClassifier(
  { classifier }: Pick<AdapterWeights, 'classifier'>,
  { request, pooler }: Pick<Sequence, 'request' | 'pooler'>,
): void {
  if (request.classifies) {
    const message = 'model: has no classification head. Use an adapter with the task type SEQ_CLS.';
    if (!classifier) throw new ServeError('invalid_request', message, { param: 'model' });
    pooler?.classifyBy(classifier);
  } else if (classifier && !pooler) {
    const message = 'model: this adapter classifies texts and generates none. Use POST /classify.';
    throw new ServeError('invalid_request', message, { param: 'model' });
  }
}

/** Throws `ServeError` if a request names a token that its model lacks. `size`: the tokens of the model. */
export function checkTokens(
  { promptIds, predictionIds = [], sampling }: GenerationRequest,
  size: number,
): void {
  const { logitBias, allowedTokenIds = [], minTokens } = sampling;
  const lists = [promptIds, predictionIds, allowedTokenIds, minTokens?.endings ?? []];
  for (const ids of [...lists, logitBias.keys()])
    for (const id of ids) {
      if (id < size) continue;
      const message = `The model has no token ${id}: its vocabulary has ${size} tokens.`;
      throw new ServeError('invalid_request', message);
    }
}

/** Creates a sequence: `loading` if something has to be loaded, else `waiting`. */
export function createSequence(init: SequenceInit): Sequence {
  return {
    prefix: undefined,
    ...init,
    adapterFrom: 0,
    state: needsLoading(init) ? 'loading' : 'waiting',
    waitingSinceMs: 0,
    slot: undefined,
    pastLength: 0,
    cachedTokens: 0,
    savedTokens: 0,
    waitedFor: undefined,
    lastTokenId: undefined,
    generatedIds: [],
    completionTokens: 0,
    promptLogprobs: [],
    ending: undefined,
  };
}

/** The result of a prompt whose hidden states were pooled. */
export function pooledEvent(id: SequenceId, pooler: Pooler): EngineEvent {
  const classified = pooler.scores();
  if (classified) return { type: 'scores', id, ...classified };
  return { type: 'embedding', id, embedding: pooler.embedding() };
}

/** The end of a sequence by an error. */
export function failedEvent({ id }: Pick<Sequence, 'id'>, error: ServeError): TerminalEvent {
  return { type: 'failed', id, error: error.toPlain() };
}

/** Whether an event ends its sequence. */
export function isTerminal(event: EngineEvent | undefined): event is TerminalEvent {
  return event?.type === 'finished' || event?.type === 'failed';
}

/** Whether the engine has zeroed the slot of a row. */
export function isZeroed(row: RowResult | undefined): boolean {
  return row?.ok === false && row.reason === 'non_finite';
}

/** The next chunk of the prompt, at most `chunkTokens` tokens. */
export function toPrefillBatch(sequence: Sequence, chunkTokens: number): PrefillBatch {
  const { promptIds, maxTokens, promptTopLogprobs } = sequence.request;
  const { slot, pastLength, adapterFrom } = sequence;
  assert(slot !== undefined, 'a prefilling sequence owns a slot');
  const isBase = pastLength < adapterFrom;
  const last = isBase ? Math.min(adapterFrom, promptIds.length) : promptIds.length;
  const end = Math.min(pastLength + chunkTokens, last);
  const tokenIds = promptIds.slice(pastLength, end);
  const samples = end === promptIds.length && maxTokens > 0;
  // Scored prompts need the rows of their own tokens only.
  const runsForced = samples && promptTopLogprobs === undefined;
  return {
    kind: 'prefill',
    slot,
    adapter: isBase ? undefined : sequence.adapter,
    tokenIds,
    pastLength,
    sampler: samples ? sequence.sampler : undefined,
    pooler: sequence.pooler,
    forcedIds: runsForced ? usableForced(toForcedRow(sequence)) : [],
    scoring:
      promptTopLogprobs === undefined
        ? undefined
        : {
            nextIds: tokenIds.map((_, i) => promptIds[pastLength + i + 1]),
            topLogprobs: promptTopLogprobs,
          },
  };
}

/** The rows of the running sequences in a decode batch. */
export function toDecodeRows(sequences: readonly Sequence[]): DecodeRow[] {
  const forced = planForced(sequences.map(toForcedRow));
  const drafts = planDrafts(
    sequences.map(({ drafter, request, completionTokens }, i) => ({
      drafter: forced[i]!.length > 0 ? undefined : drafter,
      stopTokenIds: request.stopTokenIds,
      remainingTokens: request.maxTokens - completionTokens,
    })),
  );
  return sequences.map(({ lastTokenId, pastLength, sampler, ...of }, i) => {
    assert(lastTokenId !== undefined, 'a running sequence has a last token');
    const adapter = pastLength < of.adapterFrom ? undefined : of.adapter;
    const known = { draftIds: drafts[i]!, forcedIds: forced[i]! };
    return { adapter, tokenId: lastTokenId, pastLength, sampler, ...known };
  });
}

function toForcedRow({ sampler, request, completionTokens }: Sequence): ForcedRow {
  const { stopTokenIds, maxTokens } = request;
  const remainingTokens = maxTokens - completionTokens;
  return { upcoming: sampler.upcoming, stopTokenIds, remainingTokens };
}

/** The events of a run of one sequence, and the tokens that they are about. */
export interface AppliedRows {
  /** The last one may be terminal. */
  readonly events: EngineEvent[];
  /** Includes a stop token that the client does not see. */
  readonly generatedTokens: number;
  /** The number of tokens that end the text in any case, and so needed no run. */
  readonly endingTokens: number;
}

/** Applies the tokens of a run to their sequence, and those that must follow to end its text. */
export function applyRows(sequence: Sequence, rows: readonly RowResult[]): AppliedRows {
  const { sampler } = sequence;
  const events: EngineEvent[] = [];
  let generatedTokens = 0;
  let endingTokens = 0;
  const isOver = () => isTerminal(events.at(-1));
  // The sampler has drawn all of the rows, so only the last one can have completed the text.
  for (const [i, row] of rows.entries()) {
    if (isOver()) break;
    events.push(...applyRow(sequence, row, i === rows.length - 1 && sampler.isComplete));
    if (row.ok) generatedTokens++;
  }
  while (!isOver()) {
    const id = sampler.takeEnding();
    if (id === undefined) break;
    events.push(...applyRow(sequence, { ok: true, id }, sampler.isComplete));
    endingTokens++;
  }
  return { events, generatedTokens: generatedTokens + endingTokens, endingTokens };
}

function applyRow(sequence: Sequence, row: RowResult, isComplete: boolean): EngineEvent[] {
  const { id, request } = sequence;
  if (!row.ok) return [failedEvent(sequence, rowError(sequence, row.reason))];
  const { logprob } = row;
  const token: EngineEvent = { type: 'token', id, tokenId: row.id, ...(logprob && { logprob }) };
  if (request.stopTokenIds.includes(row.id)) {
    const finished: EngineEvent = { type: 'finished', id, reason: 'stop' };
    return request.includesStopToken ? [token, finished] : [finished];
  }
  sequence.lastTokenId = row.id;
  sequence.drafter?.append(row.id);
  sequence.generatedIds.push(row.id);
  sequence.completionTokens++;
  if (isComplete) return [token, { type: 'finished', id, reason: 'stop' }];
  // Prompt and maxTokens fit into a slot (asserted at submit), so this is the only limit.
  if (sequence.completionTokens < request.maxTokens) return [token];
  return [token, { type: 'finished', id, reason: 'length' }];
}

/** How messages name the limits of an answer. A request has several fields for a constraint, and so may its model. */
const CONSTRAINT_NAMES: Partial<Record<Constraint['kind'], string>> = {
  json_schema: 'the JSON schema',
  regex: 'the regular expression',
  grammar: 'the grammar',
  choice: 'the list of choices',
};

function forbidsAll({ sampling, badWords, constraint }: GenerationRequest): ServeError {
  const { allowedTokenIds, minTokens } = sampling;
  const fields = [
    ...(allowedTokenIds ? ['allowed_token_ids'] : []),
    ...(badWords ? ['bad_words'] : []),
    ...(minTokens ? ['min_tokens'] : []),
  ];
  const names = [...fields];
  if (constraint) names.push(CONSTRAINT_NAMES[constraint.kind] ?? 'the format of the answer');
  const list = new Intl.ListFormat('en').format(names);
  const verb = names.length > 1 ? 'together forbid' : 'forbids';
  const message = `No token can be generated: ${list} ${verb} every token.`;
  return new ServeError('invalid_request', message, fields[0] ? { param: fields[0] } : {});
}

function rowError(
  { adapter, request }: Sequence,
  reason: Extract<RowResult, { ok: false }>['reason'],
): ServeError {
  if (reason === 'nothing_allowed') {
    return forbidsAll(request);
  }
  if (reason === 'too_ambiguous') {
    const message =
      'The grammar is too ambiguous: it takes too long to find the tokens that may follow.';
    return new ServeError('invalid_request', message);
  }
  return adapter === undefined
    ? new ServeError('internal_error', 'The model produced a value that is not finite.')
    : new ServeError('adapter_non_finite', 'The adapter produced a value that is not finite.');
}

/**
 * The prompt tokens that count for the repetition penalty. The prompt of a chat contains the end-of-turn token, and
 * penalizing that token would make every answer longer.
 */
export function penalizedIds({ promptIds, stopTokenIds }: GenerationRequest): readonly number[] {
  return promptIds.filter((id) => !stopTokenIds.includes(id));
}
