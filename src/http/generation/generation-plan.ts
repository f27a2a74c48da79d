// The dependencies of running a generation, and its plan, made before its first token: the endpoint, the model, the choices, and
// the writer of the response.
import type { ResolvedModel } from '../../../adapters/registry/resolved.ts';
import type { LocalAdapters } from '../../../adapters/tiers/local-adapters.ts';
import type { ServeError } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { GenerationEvent, TokenLogprob } from '../../contracts/generation.ts';
import type { EngineClient } from '../../engine-client/client.ts';
import type { GenAiOperation } from '../../telemetry/gen-ai.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { ToolPlan } from '../../tools/tool-plan.ts';
import type { UsageRecorder } from '../../usage/usage-recorder.ts';
import type { HttpLimits } from '../wire/limits.ts';
import type { SequencesPlan } from './sequences.ts';

/** The dependencies of running a generation. */
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
  writer: ResponseWriter;
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

/** The names of an endpoint. */
export interface Endpoint {
  readonly operation: GenAiOperation;
  readonly idPrefix: string;
  readonly promptField: PromptParam;
  /** The field that limits the completion's tokens. */
  readonly limitField: string;
}

/** The field that holds a request's text, by the name that OpenAI's context errors use. */
export type PromptParam = 'messages' | 'prompt' | 'input';

/** Writes the response of one request. */
export interface ResponseWriter {
  /** Starts a response that is one JSON document. */
  createDocument(plan: GenerationPlan, head: ResponseHead): DocumentWriter;
  /** Starts a response that is a stream of events. Only requests with `stream` have one. */
  createEvents(plan: GenerationPlan, head: ResponseHead, send: SendEvents): EventWriter;
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

/** Sends any number of events, as `toFrame` writes them. */
export type SendEvents = (events: string) => void;

/** Sends the events of a stream. */
export interface EventWriter {
  /** Opens a choice. */
  open(index: number): void;
  add(index: number, part: StreamPart): void;
  /** Ends a choice. */
  finish(index: number, ending: Ending, tokens: ChoiceTokens): void;
  /** Ends a complete response. If it rejects, `fail` follows. */
  end(counts: TokenCounts): void | Promise<void>;
  /** Ends a failed response. */
  fail(error: ServeError): void;
}

/** Why a choice ended, and the stop string that ended it. */
export type Ending = Pick<Extract<GenerationEvent, { type: 'finished' }>, 'reason' | 'stopString'>;

/** The part of a choice's text that was not sent before, and the number of its tokens so far. */
export interface StreamPart extends ChoiceTokens {
  readonly text: string;
  /** The scores of its tokens, if they are shown. */
  readonly logprobs: readonly TokenLogprob[];
  /** The scores of the echoed prompt, if they are shown. */
  readonly promptLogprobs: readonly TokenLogprob[] | undefined;
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
