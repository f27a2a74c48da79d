// The composition root: wires configuration, base, engine process and HTTP together, and ends them in order.
// Everything heavy is imported by the command that needs it, after the engine process has been forked.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { demoFolder, demoNames } from './cli/demo-adapters.ts';
import { greet } from './cli/greeting.ts';
import type { ImportRequest } from './cli/import-command.ts';
import type { PreloadDeps } from './cli/preload.ts';
import { type Commands, runCommandLine, type ServeOptions } from './cli/program.ts';
import type { ServingAdapters } from './cli/serving-adapters.ts';
import type { ServingJobs } from './cli/serving-jobs.ts';
import { ServingWeights } from './cli/serving-weights.ts';
import { listenForInterrupt, STANDARD_TERMINAL as terminal } from './cli/terminal.ts';
import type { TrainerOptions } from './cli/training-commands.ts';
import { makeFolder } from './common/folders.ts';
import { createLog, type Logger } from './common/log.ts';
import { type MemoryBudget, memoryLimit } from './common/memory-limit.ts';
import { endStartPhase, startPhases } from './common/start-phases.ts';
import type { EngineHostOptions } from './compose/engine.ts';
import type { TrainerRequest } from './contracts/training.ts';
import { type MemoryPlan, planMemory } from './engine/memory-budget.ts';
import type { AppOptions, ServedModel } from './http/deps.ts';
import type { RunningServer } from './http/server.ts';
import { type ArtifactDescription, describeArtifact } from './import/artifact.ts';
import { createProcessClient, type EngineClient } from './scheduler/client.ts';
import type { Config } from './settings/config.ts';
import { chooseExports } from './telemetry/export-choice.ts';
import type { Exports } from './telemetry/otel/open.ts';
import type { Telemetry } from './telemetry/telemetry.ts';
import { type Access, localAccess, openAccess } from './tenants/access.ts';

/** Orchestrators kill after 30 s as a rule: streams get the most of it. */
const DRAIN_DEADLINE_MS = 25_000;
/** For trainers to end their step and write a checkpoint; a longer step is done again. */
const CHECKPOINT_DEADLINE_MS = 20_000;
/** For readers that have not taken the end of a drained stream. */
const CLOSE_DEADLINE_MS = 2_000;
/** For whatever else ends the process, where only a collector that does not answer still holds it. */
const EXIT_MS = 200;

const ENGINE_PROGRAM = new URL(
  `./engine-process.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`,
  import.meta.url,
);
endStartPhase('imports');
const commands: Commands = { serve, import: importCommand, trainer, trainerPod };
process.exitCode = await runCommandLine(process.argv.slice(2), commands, terminal);

async function importCommand(request: ImportRequest, config: Config): Promise<void> {
  const { importWithProgress } = await import('./cli/import-command.ts');
  const info = await importWithProgress({ ...request, config, signal: listenForInterrupt() });
  const result = { directory: path.resolve(request.outDir), ...info };
  const text = `${result.name} is in ${result.directory}\nServe it: lorikeet serve --model ${request.outDir}`;
  terminal.out(`${request.isJson ? JSON.stringify(result) : text}\n`);
}

async function trainer(request: TrainerRequest, options: TrainerOptions): Promise<number> {
  const { runTrainerProcess } = await import('./cli/trainer-process.ts');
  return runTrainerProcess(request, { ...options, terminal });
}

async function trainerPod(attempt: string, config: Config): Promise<number> {
  const { runTrainerPod } = await import('./cli/trainer-pod.ts');
  return runTrainerPod(attempt, config);
}

