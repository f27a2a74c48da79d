// The numeric sampling parameters of a request, one row each. Request schemas, generation_config.json, the engine's parameters
// and the playground follow from the rows.
import { z } from 'zod';

interface SamplingField {
  /** The name of the engine's parameter. */
  readonly param: string;
  /** The neutral value. */
  readonly neutral: number;
  readonly schema: z.ZodNumber;
  readonly help: string;
  /** Its name on the pages. */
  readonly label: string;
  /** Whether a model's generation_config.json can set it. */
  readonly isModelDefault?: true;
  /** Whether OpenAI's clients support it. */
  readonly isOpenAi?: true;
  /** Whether the playground shows it under "More parameters". */
  readonly isAdvanced?: true;
}

/** It divides the logits of repeated tokens. Those are then almost 0, and a larger penalty changes nothing. */
const MAX_REPETITION_PENALTY = 1000;

/** All rows by the name of the request field. */
export const SAMPLING_FIELDS = {
  temperature: {
    param: 'temperature',
    neutral: 1,
    schema: z.number().min(0).max(2),
    help: '0 to 2; 0 picks the most likely token',
    label: 'Temperature',
    isModelDefault: true,
    isOpenAi: true,
  },
  top_p: {
    param: 'topP',
    neutral: 1,
    schema: z.number().gt(0).max(1),
    help: '0 < top_p <= 1',
    label: 'Top p',
    isModelDefault: true,
    isOpenAi: true,
  },
  top_k: {
    param: 'topK',
    neutral: 0,
    schema: z.int().min(-1),
    help: '0 and -1 mean all tokens',
    label: 'Top k',
    isModelDefault: true,
    isAdvanced: true,
  },
  min_p: {
    param: 'minP',
    neutral: 0,
    schema: z.number().min(0).max(1),
    help: 'Relative to the most likely token',
    label: 'Min p',
    isModelDefault: true,
    isAdvanced: true,
  },
  presence_penalty: {
    param: 'presencePenalty',
    neutral: 0,
    schema: z.number().min(-2).max(2),
    help: '-2 to 2',
    label: 'Presence penalty',
    isOpenAi: true,
    isAdvanced: true,
  },
  frequency_penalty: {
    param: 'frequencyPenalty',
    neutral: 0,
    schema: z.number().min(-2).max(2),
    help: '-2 to 2',
    label: 'Frequency penalty',
    isOpenAi: true,
    isAdvanced: true,
  },
  repetition_penalty: {
    param: 'repetitionPenalty',
    neutral: 1,
    schema: z.number().gt(0).max(MAX_REPETITION_PENALTY),
    help: `Above 0, at most ${MAX_REPETITION_PENALTY}; also counts the prompt`,
    label: 'Repetition penalty',
    isModelDefault: true,
    isAdvanced: true,
  },
} as const satisfies Record<string, SamplingField>;

type Fields = typeof SAMPLING_FIELDS;
/** The name of a request field. */
export type SamplingFieldName = keyof Fields;
/** The name of a field that generation_config.json can set. */
type ModelDefaultName = {
  [Name in SamplingFieldName]: Fields[Name] extends { isModelDefault: true } ? Name : never;
}[SamplingFieldName];

/** The engine's numeric parameters. `temperature` 0 is greedy; `topK` 0 keeps all tokens. */
export type NumericParams = { [Name in SamplingFieldName as Fields[Name]['param']]: number };

/** Returns the engine's parameters. A field without a value is neutral; `top_k` -1 means all. */
export function toNumericParams(
  body: Readonly<Partial<Record<SamplingFieldName, number | null | undefined>>>,
): NumericParams {
  const params = Object.entries(SAMPLING_FIELDS).map(([name, { param, neutral }]) => [
    param,
    body[name as SamplingFieldName] ?? neutral,
  ]);
  const numeric = Object.fromEntries(params) as NumericParams;
  return { ...numeric, topK: Math.max(numeric.topK, 0) };
}

/** Returns a value for each row. */
export function mapSamplingFields<Value>(
  toValue: (row: SamplingField) => Value,
): Record<SamplingFieldName, Value> {
  const entries = Object.entries(SAMPLING_FIELDS).map(([name, row]) => [name, toValue(row)]);
  return Object.fromEntries(entries) as Record<SamplingFieldName, Value>;
}

/** The schemas of the fields that generation_config.json can set. */
export const MODEL_DEFAULT_SCHEMAS = Object.fromEntries(
  Object.entries<SamplingField>(SAMPLING_FIELDS)
    .filter(([, { isModelDefault }]) => isModelDefault)
    .map(([name, { schema }]) => [name, schema]),
) as Record<ModelDefaultName, z.ZodNumber>;

/** A sampling field as the playground shows it. */
export interface SamplingFormField {
  /** As in the API. */
  readonly name: string;
  readonly label: string;
  readonly min?: number;
  readonly max?: number;
  readonly isInteger?: boolean;
  /** The default if the model has none. */
  readonly standard: string;
  /** Whether OpenAI's clients have it. */
  readonly isOpenAi?: boolean;
  /** Whether it is under "More parameters". */
  readonly isAdvanced?: boolean;
}
