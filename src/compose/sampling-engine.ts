// Samples completions of an adapter in training, by an engine in the trainer's process, and answers the questions of graders.
import { readAdapterFiles } from '../../adapters/peft/files.ts';
import type { CompletionSampler, SampledPrompt } from '../../trainer/run/reinforcement.ts';
import { ConfigError } from '../common/errors.ts';
import { lazy } from '../common/lazy.ts';
import { type CompiledConstraint, GREEDY, type SamplingParams } from '../contracts/generation.ts';
import { toNumericParams } from '../contracts/sampling-fields.ts';
import type { RunPython } from '../graders/grade.ts';
import { PythonGraders } from '../graders/python.ts';
import { constraintCompiler } from '../grammar/compiler.ts';
import { GrammarError } from '../grammar/grammar-error.ts';
import type { ProgramContext } from './context.ts';
import { type LocalEngine, toSource, withEngine } from './local-engine.ts';
import { LocalRoutes } from './local-routes.ts';

/** The owner of a run, and the models that its grader asks. */
interface GraderModels {
  readonly tenant: string;
  readonly models: readonly string[];
  readonly usesPython: boolean;
}

/**
 * Runs the work with an engine of the configured base that samples completions. A completion depends on its request alone, so a
 * resumed run samples the same ones. Throws `ConfigError` if the tenant may not use one of the models, or if
 * Python is needed and does not run.
 */
export function withSamplingEngine<T>(
  { tenant, models, usesPython }: GraderModels,
  context: ProgramContext,
  work: (sampler: CompletionSampler) => Promise<T>,
): Promise<T> {
  return withEngine({ context, isInvariant: true }, async (engine) => {
    const routes = lazy(() => LocalRoutes.open(engine, { tenant, context }));
    try {
      for (const model of models) await (await routes.get()).check(model);
      const python = usesPython ? await openPython(context.config) : undefined;
      const runPython: RunPython | undefined =
        python && ((source, values) => python.run(source, values));
      const post: CompletionSampler['post'] = async (url, body) =>
        (await routes.get()).post(url, body);
      return await work(new SamplingEngine(engine, { post, runPython }));
    } finally {
      await (await routes.peek())?.close();
    }
  });
}

async function openPython({ pythonGraders }: ProgramContext['config']): Promise<PythonGraders> {
  if (pythonGraders !== undefined) return PythonGraders.open(pythonGraders);
  throw new ConfigError('grader: is in Python, which needs LORIKEET_PYTHON_GRADERS');
}

/** Temperature 1 and nothing else, so a token is drawn with the probability that the model gives it. */
const PURE: SamplingParams = { ...GREEDY, ...toNumericParams({}), topLogprobs: 0 };

/** Samples completions. */
class SamplingEngine implements CompletionSampler {
  readonly #engine: LocalEngine;
  readonly post: CompletionSampler['post'];
  readonly runPython: CompletionSampler['runPython'];

  constructor(
    engine: LocalEngine,
    { post, runPython }: Pick<CompletionSampler, 'post' | 'runPython'>,
  ) {
    this.#engine = engine;
    this.post = post;
    this.runPython = runPython;
  }

  async use(directory: string): Promise<void> {
    const { digest } = await readAdapterFiles(directory);
    this.#engine.adapter = toSource(digest, directory);
  }

  async sample({ promptIds, maxTokens, seed, constraint: given }: SampledPrompt) {
    const room = this.#engine.roomAfter(promptIds);
    if (room < 1) {
      throw new ConfigError(
        `maxLength: a prompt has ${promptIds.length} tokens, more than the engine holds`,
      );
    }
    const constraint = given && (await compile(given));
    const { ids, logProbs, reason } = await this.#engine.generate({
      promptIds,
      maxTokens: Math.min(maxTokens, room),
      includesStopToken: true,
      sampling: { ...PURE, seed },
      ...(constraint && { constraint }),
    });
    return { ids, logProbs, isWhole: reason === 'stop' };
  }
}

async function compile(
  constraint: NonNullable<SampledPrompt['constraint']>,
): Promise<CompiledConstraint> {
  try {
    return await constraintCompiler.compile(constraint);
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    throw new ConfigError(`data: tools cannot be enforced: ${error.path} ${error.message}`);
  }
}
