// Composes what a step loop runs: the engine, and the cache of adapters for its model. The same in the
// engine process and in a test's own process.
import { AdapterCache } from '../../adapters/cache/cache.ts';
import { createAdapterLoader } from '../../adapters/cache/load.ts';
import { MAX_RANK } from '../../adapters/peft/peft-config.ts';
import { Engine, type EngineOptions } from '../engine/engine.ts';
import type { EngineLogLine } from './protocol.ts';
import type { StepLoopOptions } from './step-loop.ts';

/** Plain JSON: it crosses to the engine process. */
export interface EngineHostOptions {
  readonly engine: EngineOptions;
  /** For adapters in memory, leased or idle. */
  readonly adapterCacheBytes: number;
  /** Of an adapter, and of a composition's terms together; default: the most that a file may have. */
  readonly maxAdapterRank?: number;
  readonly limits?: NonNullable<StepLoopOptions['limits']>;
}

/** Throws `ConfigError` or `FileError` where the options do not fit the model or the machine. */
export async function createEngineHost(
  {
    engine: engineOptions,
    adapterCacheBytes,
    maxAdapterRank = MAX_RANK,
    limits = {},
  }: EngineHostOptions,
  log: (line: EngineLogLine) => void,
): Promise<StepLoopOptions> {
  const engine = await Engine.create(engineOptions);
  const adapters = new AdapterCache({
    capacityBytes: adapterCacheBytes,
    openAdapter: createAdapterLoader(engine.config, {
      maxRank: maxAdapterRank,
      canHold: (size) => engine.canAttach([size]),
    }),
    onFailure: ({ digest }, error) => {
      const fields = { digest, reason: error instanceof Error ? error.message : String(error) };
      log({ type: 'log', level: 'warn', message: 'adapter not loaded', fields });
    },
  });
  return { engine, adapters, limits };
}
