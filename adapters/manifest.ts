// What is written beside a published adapter: a version's manifest, and the pointers of a name. Schemas and key
// layout; it reads and writes no store.
import { z } from 'zod';
import { TENANT_PATTERN } from '../src/tenant.ts';

/** As in `name@version` and `name:alias`: no `@`, `:`, `+`, `*` or `/`, which separate the parts of a model's name. */
export const NAME_PATTERN = /^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._-]{0,62}$/;

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const name = z.string().regex(NAME_PATTERN);
const owner = z.string().regex(TENANT_PATTERN);
const fileSchema = z.object({ sha256: digest, byteSize: z.int().positive() });

/** `manifest.json`, written last: a version without one does not exist. snake_case, as PEFT's own files. */
export const manifestSchema = z.object({
  schema: z.literal(1),
  tenant: owner,
  name,
  /** From 1, without order between names. */
  version: z.int().positive(),
  /** The adapter's identity by content (`adapters/digest.ts`). */
  digest,
  files: z.object({ 'adapter_config.json': fileSchema, 'adapter_model.safetensors': fileSchema }),
  /** Of the artifact that it was made for: another base of the same shape is refused. Absent: unknown. */
  base_digest: digest.optional(),
  /** Unix seconds. */
  created_at: z.int(),
  rank: z.int().positive(),
  targets: z.array(z.string()),
  /** The job that made it. */
  job: z.string().optional(),
  /** Whatever was measured: evaluation card, training figures. */
  metrics: z.record(z.string(), z.unknown()).optional(),
});

export type VersionManifest = z.infer<typeof manifestSchema>;

/** One alias: a version, or shares of several that add up to 100. */
const pointerSchema = z.union([
  z.object({ version: z.int().positive() }),
  z.object({
    split: z
      .array(z.object({ version: z.int().positive(), percent: z.number().positive().max(100) }))
      .min(2)
      .max(4),
  }),
]);

export type AliasPointer = z.infer<typeof pointerSchema>;

/** `alias.json` of a name: all its aliases, moved by compare-and-swap. */
export const aliasesSchema = z.object({
  schema: z.literal(1),
  tenant: owner,
  name,
  /** Grows by one with every change: a reader never goes back. */
  revision: z.int().positive(),
  aliases: z.record(name, pointerSchema),
  /** What each alias stood for before its last change, for a rollback. */
  previous: z.record(name, pointerSchema).default({}),
});

export type Aliases = z.infer<typeof aliasesSchema>;

/** Where a name without version or alias leads. */
export const LATEST = 'latest';
export const ALIAS_FILE = 'alias.json';
export const MANIFEST_FILE = 'manifest.json';
/** Written first, on condition that it is absent: whoever wrote it owns the version's number. */
export const CLAIM_FILE = 'publishing.json';

/** Keys below a store's prefix. */
export const keys = {
  tenant: (tenant: string) => `${tenant}/`,
  name: (tenant: string, name: string) => `${tenant}/${name}/`,
  alias: (tenant: string, name: string) => `${tenant}/${name}/${ALIAS_FILE}`,
  versionFile: (of: { tenant: string; name: string; version: number }, file: string) =>
    `${of.tenant}/${of.name}/${of.version}/${file}`,
};
