// Wires the trainer process: for each request, opens the base, the run folder and the publisher, and hands them to the
// trainer's own modules. Replies with messages.
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { CONFIG_FILE, readAdapterFiles } from '../../adapters/peft/files.ts';
import { readAddedTokens } from '../../adapters/registry/added-tokens.ts';
import { readFolderRequestDefaults } from '../../adapters/registry/folders.ts';
import { fetchVersion } from '../../adapters/repository/versions.ts';
import { evaluateRequest, type NamedAdapterFiles } from '../../trainer/commands/eval.ts';
import { mergeModel, parseDtype } from '../../trainer/commands/merge.ts';
import { makePlan, type PlanMachine, planRun, savedBytesOf } from '../../trainer/commands/plan.ts';
import { sayFailures } from '../../trainer/evaluation/gates.ts';
import { parseJob, readJob, type TrainJob } from '../../trainer/job/job.ts';
import { type PreparedRun, prepareRun } from '../../trainer/job/prepare-run.ts';
import { samplingEngineSize } from '../../trainer/planner/sampling-engine-size.ts';
import { askedModels, usesPython } from '../../trainer/rewards.ts';
import { type ExecuteOptions, executeRun } from '../../trainer/run/execute-run.ts';
import { GateError, toFault, withNames } from '../../trainer/run/faults.ts';
import { Phases } from '../../trainer/run/phases.ts';
import {
  createFolderPublisher,
  createStorePublisher,
  type FinishedAdapter,
  type Publisher,
} from '../../trainer/run/publish-result.ts';
import {
  createRunFolder,
  openRunFolder,
  type RunFolder,
  refuseUsedFolder,
} from '../../trainer/run/run-folder.ts';
import { TrainService } from '../../trainer/service/train-service.ts';
import { ConfigError, ServeError, UsageError } from '../common/errors.ts';
import { makeFolder } from '../common/folders.ts';
import { memoryLimit } from '../common/memory-limit.ts';
import { cardRows, formatRows } from '../contracts/evaluation-card.ts';
import type { Constraint } from '../contracts/generation.ts';
import { LOCAL_TENANT } from '../contracts/tenant.ts';
import { sourceNames } from '../contracts/training-fields.ts';
import type {
  GateSettings,
  TaskMessage,
  TrainerMessage,
  TrainerRequest,
} from '../contracts/training-messages.ts';
import { type Artifact, readArtifact, verifyArtifact } from '../import/artifact.ts';
import { type Config, type Flags, loadConfig } from '../settings/config.ts';
import { readAdapterDefaults, readAnswerDefaults } from './adapter-defaults.ts';
import { findBase } from './base.ts';
import type { ProgramContext, Reporter } from './context.ts';
import { explainStoreError, findVersion, openRepository } from './repository.ts';
import { samplingEngineBytes, samplingEngineConfig } from './sampling-engine-plan.ts';

/** How the trainer process communicates with its parent. */
interface TrainerChannel {
  send(message: TrainerMessage): void;
  /** Calls back for each task, including those that have already come. */
  listen(listener: (message: TaskMessage) => void): void;
  /** Aborted to pause a run after its step. */
  readonly signal: AbortSignal;
}

type Request<C extends TrainerRequest['command']> = TrainerRequest & { readonly command: C };

/** Handles one request. Resolves when it is done or the run has paused. */
export async function handleRequest(
  request: TrainerRequest,
  channel: TrainerChannel,
): Promise<void> {
  try {
    await dispatch(request, channel);
  } catch (error) {
    throw 'job' in request ? withNames(error, sourceNames(request.job)) : error;
  }
}

function dispatch(request: TrainerRequest, channel: TrainerChannel): Promise<void> {
  const { store, pythonGraders }: Flags = request as Flags;
  const config = loadConfig({ store, pythonGraders });
  const trainer = new TrainerProgram(config, channel);
  switch (request.command) {
    case 'train':
      return trainer.train(request);
    case 'resume':
      return trainer.resume(request);
    case 'plan':
      return trainer.plan(request);
    case 'merge':
      return trainer.merge(request);
    case 'eval':
      return trainer.evaluateRequest(request);
    case 'serve':
      return trainer.serve(request);
  }
}

/** The events that are printed for the user. Metrics and results have separate messages. */
const NOTED_EVENTS: ReadonlySet<string> = new Set(['resumed', 'paused', 'solved', 'published']);

