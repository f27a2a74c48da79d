// Wires the server process: base, engine process, adapters, jobs and HTTP. Opens them in the order that makes the server ready
// soonest, and closes them in reverse. Modules that only the HTTP side needs are loaded after the engine process was forked.
// Prints nothing.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ConfigError } from '../common/errors.ts';
import { createLog, type Logger } from '../common/log.ts';
import { endStartPhase, startPhases } from '../common/start-phases.ts';
import type { EngineClient } from '../engine-client/client.ts';
import type { PythonGraders } from '../graders/python.ts';
import type { Config } from '../settings/config.ts';
import type { Tracing } from '../telemetry/tracing.ts';
import { localAccess, openAccess } from '../tenants/access.ts';
import type { ProgramContext, ReadyServer } from './context.ts';
import { demoNames, servedDemos } from './demo-adapters.ts';
import { OpenedParts } from './opened-parts.ts';
import { openOwnProcess } from './own-process.ts';
import { prepareBase } from './prepared-base.ts';
import { startEngine } from './serving-engine.ts';
import type { ServingWeights } from './serving-weights.ts';

/** How a server runs. */
export interface ServeOptions {
  /** If set, builds everything that a start needs, answers one request, and ends. */
  readonly isPrewarm: boolean;
  /** Called once the server answers requests. */
  onReady(server: ReadyServer): void;
}

/** Serves until the signal is aborted, then drains. Rejects if the server cannot start or its engine does not recover. */
export async function serve(context: ProgramContext, options: ServeOptions): Promise<void> {
  endStartPhase('imports');
  const opened = new OpenedParts();
  try {
    const server = await openServer(context, options, opened);
    await run(server, context.signal, options);
  } catch (error) {
    const isCancelled = context.signal.aborted && (error as Error).name === 'AbortError';
    if (options.isPrewarm || !isCancelled) throw error;
  } finally {
    await opened.close();
  }
}

/** Opens everything. The server answers with 503 until the engine is ready. */
async function openServer(
  context: ProgramContext,
  { isPrewarm }: ServeOptions,
  opened: OpenedParts,
) {
  const config = isPrewarm ? withoutClients(context.config) : context.config;
  let tracing: Tracing | undefined;
  const log = createLog(config.logLevel, undefined, () => tracing?.logFields() ?? {});
  checkStoreFolder(config);
  const own = await openOwnProcess(config, log);
  const python = await openPython(config, log);
  const access = opened.add(isPrewarm ? localAccess() : await openAccess(config, log));
  endStartPhase('settings');
  const hasReservedSlots = access.kind === 'keys';
  const base = await prepareBase({ ...context, config }, { hasReservedSlots });
  const { artifact } = base;
  const { name, digest, source } = artifact.info;
  endStartPhase('base');
  const demoDir = servedDemos(config, access.kind, source);
  const demos = demoDir === undefined ? [] : demoNames(demoDir);
  const preload = demos.map((demo) => path.join(demoDir!, demo)); // a new user asks for them first
  const engine = opened.add(startEngine(config, { base, access, preload, log }));
  const { client } = engine;

  const [
    { createTelemetry, openKvEvents, openMetricsPort, openTelemetryExports },
    { describeServedModel, loadBaseText },
    { openServingAdapters },
    { openServingJobs },
    { openLimits, openUsage },
    { createRoutes, openHttp },
    { openServingBatches },
    { openServingTinker },
  ] = await Promise.all([
    import('./serving-telemetry.ts'),
    import('./served-model.ts'),
    import('./serving-adapters.ts'),
    import('./serving-jobs.ts'),
    import('./serving-tenants.ts'),
    import('./serving-http.ts'),
    import('./serving-batches.ts'),
    import('./serving-tinker.ts'),
  ]);
  endStartPhase('modules');
  const exports = opened.add(await openTelemetryExports(config, log));
  tracing = exports?.tracing;
  const text = await loadBaseText(artifact.dir, config.toolFormat);
  const model = await describeServedModel(artifact, text, { ...config, ...base.plan });
  endStartPhase('tokenizer');
  const telemetry = createTelemetry(model, exports);
  const names = { id: name, names: config.baseAlias, digest };
  const shared = { client, own, log };
  const adapters = opened.add(
    await openServingAdapters(config, { ...shared, base: names, demoDir }),
  );
  const { store, repository, forget } = adapters;
  const published = { store, repository, forget };
  const jobs = opened.add(
    await openServingJobs(config, { ...shared, ...published, artifact, telemetry }),
  );
  endStartPhase('adapters');
  const { rateLimits } = opened.add(await openLimits(config, { telemetry, log }));
  const usage = opened.add(openUsage({ store, log }));
  const leaving = opened.leaving.signal;
  const tenants = { access, rateLimits, usage };
  const parts = { base, python, text, model, telemetry, adapters, jobs, leaving };
  const routes = createRoutes(config, { ...shared, ...tenants, ...parts });
  const { answer } = routes;
  const { files } = jobs.http;
  const { tenantOf } = access;
  const batches = opened.add(
    await openServingBatches(config, { ...shared, store, files, base: digest, tenantOf, answer }),
  );
  const tinker = opened.add(
    await openServingTinker(config, { ...shared, ...published, artifact, model, answer }),
  );
  const users = { batches: batches.service, tinker: tinker.service };
  const http = opened.add(await openHttp(config, routes, users));
  const { url } = http;
  opened.add(await openKvEvents(config, { url, base, engine, telemetry }));
  opened.add(await openMetricsPort(config, { telemetry, log }));
  endStartPhase('listen');
  const ready: ReadyServer = {
    url,
    name,
    model: modelSetting(artifact.dir, config),
    canChat: text.chatTemplate !== undefined,
    adapters: folderOf(config),
    demos,
    access: access.kind,
  };
  return { config, log, base, engine, telemetry, adapters, jobs, batches, http, ready, opened };
}

