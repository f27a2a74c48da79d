// Runs graders on one output. Models, embeddings and Python are arguments. A grader that fails scores 0, and its error is reported.
import { setImmediate } from 'node:timers/promises';
import { assert } from '../common/assert.ts';
import { GRADING_ERRORS } from '../contracts/grading-summary.ts';
import { parseFormula } from './formula.ts';
import { DEFAULT_RANGE, type Grader, type SingleGrader } from './schema.ts';
import { fillTemplate, type GradedValues, GraderError } from './template.ts';
import { type TextMetric, textSimilarity } from './text-similarity.ts';

type Kind<Type extends SingleGrader['type']> = Extract<SingleGrader, { type: Type }>;

/** A request to a model: messages whose templates are filled in. */
export interface ModelQuestion extends Omit<Kind<'score_model'>, 'input'> {
  readonly messages: readonly { readonly role: string; readonly content: string }[];
}

/** The calls that some graders make. They throw `ModelCallError`. */
export interface GraderCalls {
  /** Returns a vector per text. */
  embed(texts: readonly string[]): Promise<readonly (readonly number[])[]>;
  /** Returns the model's answer: JSON with `result`, unless it was cut off. */
  ask(question: ModelQuestion): Promise<TokenCounts & { readonly text: string }>;
  /** Returns the score of a source in Python. Throws `PythonError`. Absent: no grader is in Python. */
  readonly runPython?: RunPython | undefined;
}

/** Runs the source of a grader on an output. */
export type RunPython = (source: string, values: GradedValues) => Promise<number>;

/** The tokens of an asked model. */
interface TokenCounts {
  readonly promptTokens: number;
  readonly completionTokens: number;
}

/** A model or the embeddings did not answer. */
export class ModelCallError extends Error {
  override name = 'ModelCallError';
}

/** The code of a grader failed (`runtime`), or could not be run (`server`). */
export class PythonError extends Error {
  override name = 'PythonError';
  readonly kind: 'runtime' | 'server';

  constructor(kind: PythonError['kind'], message: string) {
    super(message);
    this.kind = kind;
  }
}

/** The errors of a run, by OpenAI's names, and their details. */
interface GradingErrors extends Record<(typeof GRADING_ERRORS)[number], boolean> {
  python_grader_server_error_type: string | null;
  python_grader_runtime_error_details: string | null;
  model_grader_server_error_details: string | null;
}

const NO_ERRORS: GradingErrors = {
  ...(Object.fromEntries(GRADING_ERRORS.map((name) => [name, false])) as Record<
    (typeof GRADING_ERRORS)[number],
    boolean
  >),
  python_grader_server_error_type: null,
  python_grader_runtime_error_details: null,
  model_grader_server_error_details: null,
};

/** The result of a grader that is not `multi`. */
interface GradedPart extends TokenCounts {
  readonly name: string;
  readonly type: SingleGrader['type'];
  /** The model that it asked. */
  readonly model: string | undefined;
  readonly score: number;
  readonly errors: GradingErrors;
  readonly seconds: number;
}

/** The result of a grader. */
export interface Graded {
  readonly reward: number;
  /** The scores of the graders of `multi`, by name; of another grader, its own. */
  readonly scores: Readonly<Record<string, number>>;
  readonly errors: GradingErrors;
  /** Tokens by model. */
  readonly tokens: Readonly<Record<string, number>>;
  /** The graders of `multi`, or the grader itself. */
  readonly parts: readonly GradedPart[];
}

/** Grades an output. */
export async function grade(
  grader: Grader,
  values: GradedValues,
  calls: GraderCalls,
): Promise<Graded> {
  if (grader.type !== 'multi') {
    const part = await new Grading(values, calls).grade(grader.name, grader);
    return { reward: part.score, ...merge([part]) };
  }
  const parts: GradedPart[] = [];
  for (const [name, part] of Object.entries(grader.graders)) {
    parts.push(await new Grading(values, calls).grade(name, part));
    await setImmediate(); // a comparison of long texts blocks the event loop for milliseconds
  }
  const { scores, errors, ...merged } = merge(parts);
  const reward = parseFormula(grader.calculate_output, new Set(Object.keys(scores)))(scores);
  if (Number.isFinite(reward)) return { reward, scores, errors, ...merged };
  return { reward: 0, scores, errors: { ...errors, other_error: true }, ...merged };
}

