// Constrains and rewards completions: with a job's response format and the tools of its rows, and by its grader.
import type { Constraint } from '../src/contracts/generation.ts';
import { type Graded, grade, type RunPython } from '../src/graders/grade.ts';
import { callsOf, type Post } from '../src/graders/model-calls.ts';
import { graderSchema, highestReward, modelsOf, pythonField } from '../src/graders/schema.ts';
import { toSample } from '../src/graders/template.ts';
import { type CompletionRules, completionRules } from './data/completion-rules.ts';
import type { ModelText } from './data/encode-row.ts';
import type { Example } from './data/example.ts';
import type { TrainJob } from './job/job.ts';
import type { Reinforcement } from './run/reinforcement.ts';

/** The model text, the format and the models of a grader. */
interface GradingOptions {
  readonly modelText: ModelText;
  /** The response format. Absent: any text. */
  readonly format: Constraint | undefined;
  /** Sends requests to the base and to published adapters. */
  readonly post: Post;
  /** The base's name. */
  readonly base: string;
  readonly seed: number;
  /** Absent: the grader is not in Python. */
  readonly runPython?: RunPython | undefined;
}

/** Returns the names of the models that a job's grader asks. The job is checked. */
export function askedModels({ grader }: Pick<TrainJob, 'grader'>): readonly string[] {
  return grader === undefined ? [] : [...modelsOf(graderSchema.parse(grader)).keys()];
}

/** Whether a job's grader is in Python. The job is checked. */
export function usesPython({ grader }: Pick<TrainJob, 'grader'>): boolean {
  return grader !== undefined && pythonField(graderSchema.parse(grader)) !== undefined;
}

/** Returns the highest reward of a job's grader. Undefined if it has none. The job is checked. */
export function highestRewardOf({ grader }: Pick<TrainJob, 'grader'>): number | undefined {
  return grader === undefined ? undefined : highestReward(graderSchema.parse(grader));
}

/** Creates the functions that constrain and reward completions. @param grader as the job states it, and checked */
export function createGrading(
  grader: unknown,
  { modelText, format, post, ...options }: GradingOptions,
): Pick<Reinforcement, 'constraintOf' | 'reward'> {
  const parsed = graderSchema.parse(grader);
  const calls = callsOf(post, options);
  const known = new Map<string, CompletionRules>(); // most rows have the same tools
  const rulesOf = ({ tools = [] }: Example): CompletionRules => {
    const key = JSON.stringify(tools);
    const rules = known.get(key) ?? completionRules(modelText, { tools, isParallel: true, format });
    known.set(key, rules);
    return rules;
  };
  return {
    constraintOf: (prompt) => rulesOf(prompt).constraint,
    async reward(ids, prompt) {
      const { read, toText } = rulesOf(prompt);
      const { content, calls: made } = read(toText(ids));
      const called = made.map(({ id, ...called }) => ({ id, type: 'function', function: called }));
      const sample = toSample(content, called);
      const graded = await grade(parsed, { item: prompt.item, sample }, calls);
      return { value: graded.reward, fault: faultOf(graded.errors), graded };
    },
  };
}

function faultOf({
  model_grader_server_error_details: ofModel,
  python_grader_server_error_type: ofServer,
  python_grader_runtime_error_details: ofPython,
  ...errors
}: Graded['errors']) {
  const details = ofModel ?? ofServer ?? ofPython;
  const fault = Object.entries(errors).find(([, isSet]) => isSet)?.[0];
  return fault && details ? `${fault}: ${details}` : fault;
}
