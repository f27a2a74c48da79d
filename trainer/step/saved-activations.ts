// Memory for the tensors that the forward pass saves for the backward pass. Decides which segments have room, and gives each
// saved tensor a view. The last segments have priority, because the backward pass needs their tensors first.
import { elementCount } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import type { OrtTensor } from '../../src/ort/tensor.ts';
import { FLOAT, type WeightForm, weightBytes } from './weight-memory.ts';
import type { Workspace } from './workspace.ts';

/**
 * Limits the tensors that a step may save although it recomputes, as a share of the bytes of weights, gradients and moments.
 * For 8 x 160 tokens, SmolLM2-135M saves the tensors of 13 of its 30 blocks: 427 MiB for 7% more speed.
 */
const SAVED_SHARE = 0.75;

/** How much a run keeps of its forward pass. */
export interface SavingForm extends WeightForm {
  /** Whether the backward pass may recompute. Otherwise all is saved. */
  readonly recompute: boolean;
  /** The most bytes that a run saves although it recomputes, see `fitMemory`. Absent: a share of the weights'. */
  readonly savedBytes?: number | undefined;
}

/**
 * Returns the bytes that a run may save. Weights that are larger than in float32 leave less. @param training bytes of
 * gradients and moments
 */
export function savedLimit(config: DecoderConfig, form: SavingForm, training: number): number {
  if (!form.recompute) return Number.POSITIVE_INFINITY;
  const own = weightBytes(config, form);
  const float32 = weightBytes(config, { ...form, compute: 'float32' });
  const more = own.held + own.scratch - float32.held - float32.scratch;
  const share = Math.max(0, SAVED_SHARE * (float32.held + training) - Math.max(0, more));
  return Math.min(share, form.savedBytes ?? share);
}

/** Elements per page. Pages are allocated once and reused by batches of all shapes. */
const PAGE_ELEMENTS = 2 ** 28;
/** Elements per cache line. Saved tensors are aligned to it. */
const LINE = 16;

/** The tensors that a segment can save: name → shape. */
export type SegmentActivations = ReadonlyMap<string, readonly number[]>;

interface Placement {
  readonly name: string;
  readonly shape: readonly number[];
  readonly page: number;
  readonly offset: number;
}

/** The saved tensors of all segments. */
export class SavedActivations {
  readonly #workspace: Workspace;
  readonly #limitBytes: number;
  #key = '';
  /** The views of each segment that has room. */
  #views = new Map<number, ReadonlyMap<string, OrtTensor<'float32'>>>();

  /** @param limitBytes the limit for all saved tensors together */
  constructor(workspace: Workspace, limitBytes: number) {
    this.#workspace = workspace;
    this.#limitBytes = limitBytes;
  }

  /** Allocates a batch's saved tensors. A second call with the same key changes nothing. */
  allocate(key: string, segments: ReadonlyMap<number, SegmentActivations>): void {
    if (key === this.#key) return;
    this.release();
    this.#key = key;
    const { placements, pages } = layOut(segments, this.#limitBytes / FLOAT);
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

  /** Whether the segment's tensors are saved. */
  has(segment: number): boolean {
    return this.#views.has(segment);
  }

  /** Returns the view of a saved tensor; undefined if it is not saved. */
  value(segment: number, name: string): OrtTensor<'float32'> | undefined {
    return this.#views.get(segment)?.get(name);
  }

  release(): void {
    for (const views of this.#views.values()) for (const view of views.values()) view.release();
    this.#views.clear();
    this.#key = '';
  }
}

/** Returns the page sizes in elements, and the placements for as many of the last segments as the limit allows. */
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

/** Places a tensor on the last page, or on a new one if it is full. */
function placementOf(pages: number[], shape: readonly number[]): { page: number; offset: number } {
  const size = elementCount(shape);
  if (pages.length === 0 || pages.at(-1)! + size > PAGE_ELEMENTS) pages.push(0);
  const page = pages.length - 1;
  const offset = pages[page]!;
  pages[page] = LINE * Math.ceil((offset + size) / LINE);
  return { page, offset };
}
