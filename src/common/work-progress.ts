// Adds the parts of a long work up to one progress, which never goes back and reaches its total once.

/** The progress of a work in parts, each of a known size and with its own time per byte. */
export class WorkProgress<Part extends string> {
  readonly #bytes: Readonly<Record<Part, number>>;
  readonly #times: Readonly<Record<Part, number>>;
  readonly #onProgress: ((done: number, total: number) => void) | undefined;
  readonly #done = new Map<Part, number>();
  readonly #total: number;
  #shown = -1;

  /**
   * @param bytes by part; 0 for a part that is left out
   * @param times that a byte takes, relative to the bytes of other parts
   * @param onProgress is called if the progress has grown
   */
  constructor(
    bytes: Readonly<Record<Part, number>>,
    times: Readonly<Record<Part, number>>,
    onProgress?: (done: number, total: number) => void,
  ) {
    this.#bytes = bytes;
    this.#times = times;
    this.#onProgress = onProgress;
    this.#total = this.#sum((part) => bytes[part]);
  }

  /** Sets the bytes of a part that are done. More than it has, such as padding, do not count. */
  update(part: Part, bytes: number): void {
    const before = this.#done.get(part) ?? 0;
    this.#done.set(part, Math.max(before, Math.min(bytes, this.#bytes[part])));
    const done = this.#sum((one) => this.#done.get(one) ?? 0);
    if (done <= this.#shown) return;
    this.#shown = done;
    this.#onProgress?.(done, this.#total);
  }

  /** Sets the share of a part that is done, from 0 to 1. */
  updateShare(part: Part, share: number): void {
    this.update(part, share * this.#bytes[part]);
  }

  /** Ends a part. */
  finish(part: Part): void {
    this.updateShare(part, 1);
  }

  #sum(bytesOf: (part: Part) => number): number {
    const parts = Object.keys(this.#bytes) as Part[];
    return parts.reduce((sum, part) => sum + this.#times[part] * bytesOf(part), 0);
  }
}
