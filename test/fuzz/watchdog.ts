// Ends the process if a case never ends. A thread of its own watches, because such a case holds the main thread.
import { Worker } from 'node:worker_threads';

/** A case takes milliseconds, but the machine may be busy. */
const MAX_SILENCE_MS = 60_000;

const WATCH = `
const { workerData } = require('node:worker_threads');
const { writeSync } = require('node:fs');
const { counter, what, everyMs } = workerData;
let last = -1;
setInterval(() => {
  const now = Atomics.load(counter, 0);
  if (now === last) {
    writeSync(2, what + ': case ' + now + ' does not end. Repeat it with --path ' + now + '\\n');
    process.kill(process.pid, 'SIGKILL');
  }
  last = now;
}, everyMs);
`;

/** A watched loop. `beat` says how many cases have ended. */
export interface Progress {
  beat(cases: number): void;
  [Symbol.dispose](): void;
}

/** Kills the process, with a message, if `beat` is not called for `everyMs`. */
export function watchProgress(what: string, everyMs = MAX_SILENCE_MS): Progress {
  const counter = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(WATCH, { eval: true, workerData: { counter, what, everyMs } });
  worker.unref();
  return {
    beat: (cases) => void Atomics.store(counter, 0, cases),
    [Symbol.dispose]: () => void worker.terminate(),
  };
}
