// The servers that are compared, as child processes: started, waited for, weighed, ended.
import { type ChildProcess, spawn } from 'node:child_process';
import { freePort } from '../free-port.ts';
import { statusKb, treeOf } from '../processes.ts';

export interface Server {
  readonly url: string;
  /** From the start of the process to the first 200 of /health. */
  readonly readyMs: number;
  /** Of the process and its children. */
  rssMb(): number;
  stop(): Promise<void>;
}

/** A first start may fetch, quantize and build. */
const READY_TIMEOUT_MS = 300_000;
const POLL_MS = 10;

/** Starts the server of a checkout. */
export function startLorikeet(args: readonly string[], folder = '.'): Promise<Server> {
  const command = [process.execPath, 'bin/lorikeet.mjs', 'serve'];
  return launch((port) => [...command, '--port', port, ...args], folder);
}

export interface LlamaOptions {
  binary: string;
  model: string;
  slots: number;
  /** Tokens of each slot. */
  maxSeq: number;
  threads: number;
  loras: readonly string[];
  extraArgs: readonly string[];
}

export function startLlama(options: LlamaOptions): Promise<Server> {
  const { binary, model, slots, maxSeq, threads, loras, extraArgs } = options;
  return launch((port) => [
    binary,
    ...['--host', '127.0.0.1', '--port', port, '-m', model, '--no-ui'],
    ...['-np', String(slots), '-c', String(slots * maxSeq), '-t', String(threads)],
    // The rounds repeat their prompts: a cache of them would be measured in place of the work.
    '--no-cache-prompt',
    ...(loras.length > 0 ? ['--lora', loras.join(','), '--lora-init-without-apply'] : []),
    ...extraArgs,
  ]);
}

async function launch(commandLine: (port: string) => string[], cwd = '.'): Promise<Server> {
  const port = await freePort();
  const [command, ...args] = commandLine(String(port));
  const startedMs = performance.now();
  const child = spawn(command!, args, { cwd, stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.on('data', (chunk) => {
    log = (log + chunk).slice(-2000);
  });
  const url = `http://127.0.0.1:${port}`;
  try {
    await untilReady(url, child);
  } catch (cause) {
    child.kill('SIGKILL');
    throw new Error(`${command} did not get ready: ${log}`, { cause });
  }
  return {
    url,
    readyMs: performance.now() - startedMs,
    rssMb: () => treeRssMb(child.pid!),
    stop: () => stop(child),
  };
}

async function untilReady(url: string, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (performance.now() < deadline) {
    const end = child.exitCode ?? child.signalCode;
    if (end !== null) throw new Error(`ended with ${end}`);
    const response = await fetch(`${url}/health`).catch(() => undefined);
    if (response?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error('time is over');
}

function stop(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once('exit', () => resolve());
    child.kill('SIGTERM');
  });
}

/** Resident memory of a process tree, mapped files included (Linux). */
function treeRssMb(root: number): number {
  const kilobytes = treeOf(root).reduce((sum, pid) => sum + statusKb(pid, 'VmRSS'), 0);
  return Math.round(kilobytes / 1024);
}
