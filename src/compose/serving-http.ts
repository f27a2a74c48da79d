// The HTTP side of a server: what its routes share, and the port.
import type { RunLine } from '../batches/context.ts';
import { createApp } from '../http/app.ts';
import { type AppOptions, createDeps, type Deps, type LineUsers } from '../http/deps.ts';
import { createLineApp } from '../http/lines.ts';
import { type RunningServer, startServer } from '../http/wire/server.ts';
import type { Config } from '../settings/config.ts';
import { StatsHistory } from '../telemetry/stats-history.ts';
import type { Access } from '../tenants/access.ts';
import { openKeptResponses } from './kept-responses.ts';
import { CLOSE_DEADLINE_MS } from './opened-parts.ts';
import type { OwnProcess } from './own-process.ts';
import type { PreparedBase } from './prepared-base.ts';
import type { BaseText } from './served-model.ts';
import type { ServingAdapters } from './serving-adapters.ts';
import type { ServingJobs } from './serving-jobs.ts';

type Shared = 'client' | 'model' | 'telemetry' | 'rateLimits' | 'usage' | 'leaving' | 'log';

/** The parts of a server that its routes use. */
interface RouteParts extends Pick<AppOptions, 'python'>, Required<Pick<AppOptions, Shared>> {
  readonly own: OwnProcess;
  readonly access: Access;
  readonly base: PreparedBase;
  readonly text: BaseText;
  readonly adapters: ServingAdapters;
  readonly jobs: ServingJobs;
}

/** The parts that a server's routes share. */
export interface ServingRoutes {
  readonly options: AppOptions;
  readonly deps: Deps;
  /** Answers with the routes of single requests. */
  readonly answer: RunLine;
}

/** Creates what a server's routes share, and the application for requests of this process. */
export function createRoutes(
  config: Config,
  { own, access, base, text, adapters, jobs, ...parts }: RouteParts,
): ServingRoutes {
  const { client, telemetry, log, leaving } = parts;
  const history = new StatsHistory(client, telemetry.metrics);
  history.start();
  const options: AppOptions = {
    ...parts,
    ...adapters.http,
    jobs: jobs.http,
    unwritable: own.unwritable,
    ...openKeptResponses(config, { store: adapters.store, log, signal: leaving }),
    ...text,
    history,
    threads: config.threads,
    ...(config.metricsOpen && { hasOpenMetrics: true }),
    ...(access.kind === 'keys' && { authenticate: access.authenticate }),
    ...(access.tenants && { listTenants: access.tenants }),
    ...(access.kind === 'local' && { hasOpenAdmin: true }),
    gateway: access.gateway,
    allowedHosts: [config.host, ...config.allowedHosts],
    allowedOrigins: config.allowedOrigins,
    basePath: config.basePath,
    limits: { requestTimeoutMs: config.requestTimeoutMs },
    memory: base.plan.budget,
  };
  const deps = createDeps(options);
  return { options, deps, answer: createLineApp(deps) };
}

/** A listening port. */
interface ServingHttp extends Pick<RunningServer, 'url' | 'retire' | 'closeIdle'> {
  close(): Promise<void>;
}

/** Listens. */
export async function openHttp(
  { host, port, maxConnections, maxConnectionsPerAddress: maxPerAddress }: Config,
  { options, deps }: ServingRoutes,
  users: LineUsers,
): Promise<ServingHttp> {
  const app = createApp({ ...options, ...users }, deps);
  const { log } = options;
  const connections = { maxConnections, maxPerAddress };
  const { close, ...server } = await startServer(app, { host, port, connections, log });
  return {
    ...server,
    async close() {
      await server.closeIdle(); // accepts connections that have arrived since, which closing would reset
      await close(CLOSE_DEADLINE_MS);
    },
  };
}
