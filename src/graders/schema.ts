// The schema of graders. `label_model` is refused by name; `python` is refused separately, because it depends on a setting.
import { z } from 'zod';
import { ConfigError, ServeError } from '../common/errors.ts';
import { addIssue, addUnsupported, parseInside, type Refine } from '../common/schema-issues.ts';
import { SAMPLING_FIELDS } from '../contracts/sampling-fields.ts';
import { parseFormula } from './formula.ts';
import { checkTemplate, GraderError, MAX_GRADED_TEXT, unknownName } from './template.ts';
import { TEXT_METRICS } from './text-similarity.ts';

/** OpenAI's examples have up to five. */
const MAX_GRADERS = 32;
const MAX_MESSAGES = 64;
/** OpenAI's. */
const MAX_SOURCE_CHARS = 256_000;
/** Rewards are compared by their variance, and the square of this is still finite in float32. */
const MAX_SCORE = 1e18;
/** The largest whole number that JSON carries exactly. */
const MAX_INTEGER = Number.MAX_SAFE_INTEGER;

const score = z.number().min(-MAX_SCORE).max(MAX_SCORE);

/** Runs a check, and reports its error at the field. */
function checked(ctx: Refine, check: () => unknown, path: PropertyKey[] = []): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof GraderError)) throw error;
    addIssue(ctx, error.message, path);
  }
}

const template = z
  .string()
  .max(MAX_GRADED_TEXT)
  .superRefine((text, ctx) => checked(ctx, () => checkTemplate(text)));

const common = {
  name: z.string().min(1).max(256),
  /** From evaluations. A reward has no threshold. */
  pass_threshold: score.nullish(),
};

const stringCheckSchema = z.strictObject({
  ...common,
  type: z.literal('string_check'),
  input: template,
  reference: template,
  operation: z.enum(['eq', 'ne', 'like', 'ilike']),
});

const textSimilaritySchema = z.strictObject({
  ...common,
  type: z.literal('text_similarity'),
  input: template,
  reference: template,
  evaluation_metric: z.enum([...TEXT_METRICS, 'cosine']),
});

const textPart = z.strictObject({ type: z.enum(['input_text', 'output_text']), text: template });

const messageSchema = z.strictObject({
  type: z.literal('message').optional(),
  role: z.enum(['user', 'assistant', 'system', 'developer']),
  content: z
    .union([template, textPart, z.array(z.union([template, textPart])).max(MAX_MESSAGES)])
    .transform((content) =>
      [content]
        .flat()
        .map((part) => (typeof part === 'string' ? part : part.text))
        .join('\n'),
    ),
});

const scoreModelSchema = z.strictObject({
  ...common,
  type: z.literal('score_model'),
  model: z.string().min(1).max(512),
  input: z.array(messageSchema).min(1).max(MAX_MESSAGES),
  range: z
    .tuple([score, score])
    .refine(([low, high]) => low < high, { message: 'must be a lower and a higher number' })
    .nullish(),
  sampling_params: z
    .strictObject({
      temperature: SAMPLING_FIELDS.temperature.schema.nullish(),
      top_p: SAMPLING_FIELDS.top_p.schema.nullish(),
      seed: z.int().min(-MAX_INTEGER).max(MAX_INTEGER).nullish(),
      max_completions_tokens: z.int().min(1).max(MAX_INTEGER).nullish(),
      reasoning_effort: z.string().nullish(),
    })
    .nullish(),
});

const pythonSchema = z.strictObject({
  ...common,
  type: z.literal('python'),
  source: z.string().min(1).max(MAX_SOURCE_CHARS),
  /** Names an image of OpenAI's. The operator's Python decides which packages there are. */
  image_tag: z.string().nullish(),
});

/** The schema of a grader other than `multi`. */
export const singleSchema = z.discriminatedUnion('type', [
  stringCheckSchema,
  textSimilaritySchema,
  scoreModelSchema,
  pythonSchema,
]);

/** A grader other than `multi`. */
export type SingleGrader = z.infer<typeof singleSchema>;

/** Reads a grader, and refuses the kind of OpenAI's that this server lacks. */
function readGrader<T>(schema: z.ZodType<T>, grader: unknown, ctx: Refine): T {
  const { type } = (grader ?? {}) as { type?: unknown };
  if (type === 'label_model') {
    const message = 'label_model graders are not supported by this server';
    return addUnsupported(ctx, message, ['type']);
  }
  return parseInside(schema, grader, ctx) ?? z.NEVER;
}

const partSchema = z
  .unknown()
  .transform((grader, ctx): SingleGrader => readGrader(singleSchema, grader, ctx));

const listSchema = z
  .array(partSchema)
  .min(1)
  .max(MAX_GRADERS)
  .refine((graders) => new Set(graders.map(({ name }) => name)).size === graders.length, {
    message: 'must have different names',
  })
  .transform((graders) => Object.fromEntries(graders.map((grader) => [grader.name, grader])));

