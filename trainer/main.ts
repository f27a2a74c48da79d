// The trainer's program: one request, the first message of its parent, from start to exit code. It answers in messages and
// pauses when it is told to. Wires the parts together; the work is theirs.
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { CONFIG_FILE, readAdapterFiles } from '../adapters/peft/files.ts';
import { fetchVersion } from '../adapters/repository/fetch.ts';
import { findVersion } from '../src/cli/adapters/context.ts';
import { chooseBase } from '../src/cli/choose-base.ts';
import { explainStore } from '../src/cli/explain-store.ts';
import { openRepository } from '../src/cli/open-repository.ts';
import { ConfigError, ServeError, UsageError } from '../src/common/errors.ts';
import { describeFailure, EXIT } from '../src/common/failure.ts';
import { cardRows, formatRows } from '../src/contracts/evaluation-card.ts';
import { LOCAL_TENANT } from '../src/contracts/tenant.ts';
import type {
  EvalRequest,
  GateSettings,
  MergeRequest,
  PauseMessage,
  RequestMessage,
  TrainerMessage,
  TrainerRequest,
} from '../src/contracts/training.ts';
import { type Artifact, readArtifact, verifyArtifact } from '../src/import/artifact.ts';
import { type Config, type Flags, loadConfig } from '../src/settings/config.ts';
import { evaluate, type NamedAdapterFiles } from './commands/eval.ts';
import { mergeModel, parseDtype } from './commands/merge.ts';
import { makePlan, planRun } from './commands/plan.ts';
import { sayFailures } from './evaluation/gates.ts';
import { parseJob, readJob, type TrainJob } from './job/job.ts';
import { type PreparedRun, prepareRun } from './job/prepare-run.ts';
import { executeRun } from './run/execute-run.ts';
import { GateError, TrainError, toFault } from './run/faults.ts';
import {
  createFolderPublisher,
  createStorePublisher,
  type FinishedAdapter,
  type Publisher,
} from './run/publish.ts';
import {
  createRunFolder,
  openRunFolder,
  type RunFolder,
  refuseUsedFolder,
} from './run/run-folder.ts';

/** Events that the one who waits is told of; metrics and results are told in their own messages. */
const NOTED: ReadonlySet<string> = new Set(['resumed', 'paused', 'published']);
const pause = new AbortController();
const requestPause = () => pause.abort(new DOMException('asked to pause', 'AbortError'));
/** Without its command line a run would go on unseen; its checkpoints let another one take it up. */
const abandon = () => process.exit(EXIT.failed);
/** Messages leave in order: when this resolves, all have left. */
let lastSent: Promise<unknown> = Promise.resolve();

process.on('SIGTERM', requestPause).on('SIGINT', requestPause).on('disconnect', abandon);
try {
  const request = await receiveRequest();
  await handle(request, loadConfig(flagsOf(request)));
} catch (error) {
  process.exitCode = fail(error);
}
process.off('disconnect', abandon);
await lastSent;
if (process.connected) process.disconnect();

/** One listener for both kinds: a pause may come right behind the request. */
function receiveRequest(): Promise<TrainerRequest> {
  if (!process.send) throw new UsageError('The trainer is started by lorikeet train.');
  return new Promise((resolve) => {
    process.on('message', (message: RequestMessage | PauseMessage) => {
      if (message.type === 'request') resolve(message.request);
      else requestPause();
    });
  });
}

function fail(error: unknown): number {
  send({ type: 'fault', ...toFault(error) });
  const isExpected = error instanceof TrainError || error instanceof GateError;
  const { text, exitCode } = isExpected
    ? { text: `lorikeet: ${error.message}\n`, exitCode: EXIT.failed }
    : describeFailure(error);
  process.stderr.write(text);
  return exitCode;
}

/** What the command line says over the environment. */
function flagsOf(request: TrainerRequest): Flags {
  const store = 'store' in request ? request.store : undefined;
  return store === undefined ? {} : { store };
}

function send(message: TrainerMessage): void {
  if (!process.send) return;
  lastSent = new Promise((resolve) => process.send!(message, undefined, undefined, resolve));
}

