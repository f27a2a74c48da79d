// The dependencies of answering, and the plan of a response, made before its first token: the endpoint, the model, the choices,
// and how the response is written.
import type { ResolvedModel } from '../../../adapters/registry/resolved.ts';
import type { LocalAdapters } from '../../../adapters/tiers/local-adapters.ts';
import type { ServeError } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { GenerationEvent } from '../../contracts/generation.ts';
import type { ChatLogprobs, CompletionLogprobs } from '../../contracts/openai.ts';
import type { EngineClient } from '../../engine-client/client.ts';
import type { GenAiOperation } from '../../telemetry/gen-ai.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { ToolPlan } from '../../tools/tool-plan.ts';
import type { UsageRecorder } from '../../usage/usage-recorder.ts';
import type { HttpLimits } from '../wire/limits.ts';
import type { LogprobWriter, TokenNames } from './logprobs.ts';
import type { SequencesPlan } from './sequences.ts';

/** The dependencies of answering. */
export interface GenerationDeps {
  readonly client: EngineClient;
  readonly localAdapters: LocalAdapters;
  /** The served base. */
  readonly model: { readonly id: string; readonly baseDigest: string };
  readonly log: Logger;
  readonly limits: HttpLimits;
  readonly telemetry: Telemetry;
  readonly usage?: { readonly recorder: Pick<UsageRecorder, 'add'> };
  /** Returns Unix milliseconds. */
  readonly now: () => number;
}

/** The model of a response. */
interface PlannedModel {
  readonly resolved: ResolvedModel;
  /** Resolves the name again after the model's files have changed. */
  resolveAgain(): Promise<ResolvedModel>;
  /** Undefined if completions have no text. */
  readonly tokenizer: Tokenizer | undefined;
  readonly maxSeqLength: number;
}

/** A checked request for completions. The adapter's files have not been fetched yet. */
export interface GenerationPlan extends Omit<SequencesPlan, 'adapter'> {
  endpoint: Endpoint;
  model: PlannedModel;
  /** The tokens of all prompts, each prompt counted once. */
  promptTokens: number;
  logprobs: LogprobPlan;
  /** Whether the response has the ids of the prompts and of the generated tokens, with a final stop token. */
  showsIds?: boolean | undefined;
  /** Undefined if the response is one JSON document. */
  stream: StreamUsage | undefined;
  /** Undefined if completions are text only. */
  tools?: ToolPlan | undefined;
}

/** Which tokens of a response are scored. */
interface LogprobPlan {
  /** Whether generated tokens are scored. */
  isShown: boolean;
  /** Whether tokens are written as `token_id:N`. */
  byId: boolean;
  /** How many alternatives to show for each token of the echoed prompt. Undefined if its tokens are not scored. */
  echoed: number | undefined;
  /** How many alternatives prompt_logprobs shows for each token. Undefined if the response has no such field. */
  prompt: number | undefined;
}

/** Whether the last chunk of a stream, or each chunk, reports the usage. */
export type StreamUsage = 'none' | 'last' | 'each';

/** How an endpoint writes its responses. Only requests with `stream` produce events. */
export interface Endpoint {
  readonly operation: GenAiOperation;
  readonly idPrefix: string;
  /** The field that limits the completion's tokens. */
  readonly limitField: string;
  createLogprobs(names: TokenNames): LogprobWriter<WireLogprobs>;
  /** Starts a response that is one JSON document. */
  createDocument(plan: GenerationPlan, context: DocumentContext): DocumentWriter;
  /** Starts a response that is a stream of events. */
  createEvents(plan: GenerationPlan, head: ResponseHead): EventWriter;
}

/** A choice's logprobs in either shape. */
export type WireLogprobs = ChatLogprobs | CompletionLogprobs;

/** The members and the token names that a document is written with. */
export interface DocumentContext {
  readonly head: ResponseHead;
  readonly names: TokenNames;
}

/** Collects the events of a generation and then writes the document. */
export interface DocumentWriter {
  write(event: GenerationEvent): void;
  /** Called once, after the last event. Strings and bytes are already JSON. */
  end(counts: TokenCounts): object | string | Uint8Array<ArrayBuffer> | Promise<object>;
  /** Absent: the client waits for the document. */
  background?: BackgroundKeeper | undefined;
}

/** Keeps a document that is written in the background. The writer's `end` keeps the whole one. */
export interface BackgroundKeeper {
  /** Keeps the document before its first token, and returns it. Aborting `cancellation` ends the generation. */
  open(cancellation: AbortController): Promise<object>;
  /** Keeps the document of a generation that failed. */
  fail(error: ServeError): Promise<void>;
}

/** Writes a stream. Each method returns any number of events, as `toFrame` writes them. */
export interface EventWriter {
  /** Opens a choice. */
  opening(index: number): string;
  delta(index: number, part: StreamPart): string;
  /** Ends a choice. */
  finish(index: number, ending: Ending, tokens: ChoiceTokens): string;
  /** Ends a complete response. If it rejects, `fail` follows. */
  end(counts: TokenCounts): string | Promise<string>;
  /** Ends a failed response. */
  fail(error: ServeError): string;
}

/** Why a choice ended, and the stop string that ended it. */
export type Ending = Pick<Extract<GenerationEvent, { type: 'finished' }>, 'reason' | 'stopString'>;

/** The part of a choice's text that was not sent before, and the number of its tokens so far. */
interface StreamPart extends ChoiceTokens {
  readonly text: string;
  readonly logprobs: WireLogprobs | null;
  readonly tokenIds: readonly number[];
}

/** How many tokens the choice has so far. */
export interface ChoiceTokens {
  readonly tokens: number;
  /** How many tokens of its prompt came from the prefix cache. */
  readonly cachedTokens: number;
}

/** The token counts of a response or of a part of it. */
export interface TokenCounts {
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** How many prompt tokens came from the prefix cache. */
  readonly cachedTokens: number;
}

/** The members that every part of one response repeats. */
export interface ResponseHead {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
}
