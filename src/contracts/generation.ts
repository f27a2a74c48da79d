// Requests to the engine process as plain data: token ids and the adapter's files, without text or names.
import type { AddedTokens } from './added-tokens.ts';
import { type NumericParams, toNumericParams } from './sampling-fields.ts';

/** Sampling parameters. Greedy sampling takes the first of the largest logits. */
export interface SamplingParams extends NumericParams {
  /** Token id → value in [-100, 100] that is added to its logit. */
  logitBias: ReadonlyMap<number, number>;
  /** The same seed, prompt, parameters and adapter give the same tokens. Absent: random. */
  seed?: number;
  /** How many alternatives to report per token, 0 to 20. Absent: no logprobs. */
  topLogprobs?: number;
  /** The only tokens that may be sampled. Not empty. Absent: all may be. */
  allowedTokenIds?: readonly number[];
  /** The tokens in `endings` end a sequence and are not sampled before `count` other tokens. */
  minTokens?: { count: number; endings: readonly number[] };
}

/** The texts that a completion may have. Constraints can be nested. */
export type Constraint =
  | SchemaConstraint
  /** A regular expression that matches the whole text. */
  | { readonly kind: 'regex'; readonly pattern: string }
  /** A grammar in llama.cpp's notation, starting at the rule `root`. */
  | { readonly kind: 'grammar'; readonly source: string }
  | { readonly kind: 'choice'; readonly texts: readonly string[] }
  | { readonly kind: 'text'; readonly text: string }
  /** A control token. No other constraint allows one. */
  | { readonly kind: 'token'; readonly id: number }
  | { readonly kind: 'any_text' }
  | { readonly kind: 'sequence'; readonly parts: readonly Constraint[] }
  | { readonly kind: 'any_of'; readonly options: readonly Constraint[] }
  /** One or more times, with the separator between. */
  | { readonly kind: 'repeat'; readonly item: Constraint; readonly separator: string }
  | TagsConstraint;

/** JSON that a JSON Schema allows. */
interface SchemaConstraint extends SchemaReading {
  readonly kind: 'json_schema';
  /** An object or a boolean. */
  readonly schema: unknown;
  /** Whether it is spaced as Python writes it. Default: compact. */
  readonly isSpaced?: true;
}

/** How much of what a schema allows may be written. By default the least, because models add what is not wanted. */
export interface SchemaReading {
  /**
   * Whether objects may have members that the schema does not declare. Default: only if `additionalProperties` or
   * `patternProperties` asks for them, or nothing is declared.
   */
  readonly isOpen?: boolean;
  /** Whether members may come in another order than in the schema. */
  readonly isUnordered?: boolean;
  /** Whether a schema without `type` allows all types. Default: those that its keywords are about. */
  readonly isUntyped?: boolean;
}

/** Text with tags, such as tool calls, whose content is constrained. */
interface TagsConstraint {
  readonly kind: 'tags';
  /**
   * Texts that begin tags, each the start of one or more `begin`. Between tags, any text without them is allowed. Empty:
   * there are only tags, with `separator` between them.
   */
  readonly triggers: readonly string[];
  readonly tags: readonly ConstrainedTag[];
  /** Without triggers only. Default: nothing. */
  readonly separator?: string;
  /** Whether there is at least one tag. Default: false. */
  readonly isRequired?: boolean;
  /** Whether the text ends after the first tag. Default: false. */
  readonly isSingle?: boolean;
}

/** A tag: `begin`, its content, `end`. Content of `any_text` extends to the first `end`. */
export interface ConstrainedTag {
  readonly begin: string;
  readonly content: Constraint;
  readonly end: string;
}

/** A constraint as the engine takes it, compiled by the server. */
export interface CompiledConstraint {
  readonly kind: Constraint['kind'];
  /** Constraints that allow the same texts in the same way have the same. */
  readonly digest: string;
  /** Its NFA (`src/grammar/nfa.ts`). */
  readonly nfa: Uint32Array;
}

/** How long a request may take, and until when, in monotonic milliseconds. */
export interface RequestTime {
  readonly ms: number;
  readonly endsAtMs: number;
}

