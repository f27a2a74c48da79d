// Calibrates a base on a fixed text: the per-token form of its int8 linears when its serving files are built, and the scales of
// an int8 KV cache at the first start that needs them.
import { rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { CALIBRATION_TEXT, CALIBRATION_TOKENS } from '../calibration/text.ts';
import { measureInputs, measureKvMaxima } from '../engine/calibration.ts';
import type { RuntimeOptions } from '../engine/graph-sessions.ts';
import type { Calibration } from '../import/serving-files.ts';
import { calibratedScales, KV_SCALES_FILE } from '../model/kv-scales.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';

/** The base's folder, for its tokenizer, the options of the runtime, and the signal that ends the program. */
export interface CalibrationRequest {
  readonly artifactDir: string;
  readonly runtime: RuntimeOptions;
  readonly signal?: AbortSignal;
}

/** Returns the measurement that the per-token form needs. Undefined if the base has no tokenizer. */
export async function perTokenCalibration({
  artifactDir,
  ...options
}: CalibrationRequest): Promise<Calibration | undefined> {
  const tokenIds = await calibrationTokens(artifactDir);
  if (!tokenIds) return undefined;
  return (servingDir, onRead) => measureInputs(servingDir, tokenIds, { ...options, onRead });
}

/** Writes the scales of an int8 cache to a serving folder. Resolves with false if the base has no tokenizer. */
export async function measureKvScales(
  servingDir: string,
  { artifactDir, ...options }: CalibrationRequest,
): Promise<boolean> {
  const tokenIds = await calibrationTokens(artifactDir);
  if (!tokenIds) return false;
  const layers = await measureKvMaxima(servingDir, tokenIds, options);
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
