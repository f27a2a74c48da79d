// Collects the choices of a generation into one JSON response.
import { parseAnswer } from '../../tools/call-parser.ts';
import type { AnswerPlan, DocumentContext, DocumentWriter, TokenCounts } from './answer-plan.ts';
import { type ChoiceShape, toUsage } from './choice-shape.ts';
import type { GenerationEvent } from './generation.ts';
import { LogprobsText, withTop, writePromptLogprobs } from './logprobs.ts';

interface GatheredChoice {
  text: string;
  logprobs: LogprobsText | undefined;
  finishReason: string;
  /** As JSON. */
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
      logprobs: plan.logprobs.isShown
        ? new LogprobsText(plan.endpoint.createLogprobs(context.names))
        : undefined,
      finishReason: '',
      promptLogprobs: undefined,
    }));
  }

  /** Adds an event's content to its choice. */
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

  /** Returns the whole response as UTF-8 JSON. */
  end(counts: TokenCounts): Uint8Array<ArrayBuffer> {
    const {
      shape,
      head: { id, ...head },
    } = this.#context;
    const opening = JSON.stringify({ id, object: shape.object, ...head }).slice(0, -1);
    const choices = this.#choices.flatMap((choice, index) => this.#writeChoice(choice, index));
    const usage = JSON.stringify(toUsage(counts));
    const isOfAnswer = shape.promptLogprobs === 'answer';
    const scores = isOfAnswer ? writeScores(this.#choices[0]!) : '';
    const parts = [`${opening},"choices":[`, ...choices, `],"usage":${usage}${scores}}`];
    return Buffer.concat(
      parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)),
    );
  }

  #writeChoice(choice: GatheredChoice, index: number): (string | Buffer)[] {
    const { text, logprobs, finishReason } = choice;
    const { shape } = this.#context;
    const parser = this.#plan.tools?.createParser();
    const { content, calls } = parser ? parseAnswer(parser, text) : { content: text, calls: [] };
    const hasCalls = calls.length > 0 && finishReason === 'stop';
    const opening = JSON.stringify({ index, ...shape.content(content, calls) }).slice(0, -1);
    const reason = JSON.stringify(hasCalls ? shape.calls!.reason : finishReason);
    const scores = shape.promptLogprobs === 'choice' ? writeScores(choice) : '';
    return [
      `${index === 0 ? '' : ','}${opening},"logprobs":`,
      ...(logprobs?.toJson() ?? ['null']),
      `,"finish_reason":${reason}${scores}}`,
    ];
  }
}

/** Writes the scores of a choice's prompt as another member, if there are any. */
function writeScores({ promptLogprobs }: GatheredChoice): string {
  return promptLogprobs === undefined ? '' : `,"prompt_logprobs":${promptLogprobs}`;
}
