// Wires the server process: base, engine process, adapters, jobs and HTTP. Starts them in the order that makes the server ready
// soonest, and stops them in order. Modules that only the HTTP side needs are loaded after the engine process was forked.
// Prints nothing.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ConfigError } from '../common/errors.ts';
import { createLog, type Logger } from '../common/log.ts';
import { endStartPhase, startPhases } from '../common/start-phases.ts';
import { withResolvers } from '../common/waiting.ts';
import type { AdmissionLimits } from '../scheduler/admission.ts';
import { createProcessClient, type EngineClient } from '../scheduler/client.ts';
import type { SupervisorOptions } from '../scheduler/supervisor.ts';
import { type Config, servesTinker } from '../settings/config.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { localAccess, openAccess } from '../tenants/access.ts';
import type { ProgramContext, ReadyServer } from './context.ts';
import { demoNames, servedDemos } from './demo-adapters.ts';
import type { EngineHostOptions } from './engine.ts';
import { openOwnProcess, withoutUnwritable } from './own-process.ts';
import { engineOptions, type PreparedBase, prepareBase } from './prepared-base.ts';
import { openHttp, type RunningEngine, type ServerParts } from './serving-http.ts';
import { createTelemetry, openRouterPorts, openTelemetryExports } from './serving-telemetry.ts';
import type { ServingWeights } from './serving-weights.ts';

/** How long streams may take to end. Orchestrators usually kill after 30 s. */
const DRAIN_DEADLINE_MS = 25_000;
/** How long trainers may take to finish their step and write a checkpoint. A step that takes longer is repeated later. */
const CHECKPOINT_DEADLINE_MS = 20_000;
/** How long clients may take to read the end of a stream. */
const CLOSE_DEADLINE_MS = 2_000;

const ENGINE_PROGRAM = new URL(
  `../engine-process.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`,
  import.meta.url,
);

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
  const { signal } = context;
  let config = options.isPrewarm ? withoutClients(context.config) : context.config;
  let parts: ServerParts | undefined;
  const log = createLog(
    config.logLevel,
    undefined,
    () => parts?.exports?.tracing?.logFields() ?? {},
  );
  checkStoreFolder(config);
  const own = await openOwnProcess(config, log);
  config = withoutUnwritable(config, own);
  const python = await openPython(config, log);
  const access = options.isPrewarm ? localAccess() : await openAccess(config, log);
  endStartPhase('settings');
  const hasReservedSlots = access.kind === 'keys';
  const base = await prepareBase({ ...context, config }, { hasReservedSlots }).catch((error) => {
    access.close();
    const isStopped = signal.aborted && error.name === 'AbortError';
    if (options.isPrewarm || !isStopped) throw error;
    return undefined;
  });
  if (!base) return;
  endStartPhase('base');
  const engine = startEngine(base, { config, access, log }, (events) =>
    parts?.routerPorts?.publish(events),
  );
  parts = { config, access, log, own, base, engine, python, leaving: new AbortController() };
  try {
    await runServer(parts, signal, options);
  } finally {
    await stopServer(parts);
  }
}

/** Throws if the store's folder is missing at the start. A folder that disappears later may come back with its disk. */
function checkStoreFolder({ store }: Config): void {
  // The settings make folders absolute, and leave memory: and s3:// as they are.
  if (store === undefined || !path.isAbsolute(store) || existsSync(`${store}/`)) return;
  throw new ConfigError([
    `--store: The folder ${store} does not exist. Create it, or check the path and whether its disk is mounted.`,
  ]);
}

