// The engine process's sign of life. A thread of its own sends it: the main thread may be busy for seconds with a step
// or with a graph, and only a stopped process stops all of its threads. Whether the engine makes progress is told by
// its steps.
import { Worker } from 'node:worker_threads';

/** The file descriptor of the pipe to the supervisor, which passes it to the process. */
export const HEARTBEAT_FD = 4;
const INTERVAL_MS = 1_000;

/** Plain JavaScript, for a worker's file would be one more entry of the bundle. A pipe that is closed ends the beats. */
const BEATS = `
const { writeSync } = require('node:fs');
const { workerData: { fd, intervalMs } } = require('node:worker_threads');
const beat = () => {
  try {
    writeSync(fd, '.');
  } catch (error) {
    if (error.code !== 'EAGAIN') clearInterval(timer);
  }
};
const timer = setInterval(beat, intervalMs);
beat();
`;

/** Starts to write a byte to `fd` every second, until this process ends. */
export function startHeartbeat(fd: number): void {
  const workerData = { fd, intervalMs: INTERVAL_MS };
  new Worker(BEATS, { eval: true, execArgv: [], workerData }).unref();
}
