// Where forward graphs leave values for backward graphs: for which segments there is room, and a view for each value.
// The last segments come first, since theirs are needed soonest. Knows sizes; not what the values are.

import { elementCount } from '../../src/common/tensor.ts';
import type { OrtTensor } from '../../src/ort/tensor.ts';
import type { Workspace } from './workspace.ts';

/**
 * What a recomputing step may keep all the same, as a share of what weights, gradients and moments take. SmolLM2-135M
 * keeps 13 of 30 blocks of 8 x 160 tokens: 427 MiB for 7 % more speed.
 */
export const SAVED_SHARE = 0.75;

/** Elements of a page of memory: one allocation holds many values, whatever the shape of the batch. */
const PAGE_ELEMENTS = 2 ** 28;
const FLOAT_BYTES = 4;
/** Elements of a cache line: where a value may begin. */
const LINE = 16;

/** What a segment would keep: name → shape. */
export type SegmentValues = ReadonlyMap<string, readonly number[]>;

interface Placement {
  readonly name: string;
  readonly shape: readonly number[];
  readonly page: number;
  readonly offset: number;
}

export class SavedActivations {
  readonly #workspace: Workspace;
  readonly #limitBytes: number;
  #key = '';
  /** By segment that has room. */
  #views = new Map<number, ReadonlyMap<string, OrtTensor<'float32'>>>();

  /** @param limitBytes of all values together */
  constructor(workspace: Workspace, limitBytes: number) {
    this.#workspace = workspace;
    this.#limitBytes = limitBytes;
  }

  /** Makes room for a batch's values, by segment in their order. Asked again with the same key, everything stays where it is. */
  arrange(key: string, segments: ReadonlyMap<number, SegmentValues>): void {
    if (key === this.#key) return;
    this.release();
    this.#key = key;
    const { places, pages } = layOut(segments, this.#limitBytes / FLOAT_BYTES);
    const memory = pages.map((size, page) =>
      this.#workspace.tensor(`kept.${page}`, 'float32', [size]),
    );
    for (const [segment, values] of places) {
      const views = values.map(({ name, shape, page, offset }) => {
        return [name, memory[page]!.view(shape, offset)] as const;
      });
      this.#views.set(segment, new Map(views));
    }
  }

  has(segment: number): boolean {
    return this.#views.has(segment);
  }

  value(segment: number, name: string): OrtTensor<'float32'> | undefined {
    return this.#views.get(segment)?.get(name);
  }

  release(): void {
    for (const views of this.#views.values()) for (const view of views.values()) view.release();
    this.#views.clear();
    this.#key = '';
  }
}

/** Pages in elements, and the values' places by segment: the last segments, as many as the limit allows. */
function layOut(segments: ReadonlyMap<number, SegmentValues>, limit: number) {
  const places = new Map<number, Placement[]>();
  const pages: number[] = [];
  let total = 0;
  for (const [segment, values] of [...segments].reverse()) {
    const sizes = Array.from(values, ([, shape]) => elementCount(shape));
    total += sizes.reduce((sum, size) => sum + size, 0);
    if (total > limit) break;
    places.set(
      segment,
      Array.from(values, ([name, shape]) => ({ name, shape, ...placeOf(pages, shape) })),
    );
  }
  return { places, pages };
}

/** Takes a value's elements from the last page, or from a new one where it is full. */
function placeOf(pages: number[], shape: readonly number[]): { page: number; offset: number } {
  const size = elementCount(shape);
  if (pages.length === 0 || pages.at(-1)! + size > PAGE_ELEMENTS) pages.push(0);
  const page = pages.length - 1;
  const offset = pages[page]!;
  pages[page] = LINE * Math.ceil((offset + size) / LINE);
  return { page, offset };
}
