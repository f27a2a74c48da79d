// Gathers the choices of a generation into one JSON answer.
import { parseAnswer } from '../tools/call-parser.ts';
import type {
  AnswerPlan,
  DocumentContext,
  DocumentWriter,
  TokenCounts,
  WireLogprobs,
} from './answer-plan.ts';
import { type ChoiceShape, toUsage } from './choice-shape.ts';
import type { GenerationEvent } from './generation.ts';
import { type LogprobWriter, withTop, writePromptLogprobs } from './logprobs.ts';

interface GatheredChoice {
  text: string;
  logprobs: LogprobWriter<WireLogprobs> | undefined;
  finishReason: string;
  /** JSON. */
  promptLogprobs: string | undefined;
}

/** Collects events until the generation is complete; `end` then writes the document. */
export class JsonSink implements DocumentWriter {
  readonly #plan: AnswerPlan;
  readonly #context: DocumentContext & { shape: ChoiceShape };
  readonly #choices: readonly GatheredChoice[];

  constructor(plan: AnswerPlan, context: DocumentContext & { shape: ChoiceShape }) {
    this.#plan = plan;
    this.#context = context;
    this.#choices = plan.choices.map(({ echo }) => ({
      text: echo,
      logprobs: plan.logprobs.isShown ? plan.endpoint.createLogprobs(context.names) : undefined,
      finishReason: '',
      promptLogprobs: undefined,
    }));
  }

  /** Adds what the event brings to its choice. */
  write(event: GenerationEvent): void {
    if (event.type === 'started') return;
    const choice = this.#choices[event.index]!;
    if (event.type === 'token') {
      choice.text += event.text;
      if (event.logprob) choice.logprobs?.add(event.logprob);
    } else if (event.type === 'finished') {
      choice.text += event.rest;
      choice.finishReason = event.reason;
    } else if (event.type === 'prompt') {
      const { echoed, prompt } = this.#plan.logprobs;
      const { promptIds } = this.#plan.choices[event.index]!.request;
      if (echoed !== undefined) {
        choice.logprobs?.addPrompt(promptIds, withTop(event.logprobs, echoed));
      }
      if (prompt !== undefined) {
        choice.promptLogprobs = writePromptLogprobs(
          withTop(event.logprobs, prompt),
          this.#context.names,
        );
      }
    }
  }

  /** Returns the whole answer as JSON. */
  end(counts: TokenCounts): string {
    const {
      shape,
      head: { id, ...head },
    } = this.#context;
    const isPerChoice = shape.promptLogprobs === 'choice';
    const choices = this.#choices.map((choice, index) =>
      withScores({ index, ...this.#toContent(choice) }, isPerChoice && choice.promptLogprobs),
    );
    const opening = JSON.stringify({ id, object: shape.object, ...head }).slice(0, -1);
    const closing = withScores(
      { usage: toUsage(counts) },
      !isPerChoice && this.#choices[0]!.promptLogprobs,
    );
    return `${opening},"choices":[${choices.join()}],${closing.slice(1)}`;
  }

  #toContent({ text, logprobs, finishReason }: GatheredChoice): object {
    const { shape } = this.#context;
    const parser = this.#plan.tools?.createParser();
    const { content, calls } = parser ? parseAnswer(parser, text) : { content: text, calls: [] };
    const hasCalls = calls.length > 0 && finishReason === 'stop';
    return {
      ...shape.content(content, calls),
      logprobs: logprobs?.take() ?? null,
      finish_reason: hasCalls ? shape.calls!.reason : finishReason,
    };
  }
}

/** Returns the members as JSON, and `prompt_logprobs` if it is given as JSON. */
function withScores(members: object, promptLogprobs: string | false | undefined): string {
  const json = JSON.stringify(members);
  return promptLogprobs ? `${json.slice(0, -1)},"prompt_logprobs":${promptLogprobs}}` : json;
}