/** The handler of each request. */
class TrainerProgram {
  readonly #config: Config;
  readonly #channel: TrainerChannel;
  readonly #phases: Phases;

  constructor(config: Config, channel: TrainerChannel) {
    this.#config = config;
    this.#channel = channel;
    this.#phases = new Phases(channel.send);
  }

  async train(request: Request<'train'>): Promise<void> {
    const parsed = parseJob(readJob(request.job));
    const adapters = request.adaptersDir ?? parsed.adapters ?? this.#config.adapters;
    const job = withAdaptersFolder(parsed, adapters);
    const dir = path.resolve(request.outDir ?? defaultRunDir(job, this.#config));
    await refuseUsedFolder(dir); // comes first, because reading the rows may take a while
    const format = await formatOf(job);
    using artifact = await this.#openBase(job.model);
    this.#phases.begin('read rows');
    const prepared = await prepareRun(job, artifact);
    const plan = await planRun(prepared, artifact, this.#machineOf(request));
    this.#note(`${plan.text}\nFolder   ${dir}`);
    const publisher = await this.#openPublisher(prepared, artifact);
    const folder = await createRunFolder(dir, prepared.job);
    const message = 'Files validated, run planned';
    await folder.addEvent({ type: 'planned', level: 'info', message, data: { ...plan.run } });
    const { savedBytes } = plan.estimated;
    const parts = { artifact, folder, publisher, gate: gateOf(request, job), format, savedBytes };
    await this.#run(prepared, parts, request.tenant);
  }

  async resume(request: Request<'resume'>): Promise<void> {
    const { folder, job: saved } = await openRunFolder(path.resolve(request.runDir));
    const job = withAdaptersFolder(saved, request.adaptersDir ?? saved.adapters);
    try {
      const format = await formatOf(job);
      using artifact = await this.#openBase(job.model);
      this.#phases.begin('read rows');
      const prepared = await prepareRun(job, artifact);
      const publisher = await this.#openPublisher(prepared, artifact);
      const savedBytes = savedBytesOf(prepared, artifact, this.#machineOf(request));
      const parts = { artifact, folder, publisher, gate: gateOf(request, job), format, savedBytes };
      await this.#run(prepared, parts, request.tenant);
    } finally {
      await folder.close();
    }
  }

  async plan(request: Request<'plan'>): Promise<void> {
    const findModel = (requested: string) => this.#findBase(requested);
    const { job, json, text } = await makePlan(request, {
      json: readJob(request.job),
      findModel,
      checkJob: formatOf,
      samplingEngineBytes: this.#samplingEngineBytes,
    });
    if (job) this.#channel.send({ type: 'plan', plan: job });
    this.#result(request.isJson ? JSON.stringify(json) : text);
  }

  async merge(request: Request<'merge'>): Promise<void> {
    const dtype = parseDtype(request.dtype);
    const outDir = path.resolve(request.outDir);
    if (existsSync(outDir) && readdirSync(outDir).length > 0) {
      throw new UsageError(`--out: ${outDir} is not empty. Choose an empty or new folder.`);
    }
    using artifact = await this.#openBase(request.model);
    await mergeModel(artifact, path.resolve(request.adapter), { outDir, dtype });
    const note =
      artifact.info.quantization === 'nf4'
        ? '\nIts weights are dequantized NF4. For the original precision, import the base with --quantization none.'
        : '';
    this.#result(`The merged model is in ${outDir}${note}`);
  }

  async evaluateRequest(request: Request<'eval'>): Promise<void> {
    const toolFormat = request.toolFormat ?? this.#config.toolFormat;
    const { card, text } = await evaluateRequest(
      { ...request, toolFormat },
      {
        findModel: (requested) => this.#findBase(requested ?? this.#config.model),
        readAdapter: () => this.#readAdapter(request),
        phases: this.#phases,
        withAnswers: async ({ modelDir, ...served }, work) => {
          const { withAnswerModel } = await import('./answer-engine.ts');
          return withAnswerModel(served, this.#contextOf(modelDir), work);
        },
      },
    );
    this.#channel.send({ type: 'card', card });
    this.#result(request.isJson ? JSON.stringify(card) : text);
    const failures = sayFailures(card);
    if (failures.length > 0) throw new GateError(failures.join('; '), card);
  }

  /** Performs tasks in the order in which they come, until the parent asks for a pause. */
  async serve({ model, ...options }: Request<'serve'>): Promise<void> {
    const { send, signal, listen } = this.#channel;
    using artifact = await this.#openBase(model);
    const service = new TrainService({ artifact, ...options });
    await makeFolder(options.directory);
    let last: Promise<void> = Promise.resolve();
    listen(({ id, task }) => {
      last = last
        .then(() => service.perform(task))
        .then((result) => send({ type: 'done', id, result }))
        .catch((error) => send({ type: 'refused', id, fault: toFault(error) }));
    });
    if (!signal.aborted) await once(signal, 'abort');
    await last;
  }

  #note(text: string): void {
    this.#channel.send({ type: 'note', text });
  }

  #result(text: string): void {
    this.#channel.send({ type: 'result', text });
  }

  #findBase(requested: string | undefined): Promise<string> {
    if (requested === '')
      throw new ConfigError('model: is missing. Name a base, such as smollm2-135m-instruct');
    return findBase(requested, this.#contextOf(requested));
  }

  #contextOf(model: string | undefined): ProgramContext {
    const reporter: Reporter = {
      notify: (text) => this.#note(text),
      openProgress: async () => ({
        update: (phase, done, total) =>
          this.#channel.send({ type: 'progress', phase, done, total }),
        end() {},
      }),
    };
    return { config: { ...this.#config, model }, signal: this.#channel.signal, reporter };
  }

  /** Verifies the base first, because a run on damaged weights would train on noise for hours. Throws `FileError`. */
  async #openBase(requested: string): Promise<Artifact> {
    const dir = await this.#findBase(requested);
    await verifyArtifact(dir, undefined, this.#phases.counter('verify base'));
    return readArtifact(dir);
  }

  /** Opens the store or the folder that a named adapter is published into, and checks that the store responds. */
  async #openPublisher({ job }: PreparedRun, artifact: Artifact): Promise<Publisher | undefined> {
    if (job.name === undefined) return undefined;
    if (job.adapters !== undefined) return createFolderPublisher(job.adapters);
    const tenant = LOCAL_TENANT.id;
    const repository = await openRepository(this.#config);
    await repository.readAliases(tenant, job.name).catch((error) => {
      throw explainStoreError(error, repository.label);
    });
    const store = createStorePublisher(repository, { tenant, baseDigest: artifact.info.digest });
    return {
      ...store,
      publish: (adapter) =>
        store.publish(adapter).catch((error) => {
          throw unpublishedError(adapter, explainStoreError(error, repository.label));
        }),
    };
  }

  readonly #samplingEngineBytes: PlanMachine['samplingEngineBytes'] = (decoder, engine) =>
    samplingEngineBytes(this.#config, decoder, engine);

  #machineOf({ memory }: Pick<Request<'train' | 'resume'>, 'memory'>): PlanMachine {
    const limit = memory ? { bytes: memory, source: 'the memory of a job' } : memoryLimit();
    return { limit, samplingEngineBytes: this.#samplingEngineBytes };
  }

  async #run(
    prepared: PreparedRun,
    parts: TrainerRunParts,
    tenant = LOCAL_TENANT.id,
  ): Promise<void> {
    const { folder, publisher, artifact } = parts;
    try {
      const outcome = await executeRun(prepared, {
        ...parts,
        signal: this.#channel.signal,
        send: (message) => this.#sendOfRun(message),
        withSamplingEngine: async (work) => {
          const { withSamplingEngine } = await import('./sampling-engine.ts');
          const { job } = prepared;
          const { config, ...context } = this.#contextOf(job.model);
          const { threads = config.threads } = job;
          const size = samplingEngineSize(prepared, artifact.config)!;
          const sized = samplingEngineConfig({ ...config, threads }, artifact.config, size);
          const asked = { tenant, models: askedModels(job), usesPython: usesPython(job) };
          const unpaused = new AbortController().signal; // a pause waits for the step, and a step for its engine
          return withSamplingEngine(asked, { ...context, config: sized, signal: unpaused }, work);
        },
      });
      if (outcome === 'succeeded') this.#result(describeResult(prepared, folder, publisher));
    } catch (error) {
      if (error instanceof GateError) this.#note(describeRefusal(prepared, folder));
      throw error;
    } finally {
      await folder.close();
    }
  }

  /** Sends a run's message for programs, and a note if users should see it. */
  #sendOfRun(message: TrainerMessage): void {
    this.#channel.send(message);
    if (message.type === 'card') this.#note(formatRows(cardRows(message.card)));
    if (message.type !== 'event') return;
    if (message.level === 'warn') this.#note(`warning: ${message.message}`);
    if (NOTED_EVENTS.has(message.code)) this.#note(message.message);
  }

  /** Reads a PEFT folder if there is one, else a published adapter. */
  async #readAdapter({
    adapter,
    tenant,
    responseFormatFile,
  }: Request<'eval'>): Promise<NamedAdapterFiles> {
    if (adapter.includes(path.sep) || existsSync(path.join(adapter, CONFIG_FILE))) {
      const directory = path.resolve(adapter);
      const files = await readAdapterFiles(directory);
      const ownDefaults = await readFolderRequestDefaults(directory);
      const defaults = await readAnswerDefaults(ownDefaults, responseFormatFile);
      const addedTokens = await readAddedTokens(directory);
      return { label: adapter, files, baseDigest: undefined, addedTokens, ...defaults };
    }
    const repository = await openRepository(this.#config);
    const { signal } = this.#channel;
    try {
      const manifest = await findVersion({ repository, tenant, signal }, adapter);
      const files = await fetchVersion(repository, manifest, { signal });
      const label = `${manifest.name}@${manifest.version}`;
      const defaults = await readAnswerDefaults(manifest.request_defaults, responseFormatFile);
      const { base_digest: baseDigest, added_tokens: addedTokens } = manifest;
      return { label, files, baseDigest, addedTokens, ...defaults };
    } catch (error) {
      throw explainStoreError(error, repository.label);
    }
  }
}

/** Returns the constraint of a run's samples. Absent: any text. Throws `ServeError` if it cannot be enforced. */
async function formatOf({ responseFormat }: TrainJob): Promise<Constraint | undefined> {
  const own = responseFormat && { response_format: responseFormat };
  const constraint = (await readAdapterDefaults({ own }))?.checked.constraint?.constraint;
  return constraint?.kind === 'any_text' ? undefined : constraint;
}

type TrainerRunParts = Omit<ExecuteOptions, 'signal' | 'send'>;

/** Stores the folder that a named adapter is published into with the job, so that a resumed run uses the same one. */
function withAdaptersFolder(job: TrainJob, adapters: string | undefined): TrainJob {
  if (job.name === undefined || adapters === undefined) return job;
  return { ...job, adapters };
}

function gateOf(
  { gate }: Request<'train'> | Request<'resume'>,
  job: TrainJob,
): GateSettings | false {
  return gate ?? (job.gate ? {} : false);
}

function defaultRunDir({ name = 'run' }: TrainJob, { home }: Config): string {
  const time = new Date().toISOString().replaceAll(':', '').slice(0, 17);
  return path.join(home, 'jobs', `${name}-${time}`);
}

/** Adds to a store's error how to publish the trained adapter later. */
function unpublishedError({ directory, name }: FinishedAdapter, error: unknown): unknown {
  if (!(error instanceof ServeError)) return error;
  const cure = `The trained adapter is in ${directory}. Publish it: lorikeet adapters push ${directory} --name ${name}`;
  return new ServeError(error.code, `${error.message}\n  ${cure}`, { cause: error });
}

/** Names the folder of an adapter that the gates refused. */
function describeRefusal(
  { job: { name } }: PreparedRun,
  { adapterDir, snapshotsDir }: RunFolder,
): string {
  const published = name === undefined ? '' : 'It is not published. ';
  return `${published}The adapter is in ${adapterDir}, those of the last epochs are in ${snapshotsDir}`;
}

/** Names the folder of the trained adapter or model, and explains how to serve it. */
function describeResult(
  { job, adapter }: PreparedRun,
  folder: RunFolder,
  publisher: Publisher | undefined,
): string {
  if (!adapter) {
    return `The model is in ${folder.modelDir}\nServe it: lorikeet import ${folder.modelDir} --out DIR, then lorikeet serve --model DIR`;
  }
  if (!publisher) return `The adapter is in ${folder.adapterDir}`;
  const serve = `lorikeet serve --model ${job.model}${publisher.serveFlag}`;
  return `The adapter is in ${folder.adapterDir}\nIts model name is ${job.name}. A running server of this base offers it within seconds. To start one: ${serve}`;
}