async function serve(settings: Config, { isPrewarm }: ServeOptions): Promise<void> {
  const config = isPrewarm ? withoutClients(settings) : settings;
  const interrupt = listenForInterrupt();
  let exports: Exports | undefined;
  const log = createLog(config.logLevel, undefined, () => exports?.tracing?.logFields() ?? {});
  const access = isPrewarm ? localAccess() : await openAccess(config, log);
  endStartPhase('settings');
  const base = await prepareBase(config, interrupt);
  endStartPhase('base');
  const engine = startEngine(base, { config, access, log });
  let server: RunningServer | undefined;
  let adapters: ServingAdapters | undefined;
  let jobs: ServingJobs | undefined;
  /** Aborted from when on no more requests are wished for. */
  const leaving = new AbortController();
  try {
    exports = await openExports(config, log);
    const text = await loadText(base.artifact.dir);
    endStartPhase('tokenizer');
    adapters = await openAdapters(base, { config, access, client: engine.client, log });
    const served = await describeBase(base, text, config.generationConfig);
    const telemetry = await createTelemetry(served, exports);
    jobs = await openJobs(base, { config, adapters, telemetry, log });
    endStartPhase('adapters');
    const { client } = engine;
    const memory = base.plan.budget;
    const options = { config, text, client, adapters, jobs, access, telemetry, log, memory };
    server = await listen(served, { ...options, leaving: leaving.signal });
    endStartPhase('listen');
    const ready = await Promise.race([client.whenReady(), aborted(interrupt)]);
    if (ready) {
      endStartPhase('engine');
      const phases = { server: startPhases(), engine: ready.start };
      telemetry.started(phases);
      log.info(phases, 'ready');
    }
    if (ready && isPrewarm) {
      await answerOnce(server.url);
      terminal.out(`${served.id} answers; what was built for it is in ${config.home}\n`);
      return;
    }
    if (ready) {
      const { name } = base.artifact.info;
      const hasAdapters = existsSync(config.adapters ?? '');
      const canChat = !!text.chatTemplate;
      const demoDir = demoDirOf(base.artifact, { config, access });
      const demos = demoDir === undefined ? [] : demoNames(demoDir);
      const { url } = server;
      terminal.out(greet({ url, name, canChat, hasAdapters, demos, access: access.kind, config }));
      jobs.worker.start();
      void checkWeights(base.weights, client, { signal: leaving.signal, log });
      await preload(config.preload, { ...adapters.side, client, log });
    }
    await Promise.race([aborted(interrupt), engine.fatal]);
    leaving.abort();
    server.retire();
    await Promise.race([delay(config.drainDelayMs), engine.fatal]);
  } finally {
    leaving.abort();
    server?.retire();
    // Who waits for an adapter is refused, as who waits for a slot.
    const closed = [
      adapters?.side.localAdapters.close(),
      jobs?.worker.close(CHECKPOINT_DEADLINE_MS),
    ];
    // Refusing comes first: a drained engine makes /readyz say 503 while the port still answers.
    await engine.client.drain(DRAIN_DEADLINE_MS);
    await server?.close(CLOSE_DEADLINE_MS);
    await Promise.all(closed);
    if ((await exports?.close()) === 'late') setTimeout(() => process.exit(), EXIT_MS).unref();
    access.close();
  }
}

/** A start that nobody can reach: for what it builds. */
function withoutClients(config: Config): Config {
  return { ...config, host: '127.0.0.1', port: 0, preload: [], otelDisabled: true };
}

/** Resolves when the signal is aborted. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** All code of a request's way has run once, and the base is known to answer. */
async function answerOnce(url: string): Promise<void> {
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'base', prompt: [0], max_tokens: 2, stream: true }),
  });
  const answer = await response.text();
  if (!response.ok) throw new Error(`the base does not answer: ${answer}`);
}

interface Base {
  artifact: ArtifactDescription;
  weights: ServingWeights;
  plan: MemoryPlan;
}

/** The base's artifact and its serving files, both made if they are not there yet. */
async function prepareBase(config: Config, signal: AbortSignal): Promise<Base> {
  await makeFolder(config.home);
  const { chooseBase } = await import('./cli/choose-base.ts');
  const notify = (text: string) => terminal.error(`${text}\n`);
  const dir = await chooseBase(config.model, { config, signal, notify });
  const artifact = describeArtifact(dir);
  const plan = planMemory(artifact.config, config, memoryLimit());
  if (plan.reduced) notify(plan.reduced);
  const weights = new ServingWeights({
    artifactDir: dir,
    digest: artifact.info.digest,
    weights: config.weights,
    cacheDir: path.join(config.home, 'cache'),
    warn: notify,
  });
  await weights.ensure();
  return { artifact, weights, plan };
}

/** Damaged weights are served no longer: the engine is replaced, and its files are rebuilt before it starts again. */
async function checkWeights(
  weights: ServingWeights,
  client: EngineClient,
  { signal, log }: { signal: AbortSignal; log: Logger },
): Promise<void> {
  const damage = await weights.checkAll(signal).catch(() => undefined); // rejects only if it is aborted
  if (damage) client.restart(damage);
  else log.debug({ folder: weights.dir }, 'the serving files are sound');
}

interface RunningEngine {
  client: EngineClient;
  /** Rejects when the engine will not come back. */
  fatal: Promise<never>;
}

interface EngineSettings {
  config: Config;
  access: Access;
  log: Logger;
}

function startEngine(base: Base, { config, access, log }: EngineSettings): RunningEngine {
  const { maxWaiting, prefillChunk } = config;
  const { weights, plan } = base;
  // Nobody is to fill the queue alone, but where nobody else can come.
  const fairShare = access.kind === 'keys' ? Math.ceil(maxWaiting / 2) : maxWaiting;
  const hostOptions: EngineHostOptions = {
    engine: {
      servingDir: weights.dir,
      slotCount: plan.slots,
      maxSeqLength: plan.maxSeqLength,
      adapterSlotBytes: plan.adapterSlotBytes,
      ...(config.adapterSlots && { adapterSlotCount: config.adapterSlots }),
      runtime: {
        provider: config.provider,
        ...(config.threads && { intraOpThreads: config.threads }),
      },
    },
    adapterCacheBytes: plan.adapterCacheBytes,
    maxAdapterRank: config.maxAdapterRank,
    limits: {
      maxWaiting,
      maxWaitingPerTenant: config.maxWaitingPerTenant ?? fairShare,
      prefillChunk,
      ...(config.adapterSlots && { maxActiveAdapters: config.adapterSlots }),
    },
  };
  let onFatal: (error: Error) => void = () => {};
  const fatal = new Promise<never>((_, reject) => {
    onFatal = reject;
  });
  const prepareRestart = () => weights.ensure();
  fatal.catch(() => {}); // whoever waits is told; nobody may wait yet
  return {
    client: createProcessClient({
      entry: ENGINE_PROGRAM,
      hostOptions,
      log,
      onFatal,
      prepareRestart,
    }),
    fatal,
  };
}

