// The interface of a dialect: one API for generating text, such as chat. A dialect knows how its requests are read and how its
// responses are written. Everything else is the same for all of them.
import type { Endpoint, ResponseWriter } from '../generation/generation-plan.ts';
import type { ChatRequest } from '../schema/chat.ts';
import type { CompletionRequest } from '../schema/completions.ts';
import type { ConstraintFields, GivenConstraint } from '../schema/constraints.ts';
import type { TokenFields } from '../schema/fields.ts';
import type { TOOL_FIELDS, ToolFields } from '../schema/tools.ts';
import type { PromptInput } from './prompts.ts';

type SharedName = keyof ChatRequest & keyof CompletionRequest;
/** The fields that have the same name and meaning in all dialects. */
export type SharedFields = Pick<
  ChatRequest,
  Exclude<
    SharedName,
    'logprobs' | 'prediction' | 'verbosity' | keyof ConstraintFields | keyof typeof TOOL_FIELDS
  >
>;

/** A checked request of any dialect. */
export type GenerationBody = SharedFields & ConstraintFields;

/** One API for generating text. */
export interface Dialect<Body extends GenerationBody> extends Endpoint {
  /** Reads a request. Its model is not known yet, and nothing has been fetched. */
  read(body: Body, source: RequestSource): GenerationInput;
}

/** The origin of a request. */
interface RequestSource {
  readonly tenant: string;
  /** How long the request may take. */
  readonly timeoutMs: number;
  /** Aborts when the client is gone. */
  readonly clientSignal: AbortSignal;
}

/** The parts of a request that each dialect spells in its own way. */
export interface GenerationInput {
  readonly prompt: PromptInput;
  /** The max tokens of each completion, if the request limits them. */
  readonly maxTokens?: number | null | undefined;
  /** The max tokens if the request sets none. Default: the model's limit, else the rest of the context. */
  readonly defaultTokens?: number;
  /** Whether the context may lower the max tokens. Default: a request that does not fit the context is refused. */
  readonly isFitted?: true;
  /** How many alternatives to show for each generated token. Undefined if the tokens are not scored. */
  readonly topLogprobs?: number | undefined;
  /** Whether each choice begins with its prompt. Absent: never, and a prompt is scored only once for all its choices. */
  readonly echoes?: boolean;
  /** Tokens to score in place of those of the only prompt. */
  readonly promptTargets?: readonly (readonly number[])[] | undefined;
  /** The response format, from a field that only this dialect has. */
  readonly format?: GivenConstraint | undefined;
  /** Absent: the dialect has no tools. */
  readonly tools?: ToolInput;
  /** Text that the completion probably repeats. */
  readonly prediction?: string | undefined;
  /** Fields with token ids that other dialects lack. */
  readonly tokenFields?: TokenFields;
  readonly writer: ResponseWriter;
}

/** The tools of a request. */
interface ToolInput {
  readonly fields: ToolFields;
  /** The field that holds the parameters of a tool. */
  fieldOf(index: number): string;
}