/** Throws `ConfigError` if graders in Python cannot run here. */
async function openPython({ pythonGraders }: Config, log: Logger): Promise<ServerParts['python']> {
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

function startEngine(
  base: PreparedBase,
  { config, access, log }: Pick<ServerParts, 'config' | 'access' | 'log'>,
  onPrefixes: NonNullable<SupervisorOptions['onPrefixes']>,
): RunningEngine {
  const { maxWaiting, maxWaitingTokens, prefillChunk } = config;
  const { artifact, plan, prepareFiles } = base;
  // One tenant must not fill the queue, unless it is the only one.
  const fairShare = access.kind === 'keys' ? Math.ceil(maxWaiting / 2) : maxWaiting;
  const demoDir = servedDemos(config, access.kind, artifact.info.source); // a new user asks for them first
  const hostOptions: EngineHostOptions = {
    engine: { ...engineOptions(base, config), expectsHeads: servesTinker(config) },
    artifactDir: artifact.dir,
    adapterCacheBytes: plan.adapterCacheBytes,
    preload:
      demoDir === undefined ? [] : demoNames(demoDir).map((name) => path.join(demoDir, name)),
    maxAdapterRank: config.maxAdapterRank,
    limits: {
      prefillChunk,
      reservedSlots: plan.reservedSlots,
      ...(config.adapterSlots && { maxActiveAdapters: config.adapterSlots }),
    },
    drafts: config.drafts,
    isInvariant: config.batchInvariant === 'on',
  };
  const { promise: fatal, reject: onFatal } = withResolvers<never>();
  const prepareRestart = async () => void (await prepareFiles());
  const admission: AdmissionLimits = {
    ...{ maxWaiting, maxWaitingTokens },
    maxWaitingPerTenant: config.maxWaitingPerTenant ?? fairShare,
    reservedSlots: plan.reservedSlots,
  };
  const callbacks = { onFatal, onPrefixes, prepareRestart };
  const options = { entry: ENGINE_PROGRAM, hostOptions, log, admission, ...callbacks };
  return { client: createProcessClient(options), fatal };
}

async function runServer(
  parts: ServerParts,
  signal: AbortSignal,
  { isPrewarm, onReady }: ServeOptions,
): Promise<void> {
  const { config, log, base, engine, leaving } = parts;
  const { server, telemetry } = await openServer(parts);
  void preload(parts, server.demos, 0); // the engine has them, and requests need their digests
  const engineInfo = await Promise.race([engine.client.whenReady(), aborted(signal)]);
  if (isPrewarm) signal.throwIfAborted();
  if (engineInfo) {
    endStartPhase('engine');
    const phases = { server: startPhases(), engine: engineInfo.start };
    telemetry.started(phases, engineInfo);
    const { weights, kv, int8Operator } = engineInfo;
    log.info({ ...phases, computes: { weights, kv, int8Operator } }, 'ready');
    if (isPrewarm) await requestOnce(server.url);
    onReady(server);
    if (isPrewarm) return;
    parts.jobs?.worker.start();
    parts.batches?.worker.start();
    void checkWeights(base.weights, engine.client, { signal: leaving.signal, log });
    void preload(parts, config.preload, Number.POSITIVE_INFINITY);
  }
  await Promise.race([aborted(signal), engine.fatal]);
  leaving.abort();
  parts.http?.retire();
  await Promise.race([delay(config.drainDelayMs), engine.fatal]);
}

/** Opens everything but the engine. The server then answers with 503 until the engine is ready. */
async function openServer(
  parts: ServerParts,
): Promise<{ server: ReadyServer; telemetry: Telemetry }> {
  const { config, access, log, own, base, engine } = parts;
  const { artifact, plan } = base;
  parts.exports = await openTelemetryExports(config, log);
  const { describeServedModel, loadBaseText } = await import('./served-model.ts');
  const text = await loadBaseText(artifact.dir, config.toolFormat);
  endStartPhase('tokenizer');
  const { openServingAdapters } = await import('./serving-adapters.ts');
  const demoDir = servedDemos(config, access.kind, artifact.info.source);
  const { name, digest } = artifact.info;
  const adapters = await openServingAdapters(config, {
    base: { id: name, names: config.baseAlias, digest },
    demoDir,
    client: engine.client,
    log,
  });
  parts.adapters = adapters;
  const { generationConfig } = config;
  const { maxSeqLength } = plan;
  const model = await describeServedModel(artifact, text, { maxSeqLength, generationConfig });
  const telemetry = await createTelemetry(model, parts.exports);
  const { openServingJobs } = await import('./serving-jobs.ts');
  const { store, repository, forget: onPublished } = adapters;
  const jobsOptions = { artifact, store, repository, onPublished, telemetry, own, log };
  const jobs = await openServingJobs(config, jobsOptions);
  parts.jobs = jobs;
  endStartPhase('adapters');
  const http = await openHttp(parts, { model, text, telemetry, adapters, jobs });
  parts.http = http;
  const shown = { url: http.url, model: name, hasPrefixCache: plan.prefixCacheBytes > 0 };
  parts.routerPorts = await openRouterPorts(config, { ...shown, telemetry, log });
  endStartPhase('listen');
  const server: ReadyServer = {
    url: http.url,
    name,
    model: modelSetting(artifact.dir, config),
    canChat: text.chatTemplate !== undefined,
    adapters:
      config.adapters === undefined
        ? undefined
        : { folder: config.adapters, exists: existsSync(config.adapters) },
    demos: demoDir === undefined ? [] : demoNames(demoDir),
    access: access.kind,
  };
  return { server, telemetry };
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

async function preload(
  { adapters, engine, log }: ServerParts,
  names: readonly string[],
  keepWarmMs: number,
): Promise<void> {
  const { preloadAdapters } = await import('./serving-adapters.ts');
  if (adapters)
    await preloadAdapters(names, keepWarmMs, { ...adapters.http, client: engine.client, log });
}

/** Refuses new work, lets running streams end, and closes everything that was opened. */
async function stopServer(parts: ServerParts): Promise<void> {
  const { access, engine, leaving, adapters, jobs, batches, http, routerPorts, exports } = parts;
  leaving.abort();
  http?.retire();
  await http?.closeIdle();
  // Requests that wait for an adapter's files are refused like requests that wait for a slot.
  const closed = [
    adapters?.http.localAdapters.close(),
    jobs?.worker.close(CHECKPOINT_DEADLINE_MS),
    batches?.worker.close(CHECKPOINT_DEADLINE_MS),
  ];
  parts.tinker?.close();
  // Meanwhile the port still answers: /readyz says 503 once the engine is drained.
  await engine.client.drain(DRAIN_DEADLINE_MS);
  await http?.closeIdle(); // accepts connections that have arrived since, which closing would reset
  await Promise.all([http, routerPorts].map((one) => one?.close(CLOSE_DEADLINE_MS)));
  await Promise.all([...closed, parts.tenants?.close()]);
  await exports?.close();
  access.close();
}

/** Resolves when the signal is aborted. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