type Text = Pick<AppOptions, 'tokenizer' | 'chatTemplate'>;

async function loadText(dir: string): Promise<Text> {
  const [{ loadTokenizer }, { createChatTemplate }] = await Promise.all([
    import('./tokenizer/tokenizer.ts'),
    import('./tokenizer/chat-template.ts'),
  ]);
  const tokenizer = await loadTokenizer(dir);
  return { tokenizer, chatTemplate: tokenizer && createChatTemplate(tokenizer) };
}

async function openExports(config: Config, log: Logger): Promise<Exports | undefined> {
  const choice = chooseExports(config);
  if (!choice) return undefined;
  const otel = await import('./telemetry/otel/open.ts');
  return otel.openExports(choice, log);
}

/** Tenants with keys get what their operator gives them, and nothing else. */
function demoDirOf(
  { info }: ArtifactDescription,
  { config, access }: Pick<EngineSettings, 'config' | 'access'>,
): string | undefined {
  if (config.noDemo || access.kind === 'keys') return undefined;
  return demoFolder(info.source);
}

async function openAdapters(
  { artifact }: Base,
  { config, access, ...options }: EngineSettings & { client: EngineClient },
): Promise<ServingAdapters> {
  const { openServingAdapters } = await import('./cli/serving-adapters.ts');
  const { info } = artifact;
  const base = { id: info.name, names: [], digest: info.digest };
  const demoDir = demoDirOf(artifact, { config, access });
  return openServingAdapters(config, { base, demoDir, ...options });
}

async function openJobs(
  { artifact }: Base,
  options: { config: Config; adapters: ServingAdapters; telemetry: Telemetry; log: Logger },
): Promise<ServingJobs> {
  const { config, adapters, telemetry, log } = options;
  const { openServingJobs } = await import('./cli/serving-jobs.ts');
  const { store, repository, forget: onPublished } = adapters;
  return openServingJobs(config, { artifact, store, repository, onPublished, telemetry, log });
}

async function preload(names: readonly string[], deps: PreloadDeps): Promise<void> {
  if (names.length === 0) return;
  const { preloadAdapters } = await import('./cli/preload.ts');
  void preloadAdapters(names, deps); // the server is ready without them
}

interface ListenOptions {
  config: Config;
  adapters: ServingAdapters;
  jobs: ServingJobs;
  text: Text;
  client: EngineClient;
  access: Access;
  telemetry: Telemetry;
  memory: MemoryBudget;
  leaving: AbortSignal;
  log: Logger;
}

async function describeBase(
  { artifact, plan }: Base,
  { tokenizer }: Text,
  setting: string,
): Promise<ServedModel> {
  const { baseGenerationConfig } = await import('./cli/base-generation-config.ts');
  const { info, config } = artifact;
  return {
    id: info.name,
    baseDigest: info.digest,
    maxSeqLength: plan.maxSeqLength,
    vocabSize: config.vocabSize,
    eosTokenIds: tokenizer?.eosTokenIds ?? config.eosTokenIds,
    generationConfig: await baseGenerationConfig(setting, artifact),
  };
}

async function createTelemetry(
  served: ServedModel,
  exports: Exports | undefined,
): Promise<Telemetry> {
  const { Telemetry } = await import('./telemetry/telemetry.ts');
  const tracing = exports?.tracing;
  const telemetry = new Telemetry({ ...served, ...(tracing && { tracing }) });
  exports?.send(telemetry.metrics);
  return telemetry;
}

/** Answers from now on, with 503 until the engine is ready. */
async function listen(served: ServedModel, options: ListenOptions): Promise<RunningServer> {
  const { config, text, client, adapters, jobs, access, telemetry, log } = options;
  const [{ createApp }, { startServer }, { StatsHistory }] = await Promise.all([
    import('./http/app.ts'),
    import('./http/server.ts'),
    import('./http/stats-history.ts'),
  ]);
  const history = new StatsHistory(client);
  history.start();
  const app = createApp({
    client,
    ...adapters.side,
    jobs: jobs.side,
    ...text,
    model: served,
    telemetry,
    history,
    threads: config.threads,
    ...(config.metricsOpen && { hasOpenMetrics: true }),
    log,
    ...(access.kind === 'keys' && { authenticate: access.authenticate }),
    ...(access.kind === 'local' && { hasOpenAdmin: true }),
    allowedHosts: [config.host, ...config.allowedHosts],
    allowedOrigins: config.allowedOrigins,
    basePath: config.basePath,
    leaving: options.leaving,
    memory: options.memory,
  });
  const { host, port, maxConnections, maxConnectionsPerAddress: maxPerAddress } = config;
  return startServer(app, { host, port, connections: { maxConnections, maxPerAddress }, log });
}
