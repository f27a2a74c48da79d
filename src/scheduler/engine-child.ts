// The engine process's end of the channel: reads options and messages, posts messages, and ends the process. The caller creates
// the engine.
import { Worker } from 'node:worker_threads';
import { ConfigError, FileError } from '../common/errors.ts';
import { startPhases } from '../common/start-phases.ts';
import type { StepLoopOptions } from './options.ts';
import type { EngineLogLine, FromEngine, ToEngine } from './protocol.ts';
import { StepLoop } from './step-loop.ts';

/**
 * Runs a step loop over the channel of `node:child_process` until it is drained, then exits with 0. `createHost` gets the
 * options from the command line. If it throws a `ConfigError` or `FileError`, the error is posted as `refused`. Signals to the
 * process group are ignored, because a drain lets streams end. A message or a closed channel ends the process.
 */
export async function runEngineChild<Options>(
  createHost: (options: Options, log: (line: EngineLogLine) => void) => Promise<StepLoopOptions>,
): Promise<void> {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  process.on('disconnect', () => process.exit(0));
  process.on('uncaughtException', (error) => exitAfter(1, fatalLine(error)));
  const options = JSON.parse(process.argv[2] ?? '{}') as Options;
  const heartbeatFd = process.argv[3];
  const post = (message: FromEngine) => process.send?.(withPhases(message));
  const host = await createHost(options, post).catch(exitRefused);
  const loop = new StepLoop(host);
  process.on('message', (message) => loop.handle(message as ToEngine));
  if (heartbeatFd !== undefined) startHeartbeat(Number(heartbeatFd));
  await loop.run(post);
  await exitAfter(0, { type: 'log', level: 'info', message: 'the engine is drained' });
}

function withPhases(message: FromEngine): FromEngine {
  if (message.type !== 'ready') return message;
  return { ...message, model: { ...message.model, start: startPhases() } };
}

function exitRefused(error: unknown): Promise<never> {
  if (!(error instanceof ConfigError || error instanceof FileError)) throw error;
  return exitAfter(1, { type: 'refused', message: error.message });
}

/** Exits after the last message is sent. Messages are sent in order, so all earlier ones are sent too. */
function exitAfter(code: number, last: FromEngine): Promise<never> {
  return new Promise(() => {
    if (process.connected) process.send?.(last, undefined, undefined, () => process.exit(code));
    else process.exit(code);
  });
}

function fatalLine(error: Error): EngineLogLine {
  const fields = { reason: error.stack ?? error.message };
  return { type: 'log', level: 'error', message: 'the engine process failed', fields };
}

const HEARTBEAT_INTERVAL_MS = 1_000;

/** Plain JavaScript, because a worker in a file would need a separate bundle. It stops when the pipe closes. */
const HEARTBEAT_WORKER = `
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

/**
 * Writes a byte to `fd` every second until this process ends, from a separate thread: a step or the loading of a graph can
 * block the main thread for seconds, but only a stopped process stops all its threads.
 */
function startHeartbeat(fd: number): void {
  const workerData = { fd, intervalMs: HEARTBEAT_INTERVAL_MS };
  new Worker(HEARTBEAT_WORKER, { eval: true, execArgv: [], workerData }).unref();
}
