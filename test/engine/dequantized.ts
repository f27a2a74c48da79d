// The reference for quantized matmuls: the weights of a served model as float32 matrices.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { elementCount } from '../../src/common/tensor.ts';
import { HOST_MEMORY } from '../../src/engine/memory/host-memory.ts';
import type { ServingModel } from '../../src/engine/serving-folder.ts';
import type { ServingTensor } from '../../src/model/row-weights.ts';
import {
  BLOCK_SIZE,
  embeddingMatrix,
  fusedMatrix,
  headMatrix,
  type ServingMatrix,
  WEIGHTS_FILE,
} from '../../src/model/serving-weights.ts';
import { FUSED_LINEAR_NAMES } from '../../src/model/target-modules.ts';
import { hostTensor, type OrtTensor } from '../../src/ort/tensor.ts';
import { dequantizeNf4 } from '../../src/quant/nf4.ts';
import { plainExpand } from '../quant/plain-int4.ts';
import { type RunnerOptions, runnerOf } from './runner.ts';

/** A float32 runner on the CPU with the dequantized weights of the model. */
export function dequantizedRunner(t: TestContext, served: ServingModel, options: RunnerOptions) {
  const memory = { ...HOST_MEMORY, weightsAs: 'inputs' } as const;
  return runnerOf(
    t,
    { ...served, weights: 'f32', tensors: dequantized(served) },
    { ...options, memory },
  );
}

function dequantized(served: ServingModel): Map<string, OrtTensor> {
  const { config, weights: mode, locations } = served;
  const file = readFileSync(path.join(served.folder, WEIGHTS_FILE));
  const bytesOf = ({ name, dims, type }: ServingTensor) => {
    const { offset } = locations.get(name)!;
    return Uint8Array.from(
      file.subarray(offset, offset + elementCount(dims) * (type === 'float32' ? 4 : 1)),
    );
  };
  const floatsOf = (tensor: ServingTensor) => new Float32Array(bytesOf(tensor).buffer);
  const values = (matrix: ServingMatrix): Float32Array<ArrayBuffer> => {
    const count = matrix.rows * matrix.cols;
    if (!matrix.scales) return floatsOf(matrix.values);
    const scales = floatsOf(matrix.scales);
    const codes = bytesOf(matrix.values);
    if (matrix.form === 'q4') {
      const zeroPoints = bytesOf(matrix.zeroPoints!);
      return Float32Array.from(plainExpand({ data: codes, scales, zeroPoints }, matrix.cols));
    }
    if (matrix.form === 'nf4') return Float32Array.from(dequantizeNf4(codes, scales, count));
    return Float32Array.from(
      codes,
      (code, i) => Math.fround(code - 128) * scales[Math.floor(i / BLOCK_SIZE)]!,
    );
  };
  const tensors = new Map(served.tensors);
  const place = (from: ServingMatrix, to: ServingMatrix) =>
    tensors.set(to.values.name, hostTensor('float32', [to.rows, to.cols], values(from)));
  place(embeddingMatrix(config, mode), embeddingMatrix(config, 'f32'));
  place(headMatrix(config, mode), headMatrix(config, 'f32'));
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const fused of FUSED_LINEAR_NAMES) {
      place(fusedMatrix(config, mode, layer, fused), fusedMatrix(config, 'f32', layer, fused));
    }
  }
  const declared = new Map<string, OrtTensor>();
  for (const [name, tensor] of tensors) {
    if (!/\.(q8|q4|nf4|scales|zeros|absmax)$/.test(name)) declared.set(name, tensor);
  }
  return declared;
}
