// Describes an adapter's two files for publication: digests, sizes and summary, and the manifest and claim made from them.
// Pure: no I/O.
import { createHash } from 'node:crypto';
import type { AddedTokens } from '../../src/contracts/added-tokens.ts';
import type { GenerationConfig } from '../../src/contracts/generation-config.ts';
import type { RequestDefaults } from '../../src/contracts/request-defaults.ts';
import type { TrainingOrigin } from '../../src/contracts/training-origin.ts';
import { adapterDigest, CONFIG_FILE, WEIGHTS_FILE } from '../peft/files.ts';
import { type AdapterSummary, inspectAdapter } from '../peft/inspect.ts';
import {
  manifestSchema,
  type VersionClaim,
  type VersionManifest,
  type VersionName,
} from './manifest.ts';

/** The base, job and measurements behind a version. */
export interface VersionOrigin {
  /** Digest of the base that it was trained on. Absent: unknown. */
  readonly baseDigest?: string;
  /** The job that trained it. */
  readonly job?: string;
  /** The evaluation card, training figures and the like. */
  readonly metrics?: Readonly<Record<string, unknown>>;
  /** The adapter's own sampling defaults. */
  readonly generationConfig?: GenerationConfig;
  /** Fields for requests that leave them out. */
  readonly requestDefaults?: RequestDefaults;
  /** The tokens that it adds to the base. */
  readonly addedTokens?: AddedTokens;
}

/** The adapter in two files, and the file of its origin. */
export interface Content {
  readonly files: VersionManifest['files'];
  readonly digest: string;
  readonly summary: AdapterSummary;
  /** Absent: the folder contains no such file. */
  readonly training?: TrainingOrigin;
}

/** Describes the files. Throws `ServeError` as `inspectAdapter` does if they are not an adapter. */
export async function describeContent(
  configBytes: Uint8Array,
  weightsBytes: Uint8Array,
): Promise<Content> {
  return {
    files: { [CONFIG_FILE]: fileOf(configBytes), [WEIGHTS_FILE]: fileOf(weightsBytes) },
    digest: adapterDigest(configBytes, weightsBytes),
    summary: await inspectAdapter({ configBytes, weightsBytes }),
  };
}

/** Returns the manifest of a version with this content. */
export function toManifest(
  of: VersionName,
  content: Content,
  {
    baseDigest,
    job,
    metrics,
    generationConfig,
    requestDefaults,
    addedTokens,
    createdMs,
  }: VersionOrigin & { readonly createdMs: number },
): VersionManifest {
  return manifestSchema.parse({
    schema: 1,
    tenant: of.tenant,
    name: of.name,
    version: of.version,
    digest: content.digest,
    files: content.files,
    ...(baseDigest !== undefined && { base_digest: baseDigest }),
    created_at: toSeconds(createdMs),
    rank: content.summary.rank,
    targets: content.summary.targets,
    ...(job !== undefined && { job }),
    ...(content.training && { training: content.training }),
    ...(metrics && { metrics }),
    ...(generationConfig && { generation_config: generationConfig }),
    ...(requestDefaults && { request_defaults: requestDefaults }),
    ...(content.summary.vocabSize !== undefined && { vocab_size: content.summary.vocabSize }),
    ...(addedTokens && { added_tokens: addedTokens }),
    ...(content.summary.labels && { labels: content.summary.labels }),
  });
}

/** Returns the claim of a publication. */
export function toClaim(
  publicationId: string,
  { digest }: Content,
  startedMs: number,
): VersionClaim {
  return { schema: 1, publication_id: publicationId, digest, started_at: toSeconds(startedMs) };
}

/**
 * Returns a publication id for the content, so publishing the same content again makes no new version. Another base or other
 * defaults give another id.
 * @param digest the adapter's identity (`adapters/peft/files.ts`)
 */
export function contentPublication(
  digest: string,
  {
    baseDigest,
    generationConfig,
    requestDefaults,
    addedTokens,
  }: Pick<VersionOrigin, 'baseDigest' | 'generationConfig' | 'requestDefaults' | 'addedTokens'>,
): string {
  const parts = [`content-${digest}-${baseDigest ?? 'any'}`];
  for (const defaults of [generationConfig, requestDefaults, addedTokens]) {
    if (!defaults) continue;
    const plain = JSON.stringify(Object.entries(defaults).sort());
    parts.push(createHash('sha256').update(plain).digest('hex').slice(0, 16));
  }
  return parts.join('-');
}

function fileOf(bytes: Uint8Array) {
  return { sha256: createHash('sha256').update(bytes).digest('hex'), byteSize: bytes.length };
}

function toSeconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1000);
}
