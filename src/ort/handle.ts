// One native object: its pointer, who still needs it, and its release, once. Knows no kind of object.
import { assert } from '../common/assert.ts';

/**
 * A native object is freed when its owner has released it (or was collected) and every object that was made
 * from it is gone. It keeps JavaScript objects whose memory the native side may touch.
 */
export class Handle {
  readonly #what: string;
  readonly #pointer: bigint;
  readonly #free: (pointer: bigint) => void;
  readonly #parents: readonly Handle[];
  #holds = 1;
  #isReleased = false;
  /** Memory that the native object may touch, alive as long as it is. */
  kept: unknown;

  constructor(
    what: string,
    pointer: bigint,
    options: { free: (pointer: bigint) => void; parents?: readonly Handle[]; kept?: unknown },
  ) {
    this.#what = what;
    this.#pointer = pointer;
    this.#free = options.free;
    this.#parents = options.parents ?? [];
    this.kept = options.kept;
    for (const parent of this.#parents) {
      assert(parent.#holds > 0, `${parent.#what} is freed: no ${what} can be made from it`);
      parent.#holds++;
    }
  }

  /** Asserts that the owner has not released it. */
  get pointer(): bigint {
    assert(!this.#isReleased, `${this.#what} was released`);
    return this.#pointer;
  }

  /** Ends the owner's hold; a second time does nothing. */
  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    forgotten.unregister(this);
    this.#drop();
  }

  /** The owner was collected: ends its hold, but what was made from the handle may go on using it. */
  forget(): void {
    if (!this.#isReleased) this.#drop();
  }

  #drop(): void {
    if (--this.#holds > 0) return;
    this.#free(this.#pointer);
    this.kept = undefined;
    for (const parent of this.#parents) parent.#drop();
  }
}

const forgotten = new FinalizationRegistry<Handle>((handle) => handle.forget());

/** Releases the handle when its owner is collected without a release. The handle must not refer to the owner. */
export function releaseWhenForgotten(owner: object, handle: Handle): void {
  forgotten.register(owner, handle, handle);
}
