// Starts a server's engine process.
import { programUrl } from '../common/fork-program.ts';
import type { Logger } from '../common/log.ts';
import { withResolvers } from '../common/waiting.ts';
import type { PrefixEvent } from '../contracts/engine.ts';
import type { AdmissionLimits } from '../engine-client/admission.ts';
import { createProcessClient, type EngineClient } from '../engine-client/client.ts';
import { type Config, servesTinker } from '../settings/config.ts';
import type { Access } from '../tenants/access.ts';
import type { EngineHostOptions } from './engine.ts';
import { DRAIN_DEADLINE_MS } from './opened-parts.ts';
import { engineOptions, type PreparedBase } from './prepared-base.ts';

const ENGINE_PROGRAM = programUrl('../engine-process', import.meta.url);

/** The engine process of a server. */
export interface ServingEngine {
  readonly client: EngineClient;
  /** Rejects when the engine will not recover. */
  readonly fatal: Promise<never>;
  /** Calls the listener with the changes of the prefix cache from now on. */
  followPrefixes(listener: (events: readonly PrefixEvent[]) => void): void;
  /** Lets running sequences end, and ends the process. */
  drain(): Promise<void>;
}

/** The parts that an engine process starts with. */
interface EngineParts {
  readonly base: PreparedBase;
  readonly access: Access;
  /** Folders of shared adapters that it loads before it is ready. */
  readonly preload: readonly string[];
  readonly log: Logger;
}

/** Starts the engine process. It is ready later. */
export function startEngine(
  config: Config,
  { base, access, preload, log }: EngineParts,
): ServingEngine {
  const { maxWaiting, maxWaitingTokens, prefillChunk } = config;
  const { artifact, plan, prepareFiles } = base;
  // One tenant must not fill the queue, unless it is the only one.
  const fairShare = access.kind === 'keys' ? Math.ceil(maxWaiting / 2) : maxWaiting;
  const hostOptions: EngineHostOptions = {
    engine: { ...engineOptions(base, config), expectsHeads: servesTinker(config) },
    artifactDir: artifact.dir,
    adapterCacheBytes: plan.adapterCacheBytes,
    preload,
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
  const admission: AdmissionLimits = {
    ...{ maxWaiting, maxWaitingTokens },
    maxWaitingPerTenant: config.maxWaitingPerTenant ?? fairShare,
    reservedSlots: plan.reservedSlots,
  };
  let follower: (events: readonly PrefixEvent[]) => void = () => {};
  const client = createProcessClient({
    ...{ entry: ENGINE_PROGRAM, hostOptions, log, admission, onFatal },
    onPrefixes: (events) => follower(events),
    prepareRestart: async () => void (await prepareFiles()),
  });
  return {
    client,
    fatal,
    followPrefixes(listener) {
      follower = listener;
    },
    drain: () => client.drain(DRAIN_DEADLINE_MS),
  };
}
