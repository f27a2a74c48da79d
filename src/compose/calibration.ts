// Calibrates a base on a fixed text: the row form of its int8 linears when its serving files are built, and the scales of an
// int8 KV cache at the first start that needs them.
import { rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { CALIBRATION_TEXT, CALIBRATION_TOKENS } from '../calibration/text.ts';
import { measureInputMaxima, measureKvMaxima } from '../engine/calibration.ts';
import type { RuntimeOptions } from '../engine/graph-sessions.ts';
import type { Calibrate } from '../import/serving-files.ts';
import { calibratedScales, KV_SCALES_FILE } from '../model/kv-scales.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';

/** The base's folder, for its tokenizer, and the options of the runtime. */
interface CalibrationRequest {
  readonly artifactDir: string;
  readonly runtime: RuntimeOptions;
}

/** Returns the function that measures a base's linears. A base without a tokenizer cannot be measured. */
export function calibrator({ artifactDir, runtime }: CalibrationRequest): Calibrate {
  return async (servingDir) => {
    const tokenIds = await calibrationTokens(artifactDir);
    return tokenIds && measureInputMaxima(servingDir, tokenIds, runtime);
  };
}

/** Writes the scales of an int8 cache to a serving folder. Resolves to false if the base has no tokenizer. */
export async function measureKvScales(
  servingDir: string,
  { artifactDir, runtime }: CalibrationRequest,
): Promise<boolean> {
  const tokenIds = await calibrationTokens(artifactDir);
  if (!tokenIds) return false;
  const layers = await measureKvMaxima(servingDir, tokenIds, runtime);
  const file = path.join(servingDir, KV_SCALES_FILE);
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, calibratedScales(layers));
  await rename(temporary, file);
  return true;
}

async function calibrationTokens(artifactDir: string): Promise<readonly number[] | undefined> {
  const tokenizer = await loadTokenizer(artifactDir);
  const tokenIds = tokenizer?.encode(CALIBRATION_TEXT, { specials: false });
  return tokenIds?.slice(0, CALIBRATION_TOKENS);
}
