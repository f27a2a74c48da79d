// What is written beside a published adapter: a version's manifest, and the pointers of a name. Schemas and key
// layout; it reads and writes no store.
import { z } from 'zod';
import { generationConfigSchema } from '../../src/contracts/generation-config.ts';
import { TENANT_PATTERN } from '../../src/contracts/tenant.ts';
import { CONFIG_FILE, MAX_CONFIG_BYTES, MAX_WEIGHTS_BYTES, WEIGHTS_FILE } from '../peft/files.ts';

/**
 * As in `name@version` and `name:alias`: no `@`, `:`, `+`, `*` or `/`, which separate the parts of a model's name.
 * Aliases are keys of a JSON object, where `__proto__` is no key like others.
 */
export const NAME_PATTERN = /^(?!.*\.\.)(?!__proto__$)[A-Za-z0-9_][A-Za-z0-9._-]{0,62}$/;

/** The last part of a fine-tuned model's name, as jobs make them: an alias of the adapter's name. */
export const FINE_TUNED_ALIAS = /^[0-9a-f]{24}$/;
/** Ends the alias of a job's checkpoint. */
export const CHECKPOINT_ALIAS = /\.ckpt-step-\d+$/;
/** As a model they mean something else than an adapter: nothing is published under them. */
export const RESERVED_NAMES: ReadonlySet<string> = new Set(['base', 'default', 'ft']);

/** A manifest of 4,096 targets and generous metrics is 100 KB; what is longer was not written by this program. */
export const MAX_MANIFEST_BYTES = 1024 * 1024;
/** The largest that the schema allows, with two pointers of 200 bytes to each alias. */
export const MAX_ALIASES_BYTES = 512 * 1024;
/** Each training job of a name keeps one, and its checkpoints three; all are read with every poll. */
const MAX_ALIASES = 1000;

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const name = z.string().regex(NAME_PATTERN);
const owner = z.string().regex(TENANT_PATTERN);
/** What no adapter that is published exceeds: readers allocate and make room by these sizes. */
const fileOf = (maxBytes: number) =>
  z.object({ sha256: digest, byteSize: z.int().positive().max(maxBytes) });

/** `manifest.json`, written last: a version without one does not exist. snake_case, as PEFT's own files. */
export const manifestSchema = z.object({
  schema: z.literal(1),
  tenant: owner,
  name,
  /** From 1, without order between names. */
  version: z.int().positive(),
  /** The adapter's identity by content (`adapters/peft/digest.ts`). */
  digest,
  files: z.object({
    [CONFIG_FILE]: fileOf(MAX_CONFIG_BYTES),
    [WEIGHTS_FILE]: fileOf(MAX_WEIGHTS_BYTES),
  }),
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
  /** Its own sampling defaults, from the generation_config.json beside its files. */
  generation_config: generationConfigSchema.optional(),
});

export type VersionManifest = z.infer<typeof manifestSchema>;

/** In a manifest's place: the version was removed or never finished, and its number is not used again. */
export const tombstoneSchema = z.strictObject({
  schema: z.literal(1),
  /** Unix seconds. */
  removed_at: z.int(),
});

/** Every manifest is longer, every tombstone shorter: a listing tells them apart. */
export const MAX_TOMBSTONE_BYTES = 128;

/** `publishing.json`: who took a version's number. */
export const claimSchema = z.object({
  schema: z.literal(1),
  publication_id: z.string().min(1).max(256),
  /** Of what is being published. */
  digest,
  /** Unix seconds. */
  started_at: z.int(),
});

export type Claim = z.infer<typeof claimSchema>;

/** One alias: a version, or shares of several that add up to 100. */
export const pointerSchema = z.union([
  z.object({ version: z.int().positive() }),
  z.object({
    split: z
      .array(z.object({ version: z.int().positive(), percent: z.number().positive().max(100) }))
      .min(2)
      .max(4)
      .refine((shares) => sumOf(shares) === 100, 'the shares do not add up to 100')
      .refine(
        (shares) => new Set(shares.map(({ version }) => version)).size === shares.length,
        'a version has two shares',
      ),
  }),
]);

export type AliasPointer = z.infer<typeof pointerSchema>;

/** In thousandths, so that 33.3 + 33.3 + 33.4 is 100. */
function sumOf(shares: readonly { readonly percent: number }[]): number {
  return shares.reduce((sum, { percent }) => sum + Math.round(percent * 1000), 0) / 1000;
}

/** The versions that a pointer leads to. */
export function versionsOf(pointer: AliasPointer): number[] {
  return 'version' in pointer ? [pointer.version] : pointer.split.map(({ version }) => version);
}

const pointers = z
  .record(name, pointerSchema)
  .refine((all) => Object.keys(all).length <= MAX_ALIASES, `more than ${MAX_ALIASES} aliases`);

/** `alias.json` of a name: all its aliases, moved by compare-and-swap. */
export const aliasesSchema = z.object({
  schema: z.literal(1),
  tenant: owner,
  name,
  /** Grows by one with every change: a reader never goes back. */
  revision: z.int().positive(),
  aliases: pointers,
  /** What each alias stood for before its last change, for a rollback. */
  previous: pointers.default({}),
  /** Versions that are being removed: no alias may be led to them any more. */
  removing: z.array(z.int().positive()).default([]),
});

export type Aliases = z.infer<typeof aliasesSchema>;

/** What an alias stands for; a name such as `constructor` finds nothing by accident. */
export function pointerOf(aliases: Aliases['aliases'], alias: string): AliasPointer | undefined {
  return Object.hasOwn(aliases, alias) ? aliases[alias] : undefined;
}

/** Where a name without version or alias leads. */
export const LATEST = 'latest';
const ALIAS_FILE = 'alias.json';
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
