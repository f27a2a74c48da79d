// Options of a run: the switch that ends it early. Knows no session.
import { assert } from '../common/assert.ts';
import { Handle, releaseWhenForgotten } from './handle.ts';
import { ortCall, ortGet, ortVoid } from './runtime.ts';

/** Passed to runs that may have to end early; one object may serve many runs, also at the same time. */
export class RunOptions {
  readonly #handle: Handle;
  #runsInFlight = 0;

  constructor() {
    this.#handle = new Handle('run options', ortGet('CreateRunOptions'), {
      free: (pointer) => ortVoid('ReleaseRunOptions', pointer),
    });
    releaseWhenForgotten(this, this.#handle);
  }

  /** Makes the runs in flight, and every later one until `reset`, reject with an `OrtError`. */
  terminate(): void {
    ortCall('RunOptionsSetTerminate', this.#handle.pointer);
  }

  reset(): void {
    ortCall('RunOptionsUnsetTerminate', this.#handle.pointer);
  }

  /** Asserts that no run in flight uses it; a second time does nothing. */
  release(): void {
    assert(this.#runsInFlight === 0, 'run options: released while a run is in flight');
    this.#handle.release();
  }

  [Symbol.dispose](): void {
    this.release();
  }

  /** For a binding: the native pointer for one run, until `finish`. */
  start(): bigint {
    const { pointer } = this.#handle;
    this.#runsInFlight++;
    inUse.add(this);
    return pointer;
  }

  /** For a binding: ends the run that `start` began. */
  finish(): void {
    if (--this.#runsInFlight === 0) inUse.delete(this);
  }
}

const inUse = new Set<RunOptions>();

// Node waits for the pool's threads when it exits: without this, for the end of every run in flight.
process.once('exit', () => {
  for (const options of inUse) options.terminate();
});
