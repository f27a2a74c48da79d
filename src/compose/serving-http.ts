// The HTTP side of a server: what its routes need, and the port.
import type { Batches } from '../batches/create-batches.ts';
import type { Logger } from '../common/log.ts';
import type { AppOptions, ServedModel } from '../http/deps.ts';
import type { AnswerLine } from '../http/lines.ts';
import type { RunningServer } from '../http/wire/server.ts';
import type { EngineClient } from '../scheduler/client.ts';
import type { Config } from '../settings/config.ts';
import type { Exports } from '../telemetry/otel/open.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Access } from '../tenants/access.ts';
import type { TinkerService } from '../tinker/tinker-service.ts';
import type { OwnProcess } from './own-process.ts';
import type { PreparedBase } from './prepared-base.ts';
import type { BaseText } from './served-model.ts';
import type { ServingAdapters } from './serving-adapters.ts';
import type { ServingJobs } from './serving-jobs.ts';
import type { RouterPorts } from './serving-telemetry.ts';
import type { ServingTenants } from './serving-tenants.ts';

/** The engine process of a server. */
export interface RunningEngine {
  readonly client: EngineClient;
  /** Rejects when the engine will not recover. */
  readonly fatal: Promise<never>;
}

/** The parts of a server process. Parts that are opened during the start are optional. */
export interface ServerParts {
  readonly config: Config;
  readonly access: Access;
  readonly log: Logger;
  readonly own: OwnProcess;
  readonly base: PreparedBase;
  readonly engine: RunningEngine;
  readonly python: AppOptions['python'];
  /** Aborted when the server should get no more requests. */
  readonly leaving: AbortController;
  exports?: Exports | undefined;
  adapters?: ServingAdapters;
  jobs?: ServingJobs;
  batches?: Batches;
  tinker?: TinkerService | undefined;
  http?: RunningServer;
  routerPorts?: RouterPorts;
  tenants?: ServingTenants;
}

interface HttpParts {
  readonly model: ServedModel;
  readonly text: BaseText;
  readonly telemetry: Telemetry;
  readonly adapters: ServingAdapters;
  readonly jobs: ServingJobs;
}

/** Opens what routes need, and listens. */
export async function openHttp(
  parts: ServerParts,
  { model, text, telemetry, adapters, jobs }: HttpParts,
): Promise<RunningServer> {
  const { config, access, log, own, base, leaving, python } = parts;
  const { client } = parts.engine;
  const [
    { createApp },
    { createDeps },
    { createLineApp },
    { openKeptResponses },
    { openServingBatches },
    { openServingTenants },
    { startServer },
    { StatsHistory },
    { openServingTinker },
  ] = await Promise.all([
    import('../http/app.ts'),
    import('../http/deps.ts'),
    import('../http/lines.ts'),
    import('./kept-responses.ts'),
    import('./serving-batches.ts'),
    import('./serving-tenants.ts'),
    import('../http/wire/server.ts'),
    import('../http/routes/stats-history.ts'),
    import('./serving-tinker.ts'),
  ]);
  const history = new StatsHistory(client, telemetry.metrics);
  history.start();
  const answer: AnswerLine = (line) => answerLine(line); // nothing is answered before the start
  const batches = await openServingBatches(config, {
    store: adapters.store,
    files: jobs.http.files,
    base: base.artifact.info.digest,
    client,
    own,
    log,
    tenantOf: access.tenantOf,
    answer,
  });
  parts.batches = batches;
  const tenants = await openServingTenants(config, { store: adapters.store, telemetry, log });
  parts.tenants = tenants;
  const served = { artifact: base.artifact, model, client, own, log };
  parts.tinker = await openServingTinker(config, { ...adapters, ...served, answer });
  const options: AppOptions = {
    python,
    client,
    ...adapters.http,
    jobs: jobs.http,
    batches: batches.service,
    tinker: parts.tinker,
    unwritable: own.unwritable,
    ...openKeptResponses(config, {
      store: adapters.store,
      log,
      signal: leaving.signal,
    }),
    ...text,
    model,
    telemetry,
    history,
    threads: config.threads,
    ...(config.metricsOpen && { hasOpenMetrics: true }),
    log,
    ...(access.kind === 'keys' && { authenticate: access.authenticate }),
    ...(access.kind === 'local' && { hasOpenAdmin: true }),
    gateway: access.gateway,
    ...tenants.http,
    allowedHosts: [config.host, ...config.allowedHosts],
    allowedOrigins: config.allowedOrigins,
    basePath: config.basePath,
    limits: { requestTimeoutMs: config.requestTimeoutMs },
    leaving: leaving.signal,
    memory: base.plan.budget,
  };
  const deps = createDeps(options);
  const answerLine = createLineApp(deps);
  const app = createApp(options, deps);
  const { host, port, maxConnections, maxConnectionsPerAddress: maxPerAddress } = config;
  return startServer(app, { host, port, connections: { maxConnections, maxPerAddress }, log });
}
