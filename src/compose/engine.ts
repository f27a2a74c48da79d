// Wires the engine process: the model's engine and its cache of adapters, run by a step loop.

import { AdapterCache } from '../../adapters/cache/cache.ts';
import { createAdapterLoader } from '../../adapters/cache/load.ts';
import { digestAdapterFiles } from '../../adapters/peft/files.ts';
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { adapterIdentity } from '../../adapters/registry/resolved.ts';
import { adaptedBaseIn } from '../adapted-base/adapted-base.ts';
import { assert } from '../common/assert.ts';
import { lazy } from '../common/lazy.ts';
import { endStartPhase } from '../common/start-phases.ts';
import type { EngineInfo } from '../contracts/engine.ts';
import type { GenerationRequest } from '../contracts/generation.ts';
import { SHARED_OWNER } from '../contracts/tenant.ts';
import { MAX_RANK } from '../contracts/training-settings.ts';
import { Engine, type EngineOptions } from '../engine/engine.ts';
import { NgramProposer } from '../scheduler/drafter.ts';
import { runEngineChild } from '../scheduler/engine-child.ts';
import type { StepLoopOptions } from '../scheduler/options.ts';
import type { EngineLogLine } from '../scheduler/protocol.ts';

/** The options of an engine process, as plain JSON. */
export interface EngineHostOptions {
  readonly engine: EngineOptions;
  /**
   * The base's artifact. Constraints need its tokenizer, and adapters that change more than linears need its weights. Default:
   * both are refused.
   */
  readonly artifactDir?: string;
  /** Limits the memory of loaded adapters, whether in use or idle. */
  readonly adapterCacheBytes: number;
  /** Folders of shared adapters that are loaded before the engine is ready, as far as they can be. Default: none. */
  readonly preload?: readonly string[];
  /** Limits the rank of an adapter, and the summed ranks of a composition. Default: the maximum for PEFT files. */
  readonly maxAdapterRank?: number;
  readonly limits?: NonNullable<StepLoopOptions['limits']>;
  /** How sequences draft. Default: `off`. */
  readonly drafts?: 'ngram' | 'off';
  /** Whether each completion must depend on its request alone. Needs `drafts` to be off. Default: false. */
  readonly isInvariant?: boolean;
}

function createNgramProposer({ promptIds, predictionIds }: GenerationRequest): NgramProposer {
  return new NgramProposer(promptIds, predictionIds);
}

/** Runs this process as an engine until its parent drains it. The process's arguments hold the options. */
export function runEngine(): Promise<void> {
  return runEngineChild(createEngineHost);
}

/**
 * Creates the engine and the adapter cache of a step loop.
 * Throws `ConfigError` or `FileError` if the options do not fit the model or the machine.
 */
export async function createEngineHost(
  {
    engine: engineOptions,
    artifactDir,
    adapterCacheBytes,
    preload = [],
    maxAdapterRank = MAX_RANK,
    limits = {},
    drafts = 'off',
    isInvariant = false,
  }: EngineHostOptions,
  log: (line: EngineLogLine) => void,
): Promise<StepLoopOptions> {
  const decoding = `${drafts} ${isInvariant}`;
  const engine = await Engine.create({ ...engineOptions, decoding });
  const adapters = new AdapterCache({
    capacityBytes: adapterCacheBytes,
    openAdapter: createAdapterLoader(engine.config, {
      maxRank: maxAdapterRank,
      canHold: (size) => engine.canAttach([size]),
      ...(artifactDir !== undefined && { base: adaptedBaseIn(artifactDir) }),
    }),
    onFailure: ({ digest }, error) => {
      const fields = { digest, reason: error instanceof Error ? error.message : String(error) };
      log({ type: 'log', level: 'warn', message: 'adapter not loaded', fields });
    },
  });
  await engine.prepareAdapters(loadFolders(adapters, preload));
  endStartPhase('adapters');
  const createProposer = drafts === 'ngram' ? createNgramProposer : undefined;
  const vocabularies = artifactDir === undefined ? {} : vocabularyUses(artifactDir, engine.info);
  return { engine, adapters, limits, isInvariant, createProposer, ...vocabularies };
}

/** Loads shared adapters, and returns the widest first, because all slots are as wide as it. */
async function loadFolders(
  adapters: AdapterCache,
  folders: readonly string[],
): Promise<AdapterWeights[]> {
  const loaded: AdapterWeights[] = [];
  for (const directory of folders) {
    try {
      const { digest } = await digestAdapterFiles(directory);
      const parts = [{ owner: SHARED_OWNER, directory, digest, weight: 1 }];
      const source = { digest: adapterIdentity(parts), owner: SHARED_OWNER, parts };
      using lease = await adapters.lease(source);
      loaded.push(lease.weights);
    } catch {} // a request that names it will get the reason
  }
  return loaded.sort((a, b) => b.rank - a.rank);
}

/**
 * The vocabulary is loaded for the first constraint or banned word. Loading takes 0.3 s, and memory that most servers don't
 * need.
 */
function vocabularyUses(
  artifactDir: string,
  { vocabSize }: EngineInfo,
): Pick<StepLoopOptions, 'createMatcher' | 'createBan'> {
  const grammars = lazy(async () => {
    const [{ loadTokenizer }, { Grammars }] = await Promise.all([
      import('../tokenizer/tokenizer.ts'),
      import('../grammar/grammars.ts'),
    ]);
    const tokenizer = await loadTokenizer(artifactDir);
    assert(tokenizer, 'the server refuses constraints for a model without a tokenizer');
    return new Grammars(tokenizer, vocabSize);
  });
  return {
    createMatcher: async (constraint, added, tenant) =>
      (await grammars.get()).createMatcher(constraint, added, tenant),
    createBan: async (words, added) => (await grammars.get()).createBan(words, added),
  };
}