async function handle(request: TrainerRequest, config: Config): Promise<void> {
  switch (request.command) {
    case 'train':
      return startRun(request, config);
    case 'resume':
      return resumeRun(request, config);
    case 'plan': {
      const findModel = (requested: string) => findBase(requested, config);
      const plan = await makePlan(request, { json: readJob(request.job), findModel });
      if (plan.job) send({ type: 'plan', plan: plan.job });
      return send({ type: 'result', text: request.isJson ? JSON.stringify(plan.json) : plan.text });
    }
    case 'merge':
      return merge(request, config);
    case 'eval':
      return evaluateOne(request, config);
  }
}

function findBase(requested: string | undefined, config: Config): Promise<string> {
  const notify = (text: string) => send({ type: 'note', text });
  if (requested === '') throw new ConfigError(['model: is missing']);
  return chooseBase(requested, { config, signal: pause.signal, notify });
}

/** A run on damaged weights would train for hours on noise. Throws `FileError`. */
async function openVerified(dir: string): Promise<Artifact> {
  await verifyArtifact(dir);
  return readArtifact(dir);
}

type StartRequest = TrainerRequest & { command: 'train' };

type ResumeRequest = TrainerRequest & { command: 'resume' };

async function startRun(request: StartRequest, config: Config): Promise<void> {
  const asked = parseJob(readJob(request.job));
  const job = withPlace(asked, request.adaptersDir ?? asked.adapters ?? config.adapters);
  const dir = path.resolve(request.outDir ?? defaultRunDir(job, config));
  await refuseUsedFolder(dir); // before the rows are read: that may take a while
  const artifact = await openVerified(await findBase(job.model, config));
  try {
    const prepared = await prepareRun(job, artifact);
    const plan = await planRun(prepared, artifact);
    send({ type: 'note', text: `${plan.text}\nFolder   ${dir}` });
    const publisher = await openPublisher(prepared, artifact, config);
    const folder = await createRunFolder(dir, prepared.job);
    const message = 'Files validated, run planned';
    await folder.addEvent({ type: 'planned', level: 'info', message, data: { ...plan.run } });
    await run(prepared, { artifact, folder, publisher, gate: gateOf(request, job) });
  } finally {
    artifact.tensors.close();
  }
}

/** Where a named adapter goes is the run's own: it goes there, too, when it is gone on with. */
function withPlace(job: TrainJob, adapters: string | undefined): TrainJob {
  if (job.name === undefined || adapters === undefined) return job;
  return { ...job, adapters };
}

async function resumeRun(request: ResumeRequest, config: Config): Promise<void> {
  const { folder, job: own } = await openRunFolder(path.resolve(request.runDir));
  const job = withPlace(own, request.adaptersDir ?? own.adapters);
  const artifact = await openVerified(await findBase(job.model, config));
  try {
    const prepared = await prepareRun(job, artifact);
    const publisher = await openPublisher(prepared, artifact, config);
    await run(prepared, { artifact, folder, publisher, gate: gateOf(request, job) });
  } finally {
    artifact.tensors.close();
    await folder.close();
  }
}

function gateOf({ gate }: StartRequest | ResumeRequest, job: TrainJob): GateSettings | false {
  return gate ?? (job.gate ? {} : false);
}

interface RunParts {
  readonly artifact: Artifact;
  readonly folder: RunFolder;
  readonly publisher: Publisher | undefined;
  readonly gate: GateSettings | false;
}

/** Of a run with a name: into the store, or into the folder that was named. That it answers is seen before the run. */
async function openPublisher(
  { job }: PreparedRun,
  artifact: Artifact,
  config: Config,
): Promise<Publisher | undefined> {
  if (job.name === undefined) return undefined;
  if (job.adapters !== undefined) return createFolderPublisher(job.adapters);
  const tenant = LOCAL_TENANT.id;
  const repository = await openRepository(config);
  await repository.readAliases(tenant, job.name).catch((error) => {
    throw explainStore(error, repository.label);
  });
  const store = createStorePublisher(repository, { tenant, baseDigest: artifact.info.digest });
  return {
    ...store,
    publish: (adapter) =>
      store.publish(adapter).catch((error) => {
        throw unpublished(adapter, explainStore(error, repository.label));
      }),
  };
}

