// The servers that are compared, as child processes: started, waited for, weighed, ended.
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
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

/** A first start may fetch, quantize, build and compile. */
const READY_TIMEOUT_MS = 900_000;
const POLL_MS = 10;

/** Starts the server of a checkout. */
export function startLorikeet(args: readonly string[], folder = '.'): Promise<Server> {
  const command = [process.execPath, 'bin/lorikeet.mjs', 'serve'];
  return launch((port) => [...command, '--port', port, ...args], { folder });
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

interface VllmOptions {
  /** The interpreter of an environment with vLLM. */
  python: string;
  /** A Hugging Face folder. */
  model: string;
  slots: number;
  maxSeq: number;
  /** A folder of PEFT folders. Undefined: without `--enable-lora`. */
  adapters: string | undefined;
}

/** Starts vLLM on all cores. Its first start compiles for minutes. */
export function startVllm({
  python,
  model,
  slots,
  maxSeq,
  adapters,
}: VllmOptions): Promise<Server> {
  const names =
    adapters === undefined ? [] : readdirSync(adapters).filter((name) => !name.startsWith('.'));
  const modules = names.map((name) => `${name}=${path.join(adapters!, name)}`);
  const loras = ['--enable-lora', '--max-lora-rank', '16', '--max-loras', String(slots)];
  const cached = ['--max-cpu-loras', String(names.length), '--lora-modules', ...modules];
  const environment = {
    HF_HUB_OFFLINE: '1',
    VLLM_NO_USAGE_STATS: '1',
    VLLM_CPU_KVCACHE_SPACE: '1', // GiB
    VLLM_CACHE_ROOT: path.join(path.dirname(python), '..', 'cache'),
    // By default it leaves a core to its HTTP server.
    VLLM_CPU_OMP_THREADS_BIND: `0-${availableParallelism() - 1}`,
    LD_PRELOAD: path.join(path.dirname(python), '..', 'lib', 'libiomp5.so'),
  };
  return launch(
    (port) => [
      ...[python, '-m', 'vllm.entrypoints.openai.api_server', '--host', '127.0.0.1'],
      ...['--port', port, '--model', model, '--served-model-name', 'base', '--dtype', 'bfloat16'],
      ...['--max-model-len', String(maxSeq), '--max-num-seqs', String(slots)],
      '--no-enable-prefix-caching',
      ...(names.length > 0 ? [...loras, ...cached] : []),
    ],
    { environment },
  );
}

interface Place {
  folder?: string;
  environment?: Readonly<Record<string, string>>;
}

async function launch(
  commandLine: (port: string) => string[],
  { folder, environment }: Place = {},
): Promise<Server> {
  const port = await freePort();
  const [command, ...args] = commandLine(String(port));
  const startedMs = performance.now();
  const child = spawn(command!, args, {
    cwd: folder,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
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
    if (!child.kill('SIGTERM')) resolve(); // it has ended before
  });
}

/** Resident memory of a process tree, mapped files included (Linux). */
function treeRssMb(root: number): number {
  const kilobytes = treeOf(root).reduce((sum, pid) => sum + statusKb(pid, 'VmRSS'), 0);
  return Math.round(kilobytes / 1024);
}
