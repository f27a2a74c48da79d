// The lifetime of a native object: its pointer, the number of its users, and its release.
import { assert } from '../common/assert.ts';

/**
 * Frees a native object once its owner has released it or was garbage collected, and every object created from it is gone.
 * Keeps alive the JavaScript objects whose memory the native object uses.
 */
export class Handle {
  readonly #name: string;
  readonly #pointer: bigint;
  readonly #free: (pointer: bigint) => void;
  readonly #parents: readonly Handle[];
  #holds = 1;
  #isReleased = false;
  /** JavaScript memory that the native object uses. */
  keepsAlive: unknown;

  constructor(
    name: string,
    pointer: bigint,
    options: { free: (pointer: bigint) => void; parents?: readonly Handle[]; keepsAlive?: unknown },
  ) {
    this.#name = name;
    this.#pointer = pointer;
    this.#free = options.free;
    this.#parents = options.parents ?? [];
    this.keepsAlive = options.keepsAlive;
    for (const parent of this.#parents) {
      assert(parent.#holds > 0, `${parent.#name} is freed: no ${name} can be created from it`);
      parent.#holds++;
    }
  }

  /** The native pointer. Asserts that the owner has not released the object. */
  get pointer(): bigint {
    assert(!this.#isReleased, `${this.#name} was released`);
    return this.#pointer;
  }

  /** Ends the owner's use. A second call does nothing. */
  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    collected.unregister(this);
    this.#drop();
  }

  /** Ends the use of a collected owner. Objects created from the handle may still use it. */
  ownerCollected(): void {
    if (!this.#isReleased) this.#drop();
  }

  #drop(): void {
    if (--this.#holds > 0) return;
    this.#free(this.#pointer);
    this.keepsAlive = undefined;
    for (const parent of this.#parents) parent.#drop();
  }
}

const collected = new FinalizationRegistry<Handle>((handle) => handle.ownerCollected());

/** A JavaScript object that owns a native one. The native object is freed after `release`, or after its owner is collected. */
export abstract class NativeOwner {
  readonly #handle: Handle;

  constructor(handle: Handle) {
    this.#handle = handle;
    releaseWhenCollected(this, handle);
  }

  /** The native object's handle. Asserts that it is not released. */
  get handle(): Handle {
    assert(this.#handle.pointer, 'a native object has a pointer');
    return this.#handle;
  }

  /** Ends the use of the native object. A second call does nothing. */
  release(): void {
    this.#handle.release();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** Releases a handle if its owner is collected without having released it. The handle must not refer to the owner. */
export function releaseWhenCollected(owner: object, handle: Handle): void {
  collected.register(owner, handle, handle);
}
