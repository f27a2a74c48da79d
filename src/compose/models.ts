// Examines models without serving them: how much memory and disk serving takes, and whether files are intact.
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { ConfigError, FileError, UsageError } from '../common/errors.ts';
import { MAX_RANK } from '../contracts/training-settings.ts';
import { formOf, slotBytes } from '../engine/adapters/slot-form.ts';
import { KvCache } from '../engine/kv-cache.ts';
import { baseBytes, type MemoryPlan, SLOTS_AT_ONCE } from '../engine/memory/memory-budget.ts';
import { readArtifactInfo, verifyArtifact } from '../import/artifact.ts';
import {
  CATALOGUE_NAMES,
  configOfShape,
  downloadBytes,
  findInCatalogue,
} from '../import/catalogue.ts';
import { readJson } from '../import/folder.ts';
import { builtFolders, discardChecksums, findFault } from '../import/serving-cache.ts';
import { type DecoderConfig, parseDecoderConfig } from '../model/config.ts';
import type { KvType } from '../model/kv-attention.ts';
import { parameterCount } from '../model/names.ts';
import type { RowPacking } from '../model/row-weights.ts';
import type { WeightsMode } from '../model/serving-weights.ts';
import { loraPerRank, type TargetName, targetNames } from '../model/target-modules.ts';
import type { Config } from '../settings/config.ts';
import { ARTIFACT_FILE, findBase } from './base.ts';
import { planIfItFits, planServer, settingsFor } from './base-plan.ts';
import type { ProgramContext } from './context.ts';

/** The weights mode, the shape and type of the KV cache, and one kind of adapter. */
interface ServedShape {
  readonly weights: WeightsMode;
  /** The order of int8 weights, which adapters follow. */
  readonly packing?: RowPacking | undefined;
  readonly kv: KvType;
  readonly slots: number;
  readonly maxSeq: number;
  readonly rank: number;
  readonly targets: readonly TargetName[];
}

/** Sizes in bytes. */
interface ServingSize {
  /** The weights, mapped from the serving files. */
  readonly base: number;
  /** The KV cache of one token. */
  readonly cacheToken: number;
  /** The KV cache of one sequence at its maximum length. */
  readonly cacheSlot: number;
  /** The KV cache of all sequences at their maximum length. */
  readonly cache: number;
  /** An adapter in memory, and its files in peft's format as float32. */
  readonly adapter: number;
  /** The additional memory of an attached adapter. */
  readonly attached: number;
}

/** The memory that a server needs, and what more of it buys. Sizes are in bytes. */
interface ServingNeed {
  /** For the sequences at their maximum length, and one adapter that runs. */
  readonly needed: number;
  /** The requested number of sequences, or one. */
  readonly sequences: number;
  /** The most that the server uses with adapters of this kind. */
  readonly most: number;
  /** The parts of the difference. */
  readonly more: {
    readonly sequences: number;
    readonly prefixCache: number;
    readonly adapterCache: number;
    readonly adapterSlots: number;
  };
  /** The number of adapters that the cache holds. */
  readonly cachedAdapters: number;
  /** The most of them that run at the same time. */
  readonly runningAdapters: number;
  /** The model's context, and the KV cache of a sequence that fills it. */
  readonly context: { readonly tokens: number; readonly cache: number };
}

const FLOAT32_BYTES = 4;

/** Computes sizes from the tables that the engine allocates by. */
export function servingSize(
  config: DecoderConfig,
  { weights, packing, kv: type, slots, maxSeq, rank, targets }: ServedShape,
): ServingSize {
  const cacheBytes = (slotCount: number, maxSeqLength: number) =>
    KvCache.byteSize(config, { slotCount, maxSeqLength, type });
  return {
    base: baseBytes(config, weights),
    cacheToken: cacheBytes(1, 1),
    cacheSlot: cacheBytes(1, maxSeq),
    cache: cacheBytes(slots, maxSeq),
    adapter: FLOAT32_BYTES * rank * loraPerRank(config, targets),
    attached: slotBytes(config, formOf([{ rank, targets, parts: [] }]), packing),
  };
}

/** The flags of `lorikeet size` that are not settings, as the user wrote them. */
interface SizeRequest {
  /** A config.json, in place of an imported model. */
  readonly configFile: string | undefined;
  readonly rank: string;
  /** Comma-separated names. Undefined means all. */
  readonly targets: string | undefined;
}

