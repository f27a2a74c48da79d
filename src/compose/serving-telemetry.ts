// Wires a server's telemetry. Modules that the settings do not need are not loaded.
import { ConfigError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import type { PrefixEvent } from '../contracts/engine.ts';
import type { ServedModel } from '../http/deps.ts';
import type { RunningServer } from '../http/wire/server.ts';
import type { Config } from '../settings/config.ts';
import { chooseExports } from '../telemetry/export-choice.ts';
import type { KvEvents } from '../telemetry/kv-events/kv-events.ts';
import type { Exports } from '../telemetry/otel/open.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';

/** Opens the exporters that the settings choose. */
export async function openTelemetryExports(
  config: Config,
  log: Logger,
): Promise<Exports | undefined> {
  const choice = chooseExports(config);
  if (!choice) return undefined;
  const otel = await import('../telemetry/otel/open.ts');
  return otel.openOtelExports(choice, log);
}

/** Creates a server's telemetry. */
export async function createTelemetry(
  model: ServedModel,
  exports: Exports | undefined,
): Promise<Telemetry> {
  const { Telemetry } = await import('../telemetry/telemetry.ts');
  const tracing = exports?.tracing;
  const telemetry = new Telemetry({ ...model, ...(tracing && { tracing }) });
  exports?.send(telemetry.metrics);
  return telemetry;
}

/** The server that routers see. */
interface RoutedServer {
  readonly telemetry: Telemetry;
  readonly log: Logger;
  readonly url: string;
  /** The base's name. */
  readonly model: string;
  readonly hasPrefixCache: boolean;
}

/** The ports for routers. */
export interface RouterPorts {
  /** Tells routers what has changed in the prefix cache. */
  publish(events: readonly PrefixEvent[]): void;
  close(deadlineMs: number): Promise<void>;
}

/** Opens the ports for routers that the settings choose. Throws `ConfigError` if a router would follow a cache that is off. */
export async function openRouterPorts(config: Config, server: RoutedServer): Promise<RouterPorts> {
  const events = await openKvEvents(config, server);
  const metrics = await openMetricsPort(config, server).catch(async (error) => {
    await events?.close(); // an open port would keep the process alive
    throw error;
  });
  return {
    publish: (changes) => events?.publish(changes),
    async close(deadlineMs) {
      await Promise.all([events?.close(), metrics?.close(deadlineMs)]);
    },
  };
}

async function openKvEvents(
  { kvEvents: address, kvEventsPod }: Config,
  { telemetry, model, url, hasPrefixCache }: RoutedServer,
): Promise<KvEvents | undefined> {
  if (!address) return undefined;
  if (!hasPrefixCache) {
    const text = '--kv-events: The prefix cache is off. Leave this out, or turn the cache on.';
    throw new ConfigError([text]);
  }
  const { KvEvents } = await import('../telemetry/kv-events/kv-events.ts');
  const topic = { pod: kvEventsPod ?? new URL(url).host, model };
  return KvEvents.listen(address, topic, { nameOf: (key) => telemetry.nameOf(key) });
}

async function openMetricsPort(
  { host, metricsPort: port, allowedHosts }: Config,
  { telemetry, log }: RoutedServer,
): Promise<RunningServer | undefined> {
  if (port === undefined) return undefined;
  const [{ createMetricsApp }, { startServer }] = await Promise.all([
    import('../http/app.ts'),
    import('../http/wire/server.ts'),
  ]);
  const app = createMetricsApp({ telemetry, log, allowedHosts: [host, ...allowedHosts] });
  return startServer(app, { host, port, log });
}
