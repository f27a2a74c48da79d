// Wires a server's telemetry. Modules that the settings do not need are not loaded.
import type { Logger } from '../common/log.ts';
import type { ServedModel } from '../http/deps.ts';
import type { Config } from '../settings/config.ts';
import { chooseExports } from '../telemetry/export-choice.ts';
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
