// Wires Tinker's protocol: a trainer process of the server's base, the store, and the completions route, which draws samples.
import path from 'node:path';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { RunLine } from '../batches/context.ts';
import type { Logger } from '../common/log.ts';
import type { EngineClient } from '../engine-client/client.ts';
import type { ServedModel } from '../http/request/request-model.ts';
import type { ArtifactDescription } from '../import/artifact.ts';
import { threadsOrDefault } from '../jobs/trainer-child.ts';
import { type Config, memoryOfTrainer, servesTinker } from '../settings/config.ts';
import { SESSIONS_FOLDER, TinkerService } from '../tinker/tinker-service.ts';
import { TrainingProcess } from '../tinker/training-process.ts';
import type { OwnProcess } from './own-process.ts';

/** The parts of a server that the protocol needs. */
interface ServingTinkerOptions {
  readonly artifact: ArtifactDescription;
  readonly store: ObjectStore;
  readonly repository: AdapterRepository;
  /** Drops what this server has cached about a name. */
  readonly forget: (tenant: string, name: string) => void;
  readonly client: Pick<EngineClient, 'model'>;
  readonly own: OwnProcess;
  readonly log: Logger;
  readonly model: Pick<ServedModel, 'maxSeqLength'>;
  readonly answer: RunLine;
}

/** The longest sequence of a pass. The attention of a longer one takes gigabytes. */
const MAX_LENGTH = 2048;
const REQUESTS_PER_SLOT = 2;
/** Samples wait for slots, and nobody waits for a connection. */
const SAMPLE_TIMEOUT_MS = 3_600_000;

/** Opens the protocol if the server has it and a folder for it. The trainer starts with the first model. */
export async function openServingTinker(
  config: Config,
  { artifact, forget, client, own, log, model, answer, store, repository }: ServingTinkerOptions,
): Promise<{ service?: TinkerService; drain?(): void }> {
  if (!servesTinker(config) || own.unwritable.includes('tinker')) return {};
  const { trainThreads, maxJobs: maxModels, maxJobRank: maxRank } = config;
  const directory = await own.openFolder('tinker', SESSIONS_FOLDER);
  const { info, dir } = artifact;
  const service = new TinkerService({
    store,
    repository,
    base: { digest: info.digest, names: config.baseAlias },
    bounds: {
      vocabSize: artifact.config.vocabSize,
      maxLength: Math.min(MAX_LENGTH, model.maxSeqLength, artifact.config.maxPositions),
      maxContext: model.maxSeqLength,
    },
    process: new TrainingProcess({
      request: {
        command: 'serve',
        model: path.resolve(dir),
        directory: path.join(directory, 'parked'),
        threads: threadsOrDefault(trainThreads),
        memory: memoryOfTrainer(config),
      },
      child: { log },
    }),
    directory,
    log,
    limits: { maxModels, maxRank },
    onPublished: forget,
    now: Date.now,
    answer: (tenant, body) =>
      answer({
        tenant,
        url: '/v1/completions',
        body,
        timeoutMs: SAMPLE_TIMEOUT_MS,
        signal: new AbortController().signal,
      }),
    maxSampling: () => REQUESTS_PER_SLOT * (client.model?.slotCount ?? 1),
  });
  return { service, drain: () => service.close() };
}
