// Chooses how attention computes several tokens of a sequence. Whole rows of scores take half of the time of tiles and do not
// depend on how a prompt is cut, but their memory grows with the context (docs/decisions/0026-same-answers.md).
import type { DecoderConfig } from '../model/config.ts';

/** The tokens of a chunk, unless the operator changes it. */
const CHUNK_TOKENS = 256;
/** Larger scores would take more memory than the speed is worth. */
const MAX_SCORES_BYTES = 2 ** 29;

/** Returns the bytes of one layer's scores for a chunk at the end of the context. 0 if they are computed in tiles. */
export function scoresBytes(
  { headCount }: DecoderConfig,
  maxSeqLength: number,
  chunkTokens = CHUNK_TOKENS,
): number {
  const perToken = Float32Array.BYTES_PER_ELEMENT * headCount * maxSeqLength;
  return CHUNK_TOKENS * perToken > MAX_SCORES_BYTES ? 0 : chunkTokens * perToken;
}

/** Makes the sessions that this process creates later compute whole rows of scores, unless these would be too large. */
export function chooseAttention(config: DecoderConfig, maxSeqLength: number): void {
  const isWhole = scoresBytes(config, maxSeqLength) > 0;
  process.env['ORT_GQA_DISABLE_FLASH_ATTENTION'] = isWhole ? '1' : '0';
}