/** The request for one sequence. */
export interface GenerationRequest {
  promptIds: readonly number[];
  /** The max tokens to generate. 0 only scores the prompt. */
  maxTokens: number;
  /** The tokens that end the sequence. */
  stopTokenIds: readonly number[];
  /** Whether the token that ends the sequence is also reported. */
  includesStopToken?: true;
  sampling: SamplingParams;
  /** The only texts that may be generated. Absent: all may be. */
  constraint?: CompiledConstraint;
  /** Words that must not be generated. Each contains a character other than a space. Absent: none. */
  badWords?: readonly string[];
  /** The adapter's tokens, for a constraint or banned words. Absent: only the base's tokens. */
  addedTokens?: AddedTokens;
  /** Text that the completion probably repeats. It affects only the time, never the tokens. */
  predictionIds?: readonly number[];
  /** How many alternatives to report per prompt token, 0 to 20. Absent: the prompt is not scored. */
  promptTopLogprobs?: number;
  /** Tokens to score in place of each prompt token after the first. Needs `promptTopLogprobs`. Absent: none. */
  promptTargetIds?: readonly (readonly number[])[];
  /** Reports the prompt's embedding instead of tokens. Needs `maxTokens` 0, and the prompt is not scored. Absent: none. */
  pooling?: Pooling;
  /** Reports the scores of the adapter's classifier instead of the embedding. Needs `pooling`. */
  classifies?: true;
  /** Sequences with the same scope may share the keys and values of equal prefixes. Absent: it shares none. */
  prefixScope?: string;
}

/** How the hidden states of a prompt become its embedding: their mean, or the last token's. */
export type Pooling = 'mean' | 'last';

/** The log-probability of a token from the raw logits, before temperature, penalties and filters. */
export interface TokenLogprob {
  id: number;
  /** Natural logarithm. */
  logprob: number;
  top: readonly { id: number; logprob: number }[];
  /** For prompt tokens only: 1 for the most likely token. */
  rank?: number;
  /** For prompt tokens only: the tokens that were asked for. */
  targets?: readonly Readonly<Required<Pick<TokenLogprob, 'id' | 'logprob' | 'rank'>>>[];
}

/** The reason that a sequence ended. */
export type FinishReason = 'stop' | 'length' | 'abort';

/** Greedy sampling with neutral parameters. */
export const GREEDY: SamplingParams = {
  ...toNumericParams({ temperature: 0 }),
  logitBias: new Map(),
};

/** The adapter of a sequence: an identity, and its local files. */
export interface AdapterSource {
  /** Digest of owner and content, hex. The key in caches and slots. */
  readonly digest: string;
  /** The tenant that owns it. */
  readonly owner: string;
  /** One part for a plain adapter, several for a composition, which adds up their updates. */
  readonly parts: readonly AdapterSourcePart[];
}

/** One PEFT folder of an adapter. */
export interface AdapterSourcePart {
  /** SHA-256 over its two files (see `adapters/peft/files.ts`), hex. Checked when the files are read. */
  readonly digest: string;
  /** The local PEFT folder. */
  readonly directory: string;
  /** The factor of its update. 1 for a plain adapter. */
  readonly weight: number;
}

/** The fastest tier that held an adapter: a slot of the engine, the cache in memory, or the local disk. */
export type CacheTier = 'slot' | 'ram' | 'disk';

/** The tier that held a prefetched adapter, and how long loading it took. */
export interface Prefetched {
  tier: CacheTier;
  loadMs: number;
}

/** The tier that held an adapter, and its load time. Empty for the base. */
export type AdapterUse = Partial<Omit<Prefetched, 'tier'>> & { readonly tier?: string };

/**
 * An event of one choice. Each choice has the events submitted, accepted, admitted, prompt (if the prompt is scored), embedding
 * or scores (if they are requested), any number of tokens, and finished.
 */
export type GenerationEvent =
  | { type: 'submitted'; index: number }
  | { type: 'accepted'; index: number; adapterUse: AdapterUse }
  /** Occurs once, when the engine has accepted every choice that was submitted at the start. */
  | { type: 'started'; adapterUse: AdapterUse }
  /** The choice has a KV slot. A server that shuts down lets it finish. */
  | { type: 'admitted'; index: number; cachedTokens: number }
  | { type: 'prompt'; index: number; logprobs: readonly TokenLogprob[] }
  | { type: 'embedding'; index: number; embedding: Float32Array }
  | { type: 'scores'; index: number; scores: Float32Array; labels: readonly string[] }
  /** `text` is empty after half a character, and while the text may still become a stop string. */
  | {
      type: 'token';
      index: number;
      tokenId: number;
      text: string;
      logprob: TokenLogprob | undefined;
    }
  /** `rest` is the text that the decoder was still holding back. `stopString` ended the choice. */
  | {
      type: 'finished';
      index: number;
      reason: 'stop' | 'length';
      rest: string;
      stopString?: string | undefined;
    };