/** The sizes of one model under the current settings. */
export interface SizeReport {
  readonly shape: ServedShape;
  readonly size: ServingSize;
  readonly plan: MemoryPlan;
  readonly need: ServingNeed;
  /** Whether the adapter covers all target modules. */
  readonly hasAllTargets: boolean;
}

/** Computes what serving takes, without running anything. Throws a `UsageError` or `ConfigError` that names the flag. */
export function measureSize(asked: Config, request: SizeRequest): SizeReport {
  const config = decoderConfigOf(asked, request.configFile);
  const { settings } = settingsFor(config, asked);
  const { packing, kv, plan } = planServer(config, settings);
  const shape: ServedShape = {
    weights: settings.weights,
    packing,
    kv,
    slots: plan.slots,
    maxSeq: plan.maxSeqLength,
    rank: parseRank(request.rank),
    targets: parseTargets(request.targets, targetNames(config)),
  };
  const hasAllTargets = shape.targets.length === targetNames(config).length;
  const size = servingSize(config, shape);
  const { cacheToken } = size;
  const tokens = config.maxPositions;
  const need = servingNeed(size, plan, settings);
  const context = { tokens, cache: cacheToken * tokens };
  return { shape, size, plan, need: { ...need, context }, hasAllTargets };
}

function servingNeed(
  { cacheSlot, adapter, attached }: ServingSize,
  { slots, reservedSlots, adapterCacheBytes, budget: { parts } }: MemoryPlan,
  {
    slots: sequences = 1,
    adapterSlots: mostRunning = slots,
  }: Pick<Config, 'slots' | 'adapterSlots'>,
): Omit<ServingNeed, 'context'> {
  const { kvCache, prefixCache, adapterCache, adapterSlots, ...fixed } = parts;
  // Slot 0, of rows without an adapter, is as large as the others.
  const slotsOf = (adapters: number) =>
    Math.min(adapterSlots, SLOTS_AT_ONCE * (adapters + 1) * attached);
  const cachedAdapters = Math.floor(adapterCacheBytes / adapter);
  const runningAdapters = Math.max(1, Math.min(mostRunning, slots, cachedAdapters));
  const ofSequences = Math.min(kvCache, sequences * cacheSlot);
  const ofAdapters = Math.min(adapterCache, adapter) + slotsOf(1);
  const needed =
    Object.values(fixed).reduce((sum, bytes) => sum + bytes, 0) + ofSequences + ofAdapters;
  const more = {
    sequences: kvCache - ofSequences,
    prefixCache,
    adapterCache: cachedAdapters > 1 ? adapterCache - adapter : 0,
    adapterSlots: runningAdapters > 1 ? slotsOf(runningAdapters + reservedSlots) - slotsOf(1) : 0,
  };
  const most = Object.values(more).reduce((sum, bytes) => sum + bytes, needed);
  return { needed, sequences, most, more, cachedAdapters, runningAdapters };
}

/** The model is a file, a folder, the name of an imported model, or a name of the catalogue, which need not be imported. */
function decoderConfigOf({ model, home }: Config, configFile: string | undefined): DecoderConfig {
  if (configFile !== undefined) return readDecoderConfig(configFile);
  if (model === undefined) throw new UsageError('size: give a model with --model or --config');
  const folder = existsSync(model) ? model : path.join(home, 'models', model);
  const file = path.join(folder, 'config.json');
  const entry = findInCatalogue(model);
  if (entry && !existsSync(file)) return configOfShape(entry);
  if (existsSync(file)) return readDecoderConfig(file);
  throw new ConfigError(
    `--model: ${model} is neither an imported model nor a name of the catalogue (lorikeet models lists them)`,
  );
}

function readDecoderConfig(file: string): DecoderConfig {
  try {
    return parseDecoderConfig(readJson(path.dirname(file), path.basename(file)));
  } catch (error) {
    const { field, message } = error as FileError;
    const isOfFile = field === path.basename(file);
    throw new ConfigError(
      isOfFile ? `${file}${message.slice(field.length)}` : `${file}: ${message}`,
    );
  }
}

function parseRank(text: string): number {
  const rank = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (rank >= 1 && rank <= MAX_RANK) return rank;
  throw new UsageError(`--rank: must be a whole number from 1 to ${MAX_RANK}`);
}

