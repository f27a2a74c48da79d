// All that is compared. Everything is up all the time: what is idle uses no CPU.
import { execFileSync } from 'node:child_process';
import { PEERS, type Running, type Stage } from './peers.ts';
import { type Server, startLorikeet } from './servers.ts';

/** A checkout of lorikeet with its running server. */
export interface Checkout {
  /** Its folder. */
  readonly folder: string;
  readonly server: Server;
  /** Resident memory before the first request. */
  readonly readyMb: number;
}

/** All sides of a comparison. What is absent is not compared. */
export interface Fleet {
  /** The model's folder. */
  readonly model: string;
  readonly this: Checkout;
  /** This checkout with `--weights int4`. Undefined if `this` has these weights. */
  readonly int4: Checkout | undefined;
  readonly before: Checkout | undefined;
  /** By title. */
  readonly peers: ReadonlyMap<string, Running>;
  /** Why peers are absent, by title. */
  readonly skipped: ReadonlyMap<string, string>;
  stop(): Promise<void>;
}

/** What is compared, and on what. */
export interface FleetOptions extends Stage {
  /** The folder of another checkout. */
  readonly against: string | undefined;
  /** The names of peers. */
  readonly peers: readonly string[];
  /** Of all checkouts; default: the server's. */
  readonly weights?: 'int4';
}

/** The flags of a lorikeet server. */
export function serverFlags(
  options: Pick<FleetOptions, 'model' | 'adapters' | 'slots' | 'maxSeq' | 'weights'>,
): string[] {
  const { model, adapters, slots, maxSeq, weights } = options;
  return [
    ...[`--model=${model}`, `--slots=${slots}`, `--max-seq=${maxSeq}`],
    ...(weights ? [`--weights=${weights}`] : []),
    // Thirty-two wide adapters and as many narrow ones at once.
    ...(adapters === undefined ? [] : [`--adapters=${adapters}`, '--adapter-cache=2GiB']),
  ];
}

/** Starts all sides, one after another. */
export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const { model, against } = options;
  const started: { stop(): Promise<void> }[] = [];
  const stop = async () => {
    await Promise.all(started.map((side) => side.stop()));
  };
  const checkout = async (folder: string, ...more: string[]): Promise<Checkout> => {
    const server = await startLorikeet([...serverFlags(options), ...more], folder);
    started.push(server);
    return { folder, server, readyMb: server.rssMb() };
  };
  const peers = new Map<string, Running>();
  const skipped = new Map<string, string>();
  try {
    for (const { name, title, runsRandom, install, start } of PEERS) {
      if (!options.peers.includes(name) || (options.writeGguf && !runsRandom)) continue;
      try {
        const peer = await start(await install(), options);
        started.push(peer);
        peers.set(title, peer);
      } catch (error) {
        skipped.set(title, error instanceof Error ? error.message : `${error}`);
      }
    }
    return {
      model,
      this: await checkout('.'),
      before: against === undefined ? undefined : await checkout(against),
      int4: options.weights ? undefined : await checkout('.', '--weights=int4'),
      ...{ peers, skipped, stop },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The bytes that a token takes in the KV cache, as `lorikeet size` of that checkout says. */
export function cacheTokenBytes(folder: string, model: string): number {
  const args = ['bin/lorikeet.mjs', 'size', '--model', model, '--json'];
  const text = execFileSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
  return JSON.parse(text).cacheToken;
}
