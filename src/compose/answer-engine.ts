// Answers questions with an adapter, by an engine in this process.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CONFIG_FILE, WEIGHTS_FILE } from '../../adapters/peft/files.ts';
import type { ServedAdapter } from '../../trainer/commands/eval.ts';
import type { AnswerModel, AnswerRequest } from '../../trainer/evaluation/answers.ts';
import type { AddedTokens } from '../contracts/added-tokens.ts';
import { GREEDY } from '../contracts/generation.ts';
import { constraintCompiler } from '../grammar/compiler.ts';
import type { ProgramContext } from './context.ts';
import { type LocalEngine, toSource, withEngine } from './local-engine.ts';

/**
 * Runs the work with an engine of the configured base and this adapter. Throws `ConfigError` or `FileError` if they do not fit
 * the machine, `ServeError` for an adapter that cannot be served.
 */
export async function withAnswerModel<T>(
  { files, addedTokens }: Pick<ServedAdapter, 'files' | 'addedTokens'>,
  context: ProgramContext,
  work: (model: AnswerModel) => Promise<T>,
): Promise<T> {
  const directory = await mkdtemp(path.join(tmpdir(), 'lorikeet-eval-'));
  try {
    await writeFile(path.join(directory, CONFIG_FILE), files.configBytes);
    await writeFile(path.join(directory, WEIGHTS_FILE), files.weightsBytes);
    return await withEngine({ context, addedTokens }, async (engine) => {
      engine.adapter = toSource(files.digest, directory);
      return work(new AnswerEngine(engine, addedTokens));
    });
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** Answers questions greedily. */
class AnswerEngine implements AnswerModel {
  readonly #engine: LocalEngine;
  readonly #addedTokens: AddedTokens | undefined;

  constructor(engine: LocalEngine, addedTokens: AddedTokens | undefined) {
    this.#engine = engine;
    this.#addedTokens = addedTokens;
  }

  async answer({ promptIds, maxTokens, constraint: given }: AnswerRequest) {
    const room = this.#engine.roomAfter(promptIds);
    if (room < 1) return undefined;
    const constraint = given && (await constraintCompiler.compile(given));
    const addedTokens = this.#addedTokens;
    const { ids, reason } = await this.#engine.generate({
      promptIds,
      maxTokens: Math.min(maxTokens, room),
      sampling: GREEDY,
      ...(constraint && { constraint, ...(addedTokens && { addedTokens }) }),
    });
    return reason === 'stop' ? ids : undefined;
  }
}
