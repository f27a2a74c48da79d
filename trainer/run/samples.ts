// Chooses the samples of a run that are recorded: of long runs some steps, of a step some prompts, of a prompt all completions.
import type { StepSamples } from '../../src/contracts/step-samples.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import type { Group } from './reinforcement.ts';

/** About as many steps as a chart has points. Longer runs record every n-th step. */
const MAX_STEPS = 500;
/** More completions per step are more than anyone reads. One prompt is always recorded. */
const MAX_COMPLETIONS = 32;
/** In characters: about 500 tokens, the default length of completions. */
const MAX_TEXT = 2000;

/** Whether the samples of a step are recorded. @param step counted from 1 */
export function isRecorded(step: number, totalSteps: number): boolean {
  return step === 1 || step === totalSteps || step % Math.ceil(totalSteps / MAX_STEPS) === 0;
}

/** Returns the samples of a step that are recorded. Of a long prompt the end is kept, of a long completion the beginning. */
export function toStepSamples(
  step: number,
  groups: readonly Group[],
  tokenizer: Pick<Tokenizer, 'decode'>,
): StepSamples {
  const perPrompt = groups[0]?.length ?? 1;
  const recorded = groups.slice(0, Math.max(1, Math.floor(MAX_COMPLETIONS / perPrompt)));
  return {
    step,
    prompts: recorded.map((group) => ({
      text: tokenizer.decode([...group[0]!.prompt.ids], { skipSpecials: false }).slice(-MAX_TEXT),
      completions: group.map(({ ids, isWhole, reward: { value, graded, fault } }) => ({
        text: tokenizer.decode(ids, { skipSpecials: true }).slice(0, MAX_TEXT),
        tokens: ids.length,
        finish: isWhole ? 'stop' : 'length',
        reward: value,
        parts: graded?.scores ?? {},
        ...(fault !== undefined && { error: fault }),
      })),
    })),
  };
}
