// The inputs of a micro-batch that every block reads: positions, rotary tables and the attention mask.
import type { DecoderConfig, LayerAttention } from '../../src/model/config.ts';
import { isLong, type Rope, ropeTables } from '../../src/model/rope.ts';
import { hostTensor, type OrtTensor } from '../../src/ort/tensor.ts';
import { lastInvocation } from '../data/invocation.ts';
import { BATCH_INPUTS } from '../graph/inputs.ts';
import type { MicroBatch } from '../types.ts';
import type { Workspace } from './workspace.ts';

/** The tensors of `BATCH_INPUTS`. */
export class BatchInputs {
  readonly #config: DecoderConfig;
  readonly #invocation: readonly number[] | undefined;
  readonly #workspace: Workspace;
  /** The tables of each rotary embedding. */
  readonly #tables = new Map<Rope, { cos: OrtTensor; sin: OrtTensor }>();

  /** @param invocation the token ids after whose last occurrence the adapter applies; undefined: it always applies */
  constructor(
    config: DecoderConfig,
    workspace: Workspace,
    invocation: readonly number[] | undefined,
  ) {
    this.#config = config;
    this.#invocation = invocation;
    this.#workspace = workspace;
  }

  /** Fills the tensors for a batch and returns them by name. */
  fill(batch: MicroBatch): ReadonlyMap<string, OrtTensor> {
    const { rows, length } = batch;
    const shape = this.#workspace.tensor(BATCH_INPUTS.shape, 'int64', [3]);
    shape.data.set([BigInt(rows), BigInt(length), -1n]);
    const positions = this.#workspace.tensor(BATCH_INPUTS.positions, 'int64', [rows, length]);
    positions.data.set(BigInt64Array.from(batch.positions, BigInt));
    const inputs = new Map<string, OrtTensor>([
      [BATCH_INPUTS.shape, shape],
      [BATCH_INPUTS.positions, positions],
    ]);
    if (this.#invocation) {
      inputs.set(BATCH_INPUTS.active, this.#activeTokens(batch, this.#invocation));
    }
    for (const [i, rope] of this.#config.ropes.entries()) {
      const { cos, sin } = this.#ropeTables(rope, length);
      inputs.set(BATCH_INPUTS.cos(i), cos).set(BATCH_INPUTS.sin(i), sin);
    }
    for (const layer of this.#config.layers) {
      const name = BATCH_INPUTS.attentionMask(layer);
      if (!inputs.has(name)) inputs.set(name, this.#attentionMask(batch, layer));
    }
    return inputs;
  }

  /** Returns [tokens, 1]: 1 for each segment's tokens from its last invocation on, 0 for the others. */
  #activeTokens(
    { inputIds, segments, length }: MicroBatch,
    invocation: readonly number[],
  ): OrtTensor {
    const active = this.#workspace.tensor(BATCH_INPUTS.active, 'float32', [inputIds.length, 1]);
    active.data.fill(0);
    for (let start = 0, end = 1; start < segments.length; start = end, end++) {
      while (end % length !== 0 && segments[end] === segments[start]) end++;
      const from = lastInvocation(inputIds, invocation, { start, end });
      if (from >= 0 && segments[start]! >= 0) active.data.fill(1, from, end);
    }
    return active;
  }

  /** Returns tables of at least `length` positions, with the frequencies for that length. */
  #ropeTables(rope: Rope, length: number): { cos: OrtTensor; sin: OrtTensor } {
    const known = this.#tables.get(rope);
    const knownLength = known?.cos.shape[0] ?? 0;
    if (known && knownLength >= length && isLong(rope, knownLength) === isLong(rope, length)) {
      return known;
    }
    known?.cos.release();
    known?.sin.release();
    const { cos, sin } = ropeTables(rope, length);
    const shape = [length, this.#config.rotaryDim / 2];
    const tables = {
      cos: hostTensor('float32', shape, cos),
      sin: hostTensor('float32', shape, sin),
    };
    this.#tables.set(rope, tables);
    return tables;
  }

  /** Returns the mask [N, 1, G*T, T]. The T queries repeat for each head of a group. */
  #attentionMask({ rows, length, segments }: MicroBatch, layer: LayerAttention): OrtTensor {
    const { headCount, kvHeadCount } = this.#config;
    const { slidingWindow = length } = layer;
    const group = headCount / kvHeadCount;
    const name = BATCH_INPUTS.attentionMask(layer);
    const mask = this.#workspace.tensor(name, 'float32', [rows, 1, group * length, length]);
    const { data } = mask;
    data.fill(Number.NEGATIVE_INFINITY);
    const size = length * length;
    for (let row = 0; row < rows; row++) {
      const start = row * group * size;
      for (let query = 0; query < length; query++) {
        const segment = segments[row * length + query]!;
        // Padding attends to itself, because Softmax over no keys would be NaN.
        for (let key = Math.max(0, query - slidingWindow + 1); key <= query; key++) {
          if (segments[row * length + key] === segment) data[start + query * length + key] = 0;
        }
      }
      for (let head = 1; head < group; head++) {
        data.copyWithin(start + head * size, start, start + size);
      }
    }
    return mask;
  }

  release(): void {
    for (const { cos, sin } of this.#tables.values()) {
      cos.release();
      sin.release();
    }
  }
}