function merge(parts: readonly GradedPart[]): Omit<Graded, 'reward'> {
  const tokens: Record<string, number> = {};
  const errors = { ...NO_ERRORS };
  for (const { model, promptTokens, completionTokens, errors: own } of parts) {
    const count = promptTokens + completionTokens;
    if (model !== undefined && count > 0) tokens[model] = (tokens[model] ?? 0) + count;
    Object.assign(errors, Object.fromEntries(Object.entries(own).filter(([, error]) => error)));
  }
  const scores = Object.fromEntries(parts.map(({ name, score }) => [name, score]));
  return { scores, errors, tokens, parts };
}

/** Runs one grader. */
class Grading {
  readonly #values: GradedValues;
  readonly #calls: GraderCalls;
  readonly #errors = { ...NO_ERRORS };
  #tokens: TokenCounts = { promptTokens: 0, completionTokens: 0 };

  constructor(values: GradedValues, calls: GraderCalls) {
    this.#values = values;
    this.#calls = calls;
  }

  async grade(name: string, grader: SingleGrader): Promise<GradedPart> {
    const startMs = performance.now();
    const score = await this.#scoreOrFault(grader);
    return {
      name,
      type: grader.type,
      model: grader.type === 'score_model' ? grader.model : undefined,
      score,
      errors: this.#errors,
      ...this.#tokens,
      seconds: (performance.now() - startMs) / 1000,
    };
  }

  async #scoreOrFault(grader: SingleGrader): Promise<number> {
    try {
      return await this.#score(grader);
    } catch (error) {
      if (error instanceof GraderError) this.#errors[error.kind] = true;
      else if (error instanceof ModelCallError) {
        this.#errors.model_grader_server_error = true;
        this.#errors.model_grader_server_error_details = `${grader.name}: ${error.message}`;
      } else if (error instanceof PythonError) {
        const key =
          error.kind === 'server'
            ? 'python_grader_server_error_type'
            : 'python_grader_runtime_error_details';
        this.#errors[`python_grader_${error.kind}_error`] = true;
        this.#errors[key] = `${grader.name}: ${error.message}`;
      } else throw error;
      return 0;
    }
  }

  async #score(grader: SingleGrader): Promise<number> {
    switch (grader.type) {
      case 'string_check':
        return OPERATIONS[grader.operation](this.#fill(grader.input), this.#fill(grader.reference))
          ? 1
          : 0;
      case 'text_similarity':
        return this.#similarity(grader);
      case 'score_model':
        return this.#ask(grader);
      case 'python': {
        const { runPython } = this.#calls;
        assert(runPython, 'graders in Python are refused before');
        return runPython(grader.source, this.#values);
      }
    }
  }

  #fill(template: string): string {
    return fillTemplate(template, this.#values);
  }

  async #similarity(grader: Kind<'text_similarity'>): Promise<number> {
    const { evaluation_metric: metric } = grader;
    const [text, reference] = [this.#fill(grader.input), this.#fill(grader.reference)];
    if (metric !== 'cosine') return textSimilarity(metric as TextMetric, text, reference);
    // An empty text has no embedding.
    if (text === '' || reference === '') return text === reference ? 1 : 0;
    const [a, b] = await this.#calls.embed([text, reference]);
    return cosine(a!, b!);
  }

  async #ask({ input, ...grader }: Kind<'score_model'>): Promise<number> {
    const messages = input.map(({ role, content }) => ({ role, content: this.#fill(content) }));
    const { text, ...tokens } = await this.#calls.ask({ ...grader, messages });
    this.#tokens = tokens;
    const result = resultOf(text);
    if (result === undefined) {
      this.#errors.model_grader_parse_error = true;
      return 0;
    }
    const [low, high] = grader.range ?? DEFAULT_RANGE;
    return Math.min(high, Math.max(low, result));
  }
}

const OPERATIONS: Readonly<
  Record<Kind<'string_check'>['operation'], (text: string, reference: string) => boolean>
> = {
  eq: (text, reference) => text === reference,
  ne: (text, reference) => text !== reference,
  like: (text, reference) => text.includes(reference),
  ilike: (text, reference) => text.toLowerCase().includes(reference.toLowerCase()),
};

function resultOf(text: string): number | undefined {
  try {
    const { result } = JSON.parse(text) as { result?: unknown };
    return typeof result === 'number' && Number.isFinite(result) ? result : undefined;
  } catch {
    return undefined;
  }
}

function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, value, i) => sum + value * y[i]!, 0);
  const lengths = Math.sqrt(dot(a, a) * dot(b, b));
  return lengths === 0 ? 0 : dot(a, b) / lengths;
}
