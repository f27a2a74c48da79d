// Gathers the choices of a generation into one JSON answer.
import type { PromptLogprobs } from '../contracts/openai.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { AnswerHead, AnswerPlan } from './answer-plan.ts';
import { type TokenCounts, toUsage, type WireLogprobs } from './endpoint.ts';
import type { GenerationEvent } from './generation.ts';
import { createTokenNames, type LogprobWriter, toPromptLogprobs, withTop } from './logprobs.ts';

interface GatheredChoice {
  text: string;
  logprobs: LogprobWriter<WireLogprobs> | undefined;
  finishReason: string;
  promptLogprobs: PromptLogprobs | undefined;
}

/** Collects events until the generation is complete; `toAnswer` then writes the document. */
export class JsonSink {
  readonly #plan: AnswerPlan;
  readonly #choices: readonly GatheredChoice[];
  readonly #names;

  constructor(plan: AnswerPlan, tokenizer: Tokenizer | undefined) {
    const names = createTokenNames(tokenizer, plan.logprobs);
    this.#plan = plan;
    this.#names = names;
    this.#choices = plan.choices.map(({ echo }) => ({
      text: echo,
      logprobs: plan.logprobs.isShown ? plan.endpoint.createLogprobs(names) : undefined,
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
        choice.promptLogprobs = toPromptLogprobs(withTop(event.logprobs, prompt), this.#names);
      }
    }
  }

  /** Returns the whole answer. */
  toAnswer({ id, ...head }: AnswerHead, counts: TokenCounts): object {
    const { endpoint } = this.#plan;
    const scored = (choice: GatheredChoice | undefined) =>
      choice?.promptLogprobs && { prompt_logprobs: choice.promptLogprobs };
    const isPerChoice = endpoint.promptLogprobs === 'choice';
    return {
      id,
      object: endpoint.object,
      ...head,
      choices: this.#choices.map((choice, index) => ({
        index,
        ...endpoint.content(choice.text),
        logprobs: choice.logprobs?.take() ?? null,
        finish_reason: choice.finishReason,
        ...(isPerChoice && scored(choice)),
      })),
      ...(!isPerChoice && scored(this.#choices[0])),
      usage: toUsage(counts),
    };
  }
}