/** Serves once the engine is ready, until the signal is aborted. */
async function run(
  server: Awaited<ReturnType<typeof openServer>>,
  signal: AbortSignal,
  { isPrewarm, onReady }: ServeOptions,
): Promise<void> {
  const { config, log, base, engine, telemetry, adapters, jobs, batches, http } = server;
  const { ready } = server;
  const { leaving } = server.opened;
  void adapters.preload(ready.demos, 0); // the engine has them, and requests need their digests
  const engineInfo = await Promise.race([engine.client.whenReady(), aborted(signal)]);
  if (isPrewarm) signal.throwIfAborted();
  if (engineInfo) {
    endStartPhase('engine');
    const phases = { server: startPhases(), engine: engineInfo.start };
    telemetry.started(phases, engineInfo);
    const { weights, kv, int8Operator } = engineInfo;
    log.info({ ...phases, computes: { weights, kv, int8Operator } }, 'ready');
    if (isPrewarm) await requestOnce(ready.url);
    onReady(ready);
    if (isPrewarm) return;
    jobs.start();
    batches.start();
    void checkWeights(base.weights, engine.client, { signal: leaving.signal, log });
    void adapters.preload(config.preload, Number.POSITIVE_INFINITY);
  }
  await Promise.race([aborted(signal), engine.fatal]);
  leaving.abort();
  http.retire();
  await Promise.race([delay(config.drainDelayMs), engine.fatal]);
  await http.closeIdle();
}

/** Throws if the store's folder is missing at the start. A folder that disappears later may come back with its disk. */
function checkStoreFolder({ store }: Config): void {
  // The settings make folders absolute, and leave memory: and s3:// as they are.
  if (store === undefined || !path.isAbsolute(store) || existsSync(`${store}/`)) return;
  throw new ConfigError(
    `--store: The folder ${store} does not exist. Create it, or check the path and whether its disk is mounted.`,
  );
}

/** Throws `ConfigError` if graders in Python cannot run here. */
async function openPython(
  { pythonGraders }: Config,
  log: Logger,
): Promise<PythonGraders | undefined> {
  if (pythonGraders === undefined) return undefined;
  const { PythonGraders } = await import('../graders/python.ts');
  const python = await PythonGraders.open(pythonGraders);
  if (python.cgroupParent === undefined) {
    log.warn(
      'graders in Python have no cgroup: memory is limited for each process of a run, not for the run. ' +
        'docs/fine-tuning.md#graders-in-python says how to give them one.',
    );
  }
  return python;
}

/** Returns the settings of a server that no client can reach. */
function withoutClients(config: Config): Config {
  return {
    ...config,
    host: '127.0.0.1',
    port: 0,
    metricsPort: undefined,
    kvEvents: undefined,
    store: 'memory:',
    preload: [],
    otelDisabled: true,
    ledger: undefined,
    storeResponsesMs: undefined,
    pythonGraders: undefined,
  };
}

/** Returns the folder of adapters, and whether it exists. */
function folderOf({ adapters: folder }: Config): ReadyServer['adapters'] {
  return folder === undefined ? undefined : { folder, exists: existsSync(folder) };
}

/** Returns the name of an imported base, or its folder if it is not among the models in the data folder. */
function modelSetting(dir: string, { home }: Config): string {
  return path.dirname(dir) === path.join(home, 'models') ? path.basename(dir) : dir;
}

/** Sends one request, which exercises all code that a request needs. Throws if the base does not answer. */
async function requestOnce(url: string): Promise<void> {
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'base', prompt: [0], max_tokens: 2, stream: true }),
  });
  const answer = await response.text();
  if (!response.ok) throw new Error(`The base does not answer: ${answer}`);
}

/** Checks the weights in full. If they are damaged, restarts the engine, which rebuilds them first. */
async function checkWeights(
  weights: ServingWeights,
  client: EngineClient,
  { signal, log }: { signal: AbortSignal; log: Logger },
): Promise<void> {
  const damage = await weights.checkAll(signal).catch(() => undefined); // rejects only if aborted
  if (damage) client.restart(damage);
  else log.debug({ folder: weights.dir }, 'the serving files are intact');
}

/** Resolves when the signal is aborted. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
