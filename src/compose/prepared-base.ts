// Finds the base and creates everything on disk that serving it needs.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { ConfigError, FileError } from '../common/errors.ts';
import { makeFolder, whyNotWritable } from '../common/folders.ts';
import { memoryLimit } from '../common/memory-limit.ts';
import type { EngineOptions } from '../engine/engine.ts';
import type { RuntimeOptions } from '../engine/graph-sessions.ts';
import { cacheType, usablePackings } from '../engine/int8-form.ts';
import { type MemoryPlan, planMemory } from '../engine/memory/memory-budget.ts';
import { type ArtifactDescription, describeArtifact } from '../import/artifact.ts';
import { isBuilt, type ServingCache, servingFolder } from '../import/serving-cache.ts';
import type { KvType } from '../model/kv-attention.ts';
import { KV_SCALES_FILE } from '../model/kv-scales.ts';
import type { RowPacking } from '../model/row-weights.ts';
import type { Config } from '../settings/config.ts';
import { findBase } from './base.ts';
import { settingsFor } from './base-plan.ts';
import type { CalibrationRequest } from './calibration.ts';
import type { ProgramContext } from './context.ts';
import { ServingWeights } from './serving-weights.ts';

/** A base that is ready to be served. */
export interface PreparedBase {
  readonly artifact: ArtifactDescription;
  readonly weights: ServingWeights;
  readonly plan: MemoryPlan;
  readonly kv: KvType;
  /** Builds the files that the engine reads if they are missing or damaged. */
  readonly prepareFiles: () => Promise<unknown>;
}

/** Finds or imports the base, builds its serving files if necessary, and reports what does not fit the machine. */
export async function prepareBase(
  context: ProgramContext,
  options: { readonly hasReservedSlots?: boolean } = {},
): Promise<PreparedBase> {
  const base = await buildBase(context, options);
  if (base.plan.reduced) context.reporter.notify(base.plan.reduced);
  return base;
}

/** Finds or imports the base, and builds the serving files that a start with these settings reads, if necessary. */
export async function buildBase(
  context: ProgramContext,
  { hasReservedSlots = false } = {},
): Promise<PreparedBase> {
  const { reporter, signal } = context;
  await makeFolder(context.config.home);
  const artifactDir = await findBase(context.config.model, context);
  const artifact = describeBase(artifactDir);
  const { settings, reason } = settingsFor(artifact.config, context.config);
  if (reason) reporter.notify(`--weights auto: ${reason}.`);
  const config = { ...settings, hasReservedSlots };
  const limit = memoryLimit();
  const { digest } = artifact.info;
  const cache = { weights: config.weights, cacheDir: path.join(config.home, 'cache') };
  const packings = usablePackings({ ...config, config: artifact.config });
  const packing = await packingOfFiles(packings, digest, cache);
  const planFor = (kv: KvType) => planMemory(artifact.config, { ...config, packing, kv }, limit);
  const requested = cacheType(config.kv, packing);
  const requestedPlan = planFor(requested);
  const weights = new ServingWeights({
    ...cache,
    artifactDir,
    digest,
    packing,
    reporter,
    signal,
    openCalibration: async () => {
      if (!packing || config.weights !== 'int8') return undefined;
      const { perTokenCalibration } = await import('./calibration.ts');
      return perTokenCalibration({ artifactDir, runtime: runtimeOptions(config), signal });
    },
  });
  const prepareFiles = async () => {
    await weights.ensure();
    return (
      config.kv === 'int8' &&
      (await hasScales(weights.dir, { artifactDir, runtime: runtimeOptions(config), signal }))
    );
  };
  const isCalibrated = await prepareFiles();
  const kv = isCalibrated || requested !== 'int8' ? requested : cacheType('f16', packing);
  if (kv !== requested)
    reporter.notify(
      '--kv: the cache holds floats, because a base without a tokenizer is not calibrated.',
    );
  // A cache of floats takes more memory, so the memory has to be planned again.
  const plan = kv === requested ? requestedPlan : planFor(kv);
  return { artifact, weights, plan, kv, prepareFiles };
}

/** Throws `ConfigError` if the folder does not hold a base of this version, so the user must name another one. */
function describeBase(artifactDir: string): ArtifactDescription {
  try {
    return describeArtifact(artifactDir);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    throw new ConfigError(`--model: ${artifactDir}: ${error.message}`);
  }
}

/**
 * Returns the packing to serve. An image may have been built on another kind of CPU, so its serving files may have another packing
 * than the preferred one, which is the first. Packed weights are used then. Plain ones are slower if they are not preferred, and
 * are used only if nothing can be built.
 */
export async function packingOfFiles(
  [preferred, other]: readonly RowPacking[],
  digest: string,
  cache: ServingCache,
): Promise<RowPacking | undefined> {
  const isThere = (packing: RowPacking) => isBuilt(servingFolder(digest, { ...cache, packing }));
  if (!preferred || isThere(preferred) || !other || !isThere(other)) return preferred;
  const isNeeded = other === 'packed' || (await whyNotWritable(cache.cacheDir)) !== undefined;
  return isNeeded ? other : preferred;
}

/** Measures the scales of an int8 cache if the serving folder lacks them. Resolves with whether the folder has them now. */
async function hasScales(servingDir: string, request: CalibrationRequest): Promise<boolean> {
  if (existsSync(path.join(servingDir, KV_SCALES_FILE))) return true;
  const { measureKvScales } = await import('./calibration.ts');
  return measureKvScales(servingDir, request);
}

/** The options of an engine for the base. */
export function engineOptions(
  { weights, plan, kv }: Omit<PreparedBase, 'prepareFiles'>,
  config: Config,
): EngineOptions {
  return {
    servingDir: weights.dir,
    slotCount: plan.slots + plan.reservedSlots,
    maxSeqLength: plan.maxSeqLength,
    kv,
    adapterSlotBytes: plan.adapterSlotBytes,
    prefixCacheBytes: plan.prefixCacheBytes,
    recordsPrefixes: config.kvEvents !== undefined,
    ...(config.adapterSlots && { adapterSlotCount: config.adapterSlots }),
    runtime: { provider: config.provider, ...runtimeOptions(config) },
  };
}

/** The options of the runtime on a CPU. */
function runtimeOptions({ threads }: Config): RuntimeOptions {
  return threads === undefined ? {} : { intraOpThreads: threads };
}
