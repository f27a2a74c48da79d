// Wires a server's telemetry. Modules that the settings do not need are not loaded.
import { ConfigError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { createMetricsApp } from '../http/app.ts';
import type { ServedModel } from '../http/request/request-model.ts';
import { startServer } from '../http/wire/server.ts';
import type { Config } from '../settings/config.ts';
import { chooseExports } from '../telemetry/export-choice.ts';
import type { KvEvents } from '../telemetry/kv-events/kv-events.ts';
import type { Exports } from '../telemetry/otel/open.ts';
import { Telemetry } from '../telemetry/telemetry.ts';
import { CLOSE_DEADLINE_MS } from './opened-parts.ts';
import type { PreparedBase } from './prepared-base.ts';
import type { ServingEngine } from './serving-engine.ts';

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
export function createTelemetry(model: ServedModel, exports: Exports | undefined): Telemetry {
  const tracing = exports?.tracing;
  const telemetry = new Telemetry({ ...model, ...(tracing && { tracing }) });
  exports?.send(telemetry.metrics);
  return telemetry;
}

/** The server that routers see. */
interface RoutedServer {
  readonly engine: Pick<ServingEngine, 'followPrefixes'>;
  readonly telemetry: Telemetry;
  readonly log: Logger;
  readonly url: string;
  readonly base: PreparedBase;
}

/** Publishes the changes of the prefix cache if the settings say so. Throws `ConfigError` if the cache is off. */
export async function openKvEvents(
  { kvEvents: address, kvEventsPod }: Config,
  { engine, telemetry, base, url }: Omit<RoutedServer, 'log'>,
): Promise<KvEvents | undefined> {
  if (!address) return undefined;
  if (base.plan.prefixCacheBytes === 0) {
    const text = '--kv-events: The prefix cache is off. Leave this out, or turn the cache on.';
    throw new ConfigError(text);
  }
  const { KvEvents } = await import('../telemetry/kv-events/kv-events.ts');
  const topic = { pod: kvEventsPod ?? new URL(url).host, model: base.artifact.info.name };
  const events = await KvEvents.listen(address, topic, { nameOf: (key) => telemetry.nameOf(key) });
  engine.followPrefixes((changes) => events.publish(changes));
  return events;
}

/** Opens the port for scrapers without a key if the settings say so. */
export async function openMetricsPort(
  { host, metricsPort: port, allowedHosts }: Config,
  { telemetry, log }: Pick<RoutedServer, 'telemetry' | 'log'>,
) {
  if (port === undefined) return undefined;
  const app = createMetricsApp({ telemetry, log, allowedHosts: [host, ...allowedHosts] });
  const { close } = await startServer(app, { host, port, log });
  return { close: () => close(CLOSE_DEADLINE_MS) };
}
