// Memory for activations that the forward pass saves for the backward pass. It decides which segments have room and gives each
// activation a view. The last segments have priority, because the backward pass needs theirs first.
import { elementCount } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { expectedTensors } from '../../src/model/names.ts';
import { TARGET_MODULES, targetNames } from '../../src/model/target-modules.ts';
import type { OrtTensor } from '../../src/ort/tensor.ts';
import type { Compute } from '../types.ts';
import type { Workspace } from './workspace.ts';

/**
 * The activations that a step may save although it recomputes, as a share of the bytes of weights, gradients and moments.
 * SmolLM2-135M saves those of 13 of its 30 blocks for 8 x 160 tokens: 427 MiB for 7 % more speed.
 */
const SAVED_SHARE = 0.75;

/**
 * Returns the bytes of activations that a run may save although it recomputes. Weights that take more memory than in float32
 * leave less. @param training bytes of gradients and moments
 */
export function savedLimit(config: DecoderConfig, form: WeightForm, training: number): number {
  const own = weightBytes(config, form);
  const float32 = weightBytes(config, { ...form, compute: 'float32' });
  const more = own.held + own.scratch - float32.held - float32.scratch;
  return Math.max(0, SAVED_SHARE * (float32.held + training) - Math.max(0, more));
}

/** Elements of a page. Pages are allocated once and reused by batches of all shapes. */
const PAGE_ELEMENTS = 2 ** 28;
const FLOAT_BYTES = 4;
/** Elements of a cache line, to which activations are aligned. */
const LINE = 16;

/** The activations that a segment can save: name → shape. */
export type SegmentActivations = ReadonlyMap<string, readonly number[]>;

interface Placement {
  readonly name: string;
  readonly shape: readonly number[];
  readonly page: number;
  readonly offset: number;
}

/** The saved activations of all segments. */
export class SavedActivations {
  readonly #workspace: Workspace;
  readonly #limitBytes: number;
  #key = '';
  /** The views of each segment that has room. */
  #views = new Map<number, ReadonlyMap<string, OrtTensor<'float32'>>>();

  /** @param limitBytes the limit for all activations together */
  constructor(workspace: Workspace, limitBytes: number) {
    this.#workspace = workspace;
    this.#limitBytes = limitBytes;
  }

  /** Allocates a batch's activations. A second call with the same key changes nothing. */
  allocate(key: string, segments: ReadonlyMap<number, SegmentActivations>): void {
    if (key === this.#key) return;
    this.release();
    this.#key = key;
    const { placements, pages } = layOut(segments, this.#limitBytes / FLOAT_BYTES);
    const memory = pages.map((size, page) =>
      this.#workspace.tensor(`saved.${page}`, 'float32', [size]),
    );
    for (const [segment, values] of placements) {
      const views = values.map(({ name, shape, page, offset }) => {
        return [name, memory[page]!.view(shape, offset)] as const;
      });
      this.#views.set(segment, new Map(views));
    }
  }

  /** Whether the segment's activations are saved. */
  has(segment: number): boolean {
    return this.#views.has(segment);
  }

  /** Returns the view of an activation; undefined if it is not saved. */
  value(segment: number, name: string): OrtTensor<'float32'> | undefined {
    return this.#views.get(segment)?.get(name);
  }

  release(): void {
    for (const views of this.#views.values()) for (const view of views.values()) view.release();
    this.#views.clear();
    this.#key = '';
  }
}

/** Returns the pages' sizes in elements, and the placements of the last segments, as many as the limit allows. */
function layOut(segments: ReadonlyMap<number, SegmentActivations>, limit: number) {
  const placements = new Map<number, Placement[]>();
  const pages: number[] = [];
  let total = 0;
  for (const [segment, values] of [...segments].reverse()) {
    const sizes = Array.from(values, ([, shape]) => elementCount(shape));
    total += sizes.reduce((sum, size) => sum + size, 0);
    if (total > limit) break;
    placements.set(
      segment,
      Array.from(values, ([name, shape]) => ({ name, shape, ...placementOf(pages, shape) })),
    );
  }
  return { placements, pages };
}

/** Takes an activation's elements from the last page, or from a new one if it is full. */
function placementOf(pages: number[], shape: readonly number[]): { page: number; offset: number } {
  const size = elementCount(shape);
  if (pages.length === 0 || pages.at(-1)! + size > PAGE_ELEMENTS) pages.push(0);
  const page = pages.length - 1;
  const offset = pages[page]!;
  pages[page] = LINE * Math.ceil((offset + size) / LINE);
  return { page, offset };
}

// The memory of a base's weights in a run. Pure.

/** The properties of a run that decide how its weights are held. */
interface WeightForm {
  /** Whether the artifact's linears are NF4. */
  readonly isPacked: boolean;
  readonly compute: Compute;
  readonly blocksPerSegment: number;
}

/** Bytes of the weights, and of the buffers with the unpacked linears of two segments. */
interface WeightBytes {
  readonly held: number;
  readonly scratch: number;
}

const FLOAT = Float32Array.BYTES_PER_ELEMENT;
/** NF4 codes and one float32 scale per block of 64, for each weight. */
const PACKED = 4.5 / 8;
/** The current and the next segment have unpacked linears. */
const SCRATCHES = 2;

/** Returns the bytes of a base's weights. The scales of the row form are too few to count. */
export function weightBytes(config: DecoderConfig, form: WeightForm): WeightBytes {
  const { isPacked, compute, blocksPerSegment } = form;
  const parameters = sum([...expectedTensors(config).values()].map(elementCount));
  const block = sum(
    targetNames(config).map((name) => {
      const { inFeatures, outFeatures } = TARGET_MODULES[name];
      return inFeatures(config) * outFeatures(config);
    }),
  );
  const linears = config.layerCount * block;
  const rest = FLOAT * (parameters - linears);
  if (compute === 'int8') {
    return { held: rest + linears + config.vocabSize * config.hiddenSize, scratch: 0 };
  }
  if (!isPacked) return { held: FLOAT * parameters, scratch: 0 };
  return { held: rest + PACKED * linears, scratch: SCRATCHES * FLOAT * block * blocksPerSegment };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