function parseTargets(text: string | undefined, known: readonly TargetName[]): TargetName[] {
  if (text === undefined) return [...known];
  return text.split(',').map((name) => {
    const target = known.find((one) => one === name.trim());
    if (target) return target;
    throw new UsageError(`--targets: unknown target ${name}; use ${known.join(', ')}`);
  });
}

/** A base that can be served here, or imported first. Sizes are in bytes. */
export interface ListedModel {
  readonly name: string;
  /** Undefined: it was imported from elsewhere. */
  readonly license: string | undefined;
  readonly parameters: number;
  readonly context: number;
  /** 0 if it is imported. */
  readonly download: number;
  /** The weights as served. */
  readonly base: Readonly<Record<'int8' | 'int4' | 'nf4', number>>;
  readonly isImported: boolean;
  /** The forms of the weights that a start does not build any more. */
  readonly built: readonly WeightsMode[];
  /** The best form of the weights that a server has room for on this machine. Undefined: none. */
  readonly fits: 'int8' | 'int4' | undefined;
}

/** Lists the bases of the catalogue, and others that were imported. */
export function listModels(settings: Config): ListedModel[] {
  const modelsDir = path.join(settings.home, 'models');
  const imported = existsSync(modelsDir) ? readdirSync(modelsDir).filter(isImported) : [];
  return [...new Set([...CATALOGUE_NAMES, ...imported])].flatMap((name) => {
    const entry = findInCatalogue(name);
    const here = imported.includes(name);
    const config = entry ? configOfShape(entry) : configIn(path.join(modelsDir, name));
    if (!config) return [];
    return {
      name,
      license: entry?.license,
      parameters: parameterCount(config),
      context: config.maxPositions,
      download: entry && !here ? downloadBytes(entry) : 0,
      base: {
        int8: baseBytes(config, 'int8'),
        int4: baseBytes(config, 'int4'),
        nf4: baseBytes(config, 'nf4'),
      },
      isImported: here,
      built: here ? builtFormsOf(path.join(modelsDir, name), settings) : [],
      fits: (['int8', 'int4'] as const).find(
        (weights) => planIfItFits(config, { ...settings, weights }) !== undefined,
      ),
    };
  });

  /** A folder that another version has left behind does not hide the others. */
  function configIn(folder: string): DecoderConfig | undefined {
    try {
      return readDecoderConfig(path.join(folder, 'config.json'));
    } catch (error) {
      if (error instanceof ConfigError) return undefined;
      throw error;
    }
  }

  function isImported(name: string): boolean {
    return existsSync(path.join(modelsDir, name, ARTIFACT_FILE));
  }
}

function builtFormsOf(modelDir: string, { home }: Config): readonly WeightsMode[] {
  try {
    const built = builtFolders(readArtifactInfo(modelDir).digest, path.join(home, 'cache'));
    return [...new Set(built.map(({ weights }) => weights))];
  } catch (error) {
    if (error instanceof FileError) return []; // another version may have left it behind
    throw error;
  }
}

/** The outcome of reading one folder in full. */
interface FolderCheck {
  readonly folder: string;
  /** A description of the damage. Undefined if the folder is intact. */
  readonly damage?: string;
}

/**
 * Reads a model and its serving files in full and compares them with their digests. Marks damaged serving files, so that the
 * next start rebuilds them.
 */
export async function verifyModel(context: ProgramContext): Promise<FolderCheck[]> {
  const { config, signal } = context;
  const dir = await findBase(config.model, context);
  const artifact = await verifyArtifact(dir, signal).then(
    () => ({ folder: dir }),
    (error) => {
      if (error instanceof FileError) return { folder: dir, damage: error.message };
      throw error;
    },
  );
  const { digest } = readArtifactInfo(dir);
  return [artifact, ...(await verifyServingFiles(digest, config, signal))];
}

/** Verifies the serving files of every weights mode that has been served. */
async function verifyServingFiles(
  digest: string,
  { home }: Config,
  signal: AbortSignal,
): Promise<FolderCheck[]> {
  const checks: FolderCheck[] = [];
  const cacheDir = path.join(home, 'cache');
  for (const { weights, folder } of builtFolders(digest, cacheDir)) {
    const fault = await findFault(folder, { signal });
    if (fault) await discardChecksums(folder);
    const damage =
      fault &&
      `${fault.file}: ${fault.reason}. The next start with --weights ${weights} rebuilds it.`;
    checks.push({ folder, ...(damage && { damage }) });
  }
  return checks;
}
