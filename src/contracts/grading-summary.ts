// The graders of a step of reinforcement, summed over its completions. The trainer sends it, and the job keeps it in this form,
// because OpenAI's has dozens of fields per grader.

/** The errors of a grader that either happen or not, by OpenAI's names. */
export const GRADING_ERRORS = [
  'formula_parse_error',
  'sample_parse_error',
  'truncated_observation_error',
  'unresponsive_reward_error',
  'invalid_variable_error',
  'other_error',
  'python_grader_server_error',
  'python_grader_runtime_error',
  'model_grader_server_error',
  'model_grader_refusal_error',
  'model_grader_parse_error',
] as const;

/** One grader's results. */
interface GraderSummary {
  readonly name: string;
  readonly type: string;
  /** The model that it asks. */
  readonly model?: string | undefined;
  /** The mean. */
  readonly score: number;
  /** The mean. */
  readonly seconds: number;
  /** All tokens of the model's prompts and answers. */
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly errors: ErrorCounts;
}

/** The number of completions by OpenAI's names of the errors that happened. */
export type ErrorCounts = Readonly<Record<string, number>>;

/** The graders of the completions of a step, or of the validation rows. */
export interface GradingSummary {
  /** The number of completions. */
  readonly samples: number;
  /** Seconds to sample, grade and measure a validation. Absent: a step, whose profile is in its metrics. */
  readonly seconds?: number;
  /** Errors of any grader, and of the formula of `multi`. */
  readonly errors: ErrorCounts;
  readonly graders: readonly GraderSummary[];
}

/** The summaries of a step. */
export interface StepGrading {
  readonly trainGrading?: GradingSummary;
  /** Present if a validation followed the step. */
  readonly validGrading?: GradingSummary;
}
