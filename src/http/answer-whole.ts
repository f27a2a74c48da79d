// Gathers all choices of a generation into one JSON answer.
import { type AnswerContext, ClientGone, setReceipt } from './answer-context.ts';
import { toUsage, type WireLogprobs } from './endpoint.ts';
import { Generation, type GenerationListener } from './generation.ts';
import type { LogprobWriter } from './logprobs.ts';
import { createTokenNames } from './token-names.ts';

interface ChoiceState {
  text: string;
  logprobs: LogprobWriter<WireLogprobs> | undefined;
  finishReason: string;
}

export async function wholeAnswer(context: AnswerContext): Promise<Response> {
  const { c, deps, plan, head } = context;
  const { id, ...rest } = head;
  const names = createTokenNames(deps.tokenizer);
  const states = plan.choices.map(
    ({ echo }): ChoiceState => ({
      text: echo,
      logprobs: plan.hasLogprobs ? plan.endpoint.createLogprobs(names) : undefined,
      finishReason: '',
    }),
  );
  const completionTokens = await run(context, states);
  return c.json({
    id,
    object: plan.endpoint.object,
    ...rest,
    choices: states.map(({ text, logprobs, finishReason }, index) => ({
      index,
      ...plan.endpoint.content(text),
      logprobs: logprobs?.take() ?? null,
      finish_reason: finishReason,
    })),
    usage: toUsage(plan.promptTokens, completionTokens),
  });
}

/** Fills `states`; resolves with the tokens generated. A client that goes away ends the generation. */
function run({ c, deps, plan, generation }: AnswerContext, states: ChoiceState[]): Promise<number> {
  const { signal } = c.req.raw;
  return new Promise((resolve, reject) => {
    const settle = () => signal.removeEventListener('abort', onAbort);
    const listener: GenerationListener = {
      started: (receipt) => setReceipt(c, plan.model, receipt),
      begun() {},
      prompt({ index, request }, logprobs) {
        states[index]!.logprobs?.addPrompt(request.promptIds, logprobs);
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
