// What is known of an adapter that is about to be a version, once both of its files were read whole. Where they come from
// and where they go is for others.
import { createHash } from 'node:crypto';
import { adapterDigest } from '../peft/digest.ts';
import { CONFIG_FILE, WEIGHTS_FILE } from '../peft/files.ts';
import { type AdapterSummary, inspectAdapter } from '../peft/inspect.ts';
import { type Claim, manifestSchema, type VersionManifest } from './manifest.ts';
import type { AdapterName, PublishOptions } from './options.ts';

export interface Content {
  readonly files: VersionManifest['files'];
  readonly digest: string;
  readonly summary: AdapterSummary;
}

/** Throws `ServeError` as `inspectAdapter` where it is no adapter. */
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

export function toManifest(
  of: AdapterName & { readonly version: number },
  content: Content,
  {
    baseDigest,
    job,
    metrics,
    generationConfig,
    createdMs,
  }: PublishOptions & { readonly createdMs: number },
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
    ...(metrics && { metrics }),
    ...(generationConfig && { generation_config: generationConfig }),
  });
}

export function toClaim(publicationId: string, { digest }: Content, startedMs: number): Claim {
  return { schema: 1, publication_id: publicationId, digest, started_at: toSeconds(startedMs) };
}

/**
 * The id of publishing a content: to publish it again is no new version. With another base or other sampling defaults
 * it is another publication.
 * @param digest of the adapter, as `adapters/peft/digest.ts` defines it
 */
export function contentPublication(
  digest: string,
  { baseDigest, generationConfig }: Pick<PublishOptions, 'baseDigest' | 'generationConfig'>,
): string {
  const id = `content-${digest}-${baseDigest ?? 'any'}`;
  if (!generationConfig) return id;
  const plain = JSON.stringify(Object.entries(generationConfig).sort());
  return `${id}-${createHash('sha256').update(plain).digest('hex').slice(0, 16)}`;
}

function fileOf(bytes: Uint8Array) {
  return { sha256: createHash('sha256').update(bytes).digest('hex'), byteSize: bytes.length };
}

function toSeconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1000);
}
