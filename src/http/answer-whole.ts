// Gathers all choices of a generation into one JSON answer.

import type { PromptLogprobs } from '../contracts/openai.ts';
import { type AnswerContext, ClientGone, setReceipt } from './answer-context.ts';
import { toUsage, type WireLogprobs } from './endpoint.ts';
import { Generation, type GenerationListener } from './generation.ts';
import { type LogprobWriter, toPromptLogprobs, withTop } from './logprobs.ts';
import { createTokenNames, type TokenNames } from './token-names.ts';

interface ChoiceState {
  text: string;
  logprobs: LogprobWriter<WireLogprobs> | undefined;
  finishReason: string;
  /** Of prompt_logprobs. */
  promptLogprobs: PromptLogprobs | undefined;
}

export async function wholeAnswer(context: AnswerContext): Promise<Response> {
  const { c, deps, plan, head } = context;
  const { id, ...rest } = head;
  const names = createTokenNames(deps.tokenizer, plan.logprobs);
  const states = plan.choices.map(
    ({ echo }): ChoiceState => ({
      text: echo,
      logprobs: plan.logprobs.isShown ? plan.endpoint.createLogprobs(names) : undefined,
      finishReason: '',
      promptLogprobs: undefined,
    }),
  );
  const completionTokens = await run(context, states, names);
  const shown = (state: ChoiceState | undefined) =>
    state?.promptLogprobs && { prompt_logprobs: state.promptLogprobs };
  const isOfChoice = plan.endpoint.promptLogprobs === 'choice';
  return c.json({
    id,
    object: plan.endpoint.object,
    ...rest,
    choices: states.map((state, index) => ({
      index,
      ...plan.endpoint.content(state.text),
      logprobs: state.logprobs?.take() ?? null,
      finish_reason: state.finishReason,
      ...(isOfChoice && shown(state)),
    })),
    ...(!isOfChoice && shown(states[0])),
    usage: toUsage(plan.promptTokens, completionTokens),
  });
}

/** Fills `states`; resolves with the tokens generated. A client that goes away ends the generation. */
function run(
  { c, deps, plan, generation }: AnswerContext,
  states: ChoiceState[],
  names: TokenNames,
): Promise<number> {
  const { signal } = c.req.raw;
  return new Promise((resolve, reject) => {
    const settle = () => signal.removeEventListener('abort', onAbort);
    const listener: GenerationListener = {
      started: (receipt) => setReceipt(c, plan.model, receipt),
      begun() {},
      prompt({ index, request }, logprobs) {
        const state = states[index]!;
        const { echoed, prompt } = plan.logprobs;
        if (echoed !== undefined) {
          state.logprobs?.addPrompt(request.promptIds, withTop(logprobs, echoed));
        }
        if (prompt !== undefined) {
          state.promptLogprobs = toPromptLogprobs(withTop(logprobs, prompt), names);
        }
      },
      token({ index }, text, logprob) {
        const state = states[index]!;
        state.text += text;
        if (logprob) state.logprobs?.add(logprob);
      },
      finished({ index }, reason, rest) {
        const state = states[index]!;
        state.text += rest;
        state.finishReason = reason;
      },
      completed(completionTokens) {
        settle();
        resolve(completionTokens);
      },
      failed(error) {
        settle();
        reject(error);
      },
    };
    const run = new Generation(deps.client, plan, { ...generation, listener });
    const onAbort = () => {
      run.abort();
      reject(new ClientGone());
    };
    if (signal.aborted) onAbort();
    else {
      signal.addEventListener('abort', onAbort, { once: true });
      run.start();
    }
  });
}
