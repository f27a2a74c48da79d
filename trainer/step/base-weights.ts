// The base model's weights in memory, as the graphs read them: float32 tensors by graph name. NF4 codes stay packed. The
// linears of the current segment are unpacked into one scratch buffer, and the next segment's into another. The embedding stays in
// its file unless a graph reads it, for example because it is also the head.

import { decodeFloats, type TensorSource, toFloat32 } from '../../src/common/tensor.ts';
import { type Artifact, denseValues, readLinear } from '../../src/import/artifact.ts';
import type { Nf4Linear } from '../../src/import/bitsandbytes.ts';
import { embeddingName, expectedTensors, headName, weightName } from '../../src/model/names.ts';
import {
  linearsOf,
  moduleName,
  type TargetName,
  targetNames,
} from '../../src/model/target-modules.ts';
import { hostTensor, type OrtTensor } from '../../src/ort/tensor.ts';
import { dequantizeNf4Into } from '../../src/quant/nf4.ts';
import { quantizeRowInt8 } from '../../src/quant/row-int8.ts';
import type { LossHeadSpec } from '../graph/loss-head-graph.ts';
import { ROW_INT8_SUFFIX } from '../graph/row-int8.ts';
import type { Compute } from '../types.ts';

/** Shifts the layer number in a tensor's name. Names without a layer are unchanged. */
export function shiftLayer(name: string, by: number): string {
  return name.replace(/\blayers\.(\d+)\./, (_, layer: string) => `layers.${Number(layer) + by}.`);
}

/** Returns the layer number in a tensor's name; NaN if it has none. */
export function layerOf(name: string): number {
  return Number(/\blayers\.(\d+)\./.exec(name)?.[1]);
}

/** The unpacked linears of a segment, by their names in its graph. */
interface Scratch {
  firstLayer: number;
  readonly tensors: Map<string, OrtTensor<'float32'>>;
}

/** Options of the base's weights. */
interface BaseWeightsOptions {
  readonly blocksPerSegment: number;
  /** The arithmetic of the linears. */
  readonly compute: Compute;
  readonly head: LossHeadSpec;
  /** Called with the number of tensors that have been read. */
  readonly onRead?: ((done: number, total: number) => void) | undefined;
}

/** The frozen weights of the base, unpacked when a graph needs them. */
export class BaseWeights {
  /** Where rows of the embedding are read. */
  readonly #tensors: TensorSource;
  readonly #dense = new Map<string, OrtTensor<'float32'>>();
  /** Weights in per-token form, by graph input. */
  readonly #rowInt8 = new Map<string, OrtTensor>();
  readonly #packed = new Map<string, Nf4Linear>();
  readonly #blocksPerSegment: number;
  readonly #targets: readonly TargetName[];
  /** The buffers of the current and the next segment, most recently loaded first. */
  readonly #scratches: [Scratch, Scratch] = [
    { firstLayer: -1, tensors: new Map() },
    { firstLayer: -1, tensors: new Map() },
  ];

  constructor(artifact: Artifact, { blocksPerSegment, compute, head, onRead }: BaseWeightsOptions) {
    const { config, tensors } = artifact;
    this.#tensors = tensors;
    this.#blocksPerSegment = blocksPerSegment;
    this.#targets = targetNames(config);
    const linears = new Map(
      linearsOf(config).map(([layer, of]) => [weightName(layer, of), moduleName(layer, of)]),
    );
    const expected = [...expectedTensors(config)];
    for (const [i, [name, shape]] of expected.entries()) {
      onRead?.(i, expected.length);
      if (name === headName && head.matrix !== headName) continue; // a classifier uses its own head instead
      if (name === embeddingName) continue;
      const module = linears.get(name);
      const linear = module ? readLinear(artifact, module) : undefined;
      if (linear && compute === 'int8') {
        this.#addRowInt8(name, shape, denseValues(linear));
      } else if (linear?.kind === 'nf4') {
        const { packed, absmax, rows, cols } = linear;
        this.#packed.set(name, { packed: packed.slice(), absmax, rows, cols });
      } else {
        const values = linear ? linear.values : toFloat32(tensors.read(name));
        this.#dense.set(name, hostTensor('float32', shape, values as Float32Array<ArrayBuffer>));
      }
    }
    if (config.tiedEmbeddings && head.matrix === headName) {
      this.#dense.set(headName, this.dense(embeddingName)!);
    }
    onRead?.(expected.length, expected.length);
    if (head.compute !== 'int8') return;
    const { shape, data } = this.dense(head.matrix)!;
    this.#addRowInt8(head.matrix, shape, data);
  }

  #addRowInt8(name: string, shape: readonly number[], values: Float32Array): void {
    const [rows, cols] = shape as [number, number];
    const { data, scales } = quantizeRowInt8([values], cols);
    const add = (suffix: string, tensor: OrtTensor) => this.#rowInt8.set(name + suffix, tensor);
    add(ROW_INT8_SUFFIX.data, hostTensor('uint8', [cols, rows], data as Uint8Array<ArrayBuffer>));
    add(ROW_INT8_SUFFIX.scales, hostTensor('float32', [rows], scales as Float32Array<ArrayBuffer>));
  }

  /** Returns an unpacked weight by its name in a graph of the whole model. */
  unpacked(name: string): OrtTensor | undefined {
    return this.dense(name) ?? this.#rowInt8.get(name);
  }

  /** Returns a float32 weight by its checkpoint name; undefined if it is packed. */
  dense(name: string): OrtTensor<'float32'> | undefined {
    if (name === embeddingName && !this.#dense.has(name)) {
      const table = this.#tensors.read(name);
      const values = toFloat32(table) as Float32Array<ArrayBuffer>;
      this.#dense.set(name, hostTensor('float32', table.shape, values));
    }
    return this.#dense.get(name);
  }

  /** Writes a token's row of the embedding to `into` [D]. */
  embed(id: number, into: Float32Array): void {
    const width = into.length;
    const table = this.#dense.get(embeddingName);
    if (table) into.set(table.data.subarray(id * width, (id + 1) * width));
    else decodeFloats(this.#tensors.readRow(embeddingName, id), into);
  }

  /**
   * Unpacks the linears of the segment that begins at this layer. The previously loaded segment stays, because a graph may be
   * reading it.
   */
  load(firstLayer: number): void {
    const [last, other] = this.#scratches;
    if (this.#packed.size === 0 || last.firstLayer === firstLayer) return;
    this.#scratches.reverse();
    if (other.firstLayer === firstLayer) return;
    other.firstLayer = firstLayer;
    for (let block = 0; block < this.#blocksPerSegment; block++) {
      for (const target of this.#targets) {
        const linear = this.#packed.get(weightName(firstLayer + block, target));
        if (!linear) continue;
        const { rows, cols, packed, absmax } = linear;
        const name = weightName(block, target);
        const tensor = other.tensors.get(name) ?? hostTensor('float32', [rows, cols]);
        other.tensors.set(name, tensor);
        dequantizeNf4Into(tensor.data, packed, absmax);
      }
    }
  }

  /** Returns a weight of a loaded segment by its graph name. Layers in graph names count from the segment's first. */
  bound(local: string, firstLayer: number): OrtTensor | undefined {
    const scratch = this.#scratches.find((loaded) => loaded.firstLayer === firstLayer);
    return this.unpacked(shiftLayer(local, firstLayer)) ?? scratch?.tensors.get(local);
  }
}
