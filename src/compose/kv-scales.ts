// Calibrates a base for an int8 KV cache, once, and keeps the scales beside its serving files.
import { rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { CALIBRATION_TEXT, CALIBRATION_TOKENS } from '../calibration/text.ts';
import { measureKvMaxima } from '../engine/kv-maxima.ts';
import { calibratedScales, KV_SCALES_FILE } from '../model/kv-scales.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';

/** The folders of a base and its serving files. */
interface KvScalesRequest {
  readonly artifactDir: string;
  readonly servingDir: string;
  /** Threads of the runtime. Default: one per core. */
  readonly intraOpThreads?: number | undefined;
}

/** Writes the scales. Resolves to false if the base has no tokenizer, without which it cannot read the text. */
export async function measureKvScales(request: KvScalesRequest): Promise<boolean> {
  const { artifactDir, servingDir, intraOpThreads } = request;
  const tokenizer = await loadTokenizer(artifactDir);
  if (!tokenizer) return false;
  const tokenIds = tokenizer.encode(CALIBRATION_TEXT, { specials: false });
  const runtime = intraOpThreads ? { intraOpThreads } : {};
  const read = tokenIds.slice(0, CALIBRATION_TOKENS);
  const layers = await measureKvMaxima(servingDir, read, runtime);
  const file = path.join(servingDir, KV_SCALES_FILE);
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, calibratedScales(layers));
  await rename(temporary, file);
  return true;
}
