// Many adapters of one base in a real S3 server that is some milliseconds away, and servers that read them there.

import { rmSync } from 'node:fs';
import path from 'node:path';
import { createRepository } from '../../../adapters/repository/repository.ts';
import type { DecoderConfig } from '../../../src/model/config.ts';
import { TARGET_MODULES, type TargetName } from '../../../src/model/target-modules.ts';
import { startFaultProxy } from '../../e2e/fault-proxy.ts';
import { type Serving, startServing } from '../../e2e/program.ts';
import { openStore, startS3Server, storeEnvironment } from '../../e2e/s3-server.ts';
import { writeAdapters } from '../adapters.ts';

/** From the widest on, so that any first few of them are as wide as all. */
export const RANKS = [64, 4, 16, 32, 8];
/** PEFT's default for models like these; 1.8 MB at rank 16. */
const TARGETS: readonly TargetName[] = ['q_proj', 'v_proj'];
const PUBLISHED_AT_ONCE = 4;

export interface StoredAdapter {
  readonly name: string;
  readonly rank: number;
  /** As a file, 16 bits a number. */
  readonly fileBytes: number;
  /** Loaded, 32 bits a number. */
  readonly memoryBytes: number;
}

export interface ShelfOptions {
  readonly scratch: string;
  /** The base's folder. */
  readonly model: string;
  readonly config: DecoderConfig;
  readonly latencyMs: number;
  cleanup(end: () => unknown): void;
}

export interface Shelf {
  /** Writes and publishes adapters under these names, of these ranks. */
  publish(adapters: readonly { name: string; rank: number }[]): Promise<StoredAdapter[]>;
  /** `lorikeet serve`; what it fetched before is on its disk. */
  serve(flags: Readonly<Record<string, string | number>>, more?: ServeOptions): Promise<Serving>;
  /** No adapter is on the disk for the next server. */
  emptyDisk(): void;
  /** Of weights, by any server, until now. */
  fetches(): number;
}

interface ServeOptions {
  readonly environment?: Readonly<Record<string, string>>;
}

export async function openShelf(options: ShelfOptions): Promise<Shelf> {
  const { scratch, model, config, latencyMs, cleanup } = options;
  const server = await startS3Server({ after: cleanup });
  const proxy = await startFaultProxy({ after: cleanup }, server.endpoint);
  proxy.script = () => ({ kind: 'latency', ms: latencyMs });
  const repository = createRepository(openStore(server));
  const home = path.join(scratch, 'home');
  let seed = 0;
  const write = (name: string, rank: number): string => {
    const shape = { label: name, rank, targets: TARGETS };
    const root = path.join(scratch, 'sources');
    const [folder] = writeAdapters(root, config, { shape, count: 1, seed: ++seed });
    return path.join(root, folder!);
  };
  return {
    async publish(adapters) {
      const stored: StoredAdapter[] = new Array(adapters.length);
      let next = 0;
      const work = async () => {
        for (let i = next++; i < adapters.length; i = next++) {
          const { name, rank } = adapters[i]!;
          const directory = write(name, rank);
          await repository.publish({ tenant: 'local', name }, { directory });
          rmSync(directory, { recursive: true });
          const values = valuesOf(config, rank);
          stored[i] = { name, rank, fileBytes: 2 * values, memoryBytes: 4 * values };
        }
      };
      await Promise.all(Array.from({ length: PUBLISHED_AT_ONCE }, work));
      return stored;
    },
    serve(flags, { environment = {} } = {}) {
      const args = Object.entries({ model, ...flags }).map(([name, value]) => `--${name}=${value}`);
      return startServing(args, home, {
        ...storeEnvironment(server, { endpoint: proxy.endpoint }),
        ...environment,
      });
    },
    emptyDisk: () => rmSync(path.join(home, 'cache', 'adapters'), { recursive: true, force: true }),
    fetches: () => proxy.requests.filter(({ path: key }) => key.endsWith('.safetensors')).length,
  };
}

function valuesOf(config: DecoderConfig, rank: number): number {
  const perRank = TARGETS.map((target) => {
    const { inFeatures, outFeatures } = TARGET_MODULES[target];
    return inFeatures(config) + outFeatures(config);
  });
  return rank * config.layerCount * perRank.reduce((sum, width) => sum + width, 0);
}