const namedSchema = z
  .record(z.string().regex(/^[A-Za-z_]\w*$/), partSchema)
  .refine((graders) => Object.keys(graders).length <= MAX_GRADERS, {
    message: `must have at most ${MAX_GRADERS} graders`,
  });

/** Graders by the names that formulas use: of a list, of a single grader, or by their keys. */
const partsSchema = z
  .unknown()
  .transform((graders, ctx): Readonly<Record<string, SingleGrader>> => {
    const isSingle = typeof (graders as { type?: unknown } | null)?.type === 'string';
    const list = isSingle ? [graders] : graders;
    const schema: z.ZodType<Record<string, SingleGrader>> = Array.isArray(list)
      ? listSchema
      : namedSchema;
    return parseInside(schema, list, ctx) ?? z.NEVER;
  });

/** The schema of a grader that combines others. */
export const multiSchema = z
  .strictObject({
    ...common,
    type: z.literal('multi'),
    graders: partsSchema,
    calculate_output: z.string().max(MAX_GRADED_TEXT),
  })
  .superRefine(({ graders, calculate_output: formula }, ctx) => {
    const names = new Set(Object.keys(graders));
    checked(ctx, () => parseFormula(formula, names), ['calculate_output']);
  });

/** A checked grader. */
export type Grader = SingleGrader | z.infer<typeof multiSchema>;

/** OpenAI's range of the scores of a model. */
export const DEFAULT_RANGE = [0, 1] as const;

/** Returns the highest reward of a grader. For Python, whose scores are not declared, it is 1, as for the other graders. */
export function highestReward(grader: Grader): number {
  if (grader.type === 'score_model') return (grader.range ?? DEFAULT_RANGE)[1];
  if (grader.type !== 'multi') return 1;
  const highest = Object.entries(grader.graders).map(([name, part]) => [name, highestReward(part)]);
  const formula = parseFormula(grader.calculate_output, new Set(Object.keys(grader.graders)));
  return formula(Object.fromEntries(highest));
}

/** Returns the graders of a grader, and where their fields are: in itself, or below a path such as `graders.a.`. */
function partsOf(grader: Grader): readonly (readonly [path: string, part: SingleGrader])[] {
  if (grader.type !== 'multi') return [['', grader]];
  return Object.entries(grader.graders).map(([name, part]) => [`graders.${name}.`, part]);
}

/** Returns the models that a grader asks, each with the first field that names it, such as `model` or `graders.a.model`. */
export function modelsOf(grader: Grader): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  for (const [path, part] of partsOf(grader)) {
    if (part.type !== 'score_model' || fields.has(part.model)) continue;
    fields.set(part.model, `${path}model`);
  }
  return fields;
}

function templatesOf(grader: SingleGrader): readonly string[] {
  if (grader.type === 'python') return [];
  if (grader.type === 'score_model') return grader.input.map(({ content }) => content);
  return [grader.input, grader.reference];
}

/** Throws `ConfigError` if the templates of a job's grader name a value that none of its rows has. */
export function refuseUnknownItem(grader: Grader, items: readonly unknown[]): void {
  for (const template of partsOf(grader).flatMap(([, part]) => templatesOf(part))) {
    const name = unknownName(template, items);
    if (name !== undefined)
      throw new ConfigError(`grader: names {{${name}}}, which no training row has`);
  }
}

/** Whether a grader asks a model, or for embeddings. */
export function asksModels(grader: Grader): boolean {
  return partsOf(grader).some(
    ([, part]) =>
      part.type === 'score_model' ||
      (part.type === 'text_similarity' && part.evaluation_metric === 'cosine'),
  );
}

/** Returns the field that says that a grader is in Python, such as `type` or `graders.a.type`. */
export function pythonField(grader: Grader): string | undefined {
  const [path] = partsOf(grader).find(([, { type }]) => type === 'python') ?? [];
  return path === undefined ? undefined : `${path}type`;
}

/** Returns the sources of graders in Python, each with its field, such as `source` or `graders.a.source`. */
export function sourcesOf(grader: Grader): readonly (readonly [field: string, source: string])[] {
  return partsOf(grader).flatMap(([path, part]) =>
    part.type === 'python' ? [[`${path}source`, part.source] as const] : [],
  );
}

/** Why graders in Python are refused by default. */
export const PYTHON_OFF =
  'python graders are off on this server. Its operator can allow them with --python-graders.';

/** Throws `ServeError` if a grader is in Python. @param field of the request, which has the grader */
export function refusePython(grader: Grader, field: string, reason = PYTHON_OFF): void {
  const inside = pythonField(grader);
  if (inside === undefined) return;
  const param = `${field}.${inside}`;
  throw new ServeError('unsupported_parameter', `${param}: ${reason}`, { param });
}

/** The schema of a grader. */
export const graderSchema = z.unknown().transform((grader, ctx): Grader => {
  const isMulti = (grader as { type?: unknown } | null)?.type === 'multi';
  const schema: z.ZodType<Grader> = isMulti ? multiSchema : singleSchema;
  return readGrader(schema, grader, ctx);
});
