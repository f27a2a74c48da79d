// The bare engine's decode rate: full batches, greedy, no HTTP, no text, no scheduler.
import path from 'node:path';
import { loadConfig } from '../../src/config.ts';
import type { SlotId } from '../../src/engine/batch.ts';
import { Engine } from '../../src/engine/engine.ts';
import { createSampler } from '../../src/engine/sampler.ts';
import { GREEDY } from '../../src/generation.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { ensureServingFiles } from '../../src/import/serving-files.ts';

export interface EngineRateOptions {
  dir: string;
  slots: number;
  maxSeq: number;
  /** Steps that are timed. */
  tokens: number;
}

/** As long as the load generator's prompts. */
const PROMPT_TOKENS = 36;

/** Tokens per second of all rows together. */
export async function measureEngineRate(options: EngineRateOptions): Promise<number> {
  const { dir, slots, maxSeq, tokens } = options;
  const artifact = readArtifact(dir);
  const { home, weights } = loadConfig();
  const servingDir = await ensureServingFiles(artifact, {
    weights,
    cacheDir: path.join(home, 'cache'),
  });
  artifact.tensors.close();
  const engine = await Engine.create({ servingDir, slotCount: slots, maxSeqLength: maxSeq });
  const { vocabSize } = engine.info;
  const rows = Array.from({ length: slots }, (_, slot) => {
    const promptIds = Array.from({ length: PROMPT_TOKENS }, (_, i) => 300 + slot * 50 + i);
    return {
      slot: slot as SlotId,
      promptIds,
      sampler: createSampler(GREEDY, { promptIds, vocabSize }),
    };
  });
  for (const { slot, promptIds } of rows) {
    const chunk = { tokenIds: promptIds, pastLength: 0, sampler: undefined, scoring: undefined };
    await engine.run({ kind: 'prefill', slot, adapter: undefined, ...chunk });
  }
  const startedMs = performance.now();
  for (let step = 0; step < tokens; step++) {
    await engine.run({
      kind: 'decode',
      rows: rows.map(({ promptIds, sampler }) => ({
        adapter: undefined,
        tokenId: promptIds[step % PROMPT_TOKENS]!,
        pastLength: PROMPT_TOKENS + step,
        sampler,
      })),
    });
  }
  const rate = (slots * tokens * 1000) / (performance.now() - startedMs);
  await engine.release();
  return rate;
}
