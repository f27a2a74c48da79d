// Rewards completions with a job's grader.
import { AssertionError } from '../src/common/assert.ts';
import { type GraderCalls, grade } from '../src/graders/grade.ts';
import { graderSchema } from '../src/graders/schema.ts';
import { toSample } from '../src/graders/template.ts';
import type { Language } from './data/encode-row.ts';
import type { Reinforcement } from './run/reinforcement.ts';

function refuse(): never {
  throw new AssertionError('a job whose grader asks a model is refused');
}

const NO_CALLS: GraderCalls = {
  embed: refuse,
  ask: refuse,
};

/** Creates the function that rewards completions. @param grader as the job states it, and checked */
export function createReward(grader: unknown, { tokenizer }: Language): Reinforcement['reward'] {
  const parsed = graderSchema.parse(grader);
  return async (ids, item) => {
    const text = tokenizer.decode(ids, { skipSpecials: true });
    const { reward, scores, errors } = await grade(
      parsed,
      { item, sample: toSample(text) },
      NO_CALLS,
    );
    const fault = Object.entries(errors).find(([, isSet]) => isSet)?.[0];
    return { value: reward, fault, scores };
  };
}