/** The run was not in vain. */
function unpublished({ directory, name }: FinishedAdapter, error: unknown): unknown {
  if (!(error instanceof ServeError)) return error;
  const cure = `It is trained, in ${directory}. Publish it by: lorikeet adapters push ${directory} --name ${name}`;
  return new ServeError(error.code, `${error.message}\n  ${cure}`, { cause: error });
}

async function run(prepared: PreparedRun, parts: RunParts): Promise<void> {
  const { folder, publisher } = parts;
  try {
    const outcome = await executeRun(prepared, { ...parts, signal: pause.signal, send: tell });
    if (outcome === 'succeeded')
      send({ type: 'result', text: closing(prepared, folder, publisher) });
  } catch (error) {
    if (error instanceof GateError) send({ type: 'note', text: refusal(prepared, folder) });
    throw error;
  } finally {
    await folder.close();
  }
}

/** To programs as it is, and what people are told of it. */
function tell(message: TrainerMessage): void {
  send(message);
  if (message.type === 'card') send({ type: 'note', text: formatRows(cardRows(message.card)) });
  if (message.type !== 'event') return;
  if (message.level === 'warn') send({ type: 'note', text: `warning: ${message.message}` });
  if (NOTED.has(message.code)) send({ type: 'note', text: message.message });
}

/** The run was not in vain. */
function refusal({ job: { name } }: PreparedRun, { adapterDir, snapshotsDir }: RunFolder): string {
  const published = name === undefined ? '' : 'It is not published. ';
  return `${published}The adapter is in ${adapterDir}, the last epochs' are in ${snapshotsDir}`;
}

function closing(
  { job, adapter }: PreparedRun,
  folder: RunFolder,
  publisher: Publisher | undefined,
): string {
  if (!adapter) {
    return `The model is in ${folder.modelDir}\nServe it: lorikeet import ${folder.modelDir} --out DIR, lorikeet serve --model DIR`;
  }
  if (!publisher) return `The adapter is in ${folder.adapterDir}`;
  return `The adapter is in ${folder.adapterDir}\nServe it: lorikeet serve --model ${job.model}${publisher.serveFlag} (its name: ${job.name})`;
}

function defaultRunDir({ name = 'run' }: TrainJob, { home }: Config): string {
  const time = new Date().toISOString().replaceAll(':', '').slice(0, 17);
  return path.join(home, 'jobs', `${name}-${time}`);
}

async function evaluateOne(request: EvalRequest, config: Config): Promise<void> {
  const { card, text } = await evaluate(request, {
    findModel: (requested) => findBase(requested ?? config.model, config),
    readAdapter: () => findAdapter(request, config),
  });
  send({ type: 'card', card });
  send({ type: 'result', text: request.isJson ? JSON.stringify(card) : text });
  const failures = sayFailures(card);
  if (failures.length > 0) throw new GateError(failures.join('; '), card);
}

/** A PEFT folder where there is one, else a published adapter. */
async function findAdapter(
  { adapter, tenant }: EvalRequest,
  config: Config,
): Promise<NamedAdapterFiles> {
  if (adapter.includes(path.sep) || existsSync(path.join(adapter, CONFIG_FILE))) {
    const files = await readAdapterFiles(path.resolve(adapter));
    return { label: adapter, files, baseDigest: undefined };
  }
  const repository = await openRepository(config);
  try {
    const { signal } = pause;
    const manifest = await findVersion({ repository, tenant, signal }, adapter);
    const files = await fetchVersion(repository, manifest, { signal });
    const label = `${manifest.name}@${manifest.version}`;
    return { label, files, baseDigest: manifest.base_digest };
  } catch (error) {
    throw explainStore(error, repository.label);
  }
}

async function merge(request: MergeRequest, config: Config): Promise<void> {
  const dtype = parseDtype(request.dtype);
  const outDir = path.resolve(request.outDir);
  if (existsSync(outDir) && readdirSync(outDir).length > 0) {
    throw new UsageError(`--out: ${outDir} is not empty`);
  }
  const artifact = await openVerified(await findBase(request.model, config));
  try {
    await mergeModel(artifact, path.resolve(request.adapter), { outDir, dtype });
  } finally {
    artifact.tensors.close();
  }
  const packed = artifact.info.quantization === 'nf4';
  const note = packed ? ' (on the dequantized NF4 weights; import it without quantization)' : '';
  send({ type: 'result', text: `The merged model is in ${outDir}${note}` });
}
