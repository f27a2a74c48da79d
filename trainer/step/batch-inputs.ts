// The inputs that every block reads about a micro-batch: positions, rotary tables and the attention mask.
import type { DecoderConfig } from '../../src/model/config.ts';
import { ropeTables } from '../../src/model/rope.ts';
import { hostTensor, type OrtTensor } from '../../src/ort/tensor.ts';
import { BATCH_INPUTS } from '../graph/training-lowering.ts';
import type { MicroBatch } from '../types.ts';
import type { Workspace } from './workspace.ts';

/** The tensors of `BATCH_INPUTS`. */
export class BatchInputs {
  readonly #config: DecoderConfig;
  readonly #workspace: Workspace;
  #tables: { cos: OrtTensor; sin: OrtTensor } | undefined;

  constructor(config: DecoderConfig, workspace: Workspace) {
    this.#config = config;
    this.#workspace = workspace;
  }

  /** Fills the tensors for a batch and returns them by name. */
  fill(batch: MicroBatch): ReadonlyMap<string, OrtTensor> {
    const { rows, length } = batch;
    const shape = this.#workspace.tensor(BATCH_INPUTS.shape, 'int64', [3]);
    shape.data.set([BigInt(rows), BigInt(length), -1n]);
    const positions = this.#workspace.tensor(BATCH_INPUTS.positions, 'int64', [rows, length]);
    positions.data.set(BigInt64Array.from(batch.positions, BigInt));
    const { cos, sin } = this.#ropeTables(length);
    return new Map<string, OrtTensor>([
      [BATCH_INPUTS.shape, shape],
      [BATCH_INPUTS.positions, positions],
      [BATCH_INPUTS.attentionMask, this.#attentionMask(batch)],
      [BATCH_INPUTS.cos, cos],
      [BATCH_INPUTS.sin, sin],
    ]);
  }

  /** Returns tables with at least `length` positions. */
  #ropeTables(length: number): { cos: OrtTensor; sin: OrtTensor } {
    if (this.#tables && this.#tables.cos.shape[0]! >= length) return this.#tables;
    this.#tables?.cos.release();
    this.#tables?.sin.release();
    const { cos, sin } = ropeTables(this.#config, length);
    const shape = [length, this.#config.headDim / 2];
    this.#tables = {
      cos: hostTensor('float32', shape, cos),
      sin: hostTensor('float32', shape, sin),
    };
    return this.#tables;
  }

  /** Returns the mask [N, 1, G*T, T]: the T queries repeat for each head of a group. */
  #attentionMask({ rows, length, segments }: MicroBatch): OrtTensor {
    const { headCount, kvHeadCount, slidingWindow = length } = this.#config;
    const group = headCount / kvHeadCount;
    const name = BATCH_INPUTS.attentionMask;
    const mask = this.#workspace.tensor(name, 'float32', [rows, 1, group * length, length]);
    const { data } = mask;
    data.fill(Number.NEGATIVE_INFINITY);
    const size = length * length;
    for (let row = 0; row < rows; row++) {
      const start = row * group * size;
      for (let query = 0; query < length; query++) {
        const segment = segments[row * length + query]!;
        // Padding attends to padding, because Softmax over no keys would be NaN.
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
    this.#tables?.cos.release();
    this.#tables?.sin.release();
  }
}
