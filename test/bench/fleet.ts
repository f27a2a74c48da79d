// The servers that are compared. All are up all the time: an idle one uses no processor.
import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import type { DecoderConfig } from '../../src/model/config.ts';
import { ALL_R16, writeLlamaAdapters } from './adapters.ts';
import { type LlamaOptions, type Server, startLlama, startLorikeet } from './servers.ts';

/** A checkout of lorikeet with its running server. */
export interface Checkout {
  /** Its folder. */
  readonly folder: string;
  readonly server: Server;
  /** Resident memory before the first request. */
  readonly readyMb: number;
}

/** Loaded adapters slow llama-server down for requests of the base too: those go to a server without any. */
export interface LlamaServers {
  readonly bare: Server;
  /** Undefined in a comparison without adapters. */
  readonly withAdapters: Server | undefined;
}

/** All servers of a comparison. What is undefined is not compared. */
export interface Fleet {
  /** The model's folder. */
  readonly model: string;
  readonly this: Checkout;
  /** This checkout with `--weights int4`. */
  readonly int4: Checkout;
  readonly before: Checkout | undefined;
  readonly llama: LlamaServers | undefined;
  stop(): Promise<void>;
}

export interface FleetOptions {
  readonly model: string;
  readonly decoder: DecoderConfig;
  /** The folder of the adapters. Undefined: none are compared. */
  readonly adapters: string | undefined;
  readonly slots: number;
  readonly maxSeq: number;
  /** The folder of another checkout. */
  readonly against: string | undefined;
  readonly llama: Pick<LlamaOptions, 'binary' | 'model' | 'extraArgs'> | undefined;
}

/** The flags of a lorikeet server. */
export function serverFlags({
  model,
  adapters,
  slots,
  maxSeq,
}: Pick<FleetOptions, 'model' | 'adapters' | 'slots' | 'maxSeq'>): string[] {
  return [
    ...[`--model=${model}`, `--slots=${slots}`, `--max-seq=${maxSeq}`],
    // Thirty-two wide adapters and as many narrow ones at once.
    ...(adapters === undefined ? [] : [`--adapters=${adapters}`, '--adapter-cache=2GiB']),
  ];
}

/** Starts the servers one after another. */
export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const { model, against } = options;
  const started: Server[] = [];
  const stop = async () => {
    await Promise.all(started.map((server) => server.stop()));
  };
  const keep = (server: Server) => {
    started.push(server);
    return server;
  };
  const checkout = async (folder: string, ...more: string[]): Promise<Checkout> => {
    const server = keep(await startLorikeet([...serverFlags(options), ...more], folder));
    return { folder, server, readyMb: server.rssMb() };
  };
  try {
    return {
      model,
      this: await checkout('.'),
      before: against === undefined ? undefined : await checkout(against),
      int4: await checkout('.', '--weights=int4'),
      llama: await startLlamaServers(options, keep),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startLlamaServers(
  { llama, decoder, adapters, slots, maxSeq }: FleetOptions,
  keep: (server: Server) => Server,
): Promise<LlamaServers | undefined> {
  if (!llama) return undefined;
  const shared = { ...llama, slots, maxSeq, threads: availableParallelism() };
  const bare = keep(await startLlama({ ...shared, loras: [] }));
  if (adapters === undefined) return { bare, withAdapters: undefined };
  const shape = { shape: ALL_R16, count: 4 };
  const loras = writeLlamaAdapters(path.join(adapters, '.llama'), decoder, shape);
  return { bare, withAdapters: keep(await startLlama({ ...shared, loras })) };
}

/** The bytes that a token takes in the KV cache, as `lorikeet size` of that checkout says. */
export function cacheTokenBytes(folder: string, model: string): number {
  const args = ['bin/lorikeet.mjs', 'size', '--model', model, '--json'];
  const text = execFileSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
  return JSON.parse(text).cacheToken;
}
