// Several servers on one bucket behind a balancer, each of which may be killed and started again at its own address.
import { once } from 'node:events';
import path from 'node:path';
import { type AdapterRepository, createRepository } from '../../adapters/repository/repository.ts';
import { temporaryFolder } from '../fixtures.ts';
import { freePort } from '../free-port.ts';
import { childrenOf, commandOf } from '../processes.ts';
import { startBalancer } from './balancer.ts';
import { type Serving, startServing } from './program.ts';
import { openStore, type S3Server, storeEnvironment } from './s3-server.ts';

export interface Fleet {
  /** The URL of the load balancer. */
  readonly url: string;
  /** Returns the URL of a replica. */
  urlOf(replica: number): string;
  /** As the rest of the world sees the bucket. */
  readonly repository: AdapterRepository;
  readonly environment: Readonly<Record<string, string>>;
  readonly folder: string;
  /** Resolves with the exit code once the replica is gone. One that is starting is awaited first. */
  end(replica: number, signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null>;
  /** Resolves once the replica is ready. */
  start(replica: number): Promise<void>;
  /** The replica in whose processes one with this in its command line runs; -1: in none's. */
  findProcess(text: string): Promise<number>;
}

export interface FleetOptions {
  readonly count: number;
  /** The fleet's own prefix in the bucket. */
  readonly prefix: string;
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

export async function startFleet(
  t: { after(fn: () => unknown): void },
  server: S3Server,
  options: FleetOptions,
): Promise<Fleet> {
  const { count, prefix, args } = options;
  const folder = temporaryFolder(t);
  const environment = { ...storeEnvironment(server, { prefix }), ...options.environment };
  // A loopback address of its own, so that no connection of anybody takes a replica's port while it is away.
  const hosts = Array.from({ length: count }, (_, i) => `127.0.0.${11 + i}`);
  const ports = await Promise.all(hosts.map((host) => freePort(host)));
  const running: Promise<Serving>[] = [];
  const start = async (i: number) => {
    const place = ['--host', hosts[i]!, '--port', `${ports[i]}`];
    running[i] = startServing([...args, ...place], path.join(folder, `${i}`), environment);
    await running[i];
  };
  const end: Fleet['end'] = async (i, signal) => {
    const { child } = await running[i]!;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const exited = once(child, 'exit');
    child.kill(signal);
    return (await exited)[0];
  };
  t.after(() => Promise.allSettled(running.map((_, i) => end(i, 'SIGKILL'))));
  await Promise.all(hosts.map((_, i) => start(i)));
  const addresses = hosts.map((host, i) => `${host}:${ports[i]}`);
  return {
    url: await startBalancer(t, await freePort(), addresses),
    urlOf: (i) => `http://${addresses[i]}`,
    repository: createRepository(openStore(server, prefix)),
    environment,
    folder,
    end,
    start,
    async findProcess(text) {
      const all = await Promise.all(running);
      return all.findIndex(({ child }) =>
        childrenOf(child.pid!).some((pid) => commandOf(pid).includes(text)),
      );
    },
  };
}
