// Opens the model that a request names, with everything that the request needs of it, and fills in what the request leaves out:
// sampling defaults, and the response format and tools that its model provides.

import { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import {
  readAdapterGenerationConfig,
  readAdapterLabels,
  readAdapterRequestDefaults,
} from '../../../adapters/registry/folders.ts';
import type { Registry } from '../../../adapters/registry/registry.ts';
import {
  type AdapterPart,
  type ResolvedModel,
  vocabSizeOfPart,
} from '../../../adapters/registry/resolved.ts';
import { FileError, ServeError } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { Caller } from '../../common/turn-queue.ts';
import type { AddedTokens } from '../../contracts/added-tokens.ts';
import type { GenerationConfig } from '../../contracts/generation-config.ts';
import type { RequestDefaults } from '../../contracts/request-defaults.ts';
import type { FunctionTool } from '../../contracts/tools.ts';
import { CONSTRAINT_FIELDS, constraintOf } from '../schema/constraints.ts';
import { checkTokenIds, type TokenFields } from '../schema/fields.ts';
import { TOOL_FIELDS } from '../schema/tools.ts';
import type { HttpLimits } from '../wire/limits.ts';
import { callerOf, type HttpEnv } from '../wire/middleware.ts';
import { validateBody } from '../wire/route.ts';
import { type UsableConstraint, usableConstraint } from './constraint-check.ts';
import type { ModelTexts, ServedText } from './model-texts.ts';

/** The served base. */
export interface ServedModel {
  /** Its name. */
  id: string;
  /** The artifact's digest in hex. */
  baseDigest: string;
  maxSeqLength: number;
  vocabSize: number;
  /** The length of an embedding. */
  hiddenSize: number;
  eosTokenIds: readonly number[];
  /** The adapter's tokens. Absent: only the base's tokens. */
  addedTokens?: AddedTokens | undefined;
  /** The base's sampling defaults. Absent: OpenAI's defaults apply. */
  generationConfig?: GenerationConfig;
}

/** The dependencies of reading a request. */
export interface RequestDeps
  extends Omit<ServedText, 'longPrompts'>,
    Partial<Pick<ServedText, 'longPrompts'>> {
  readonly registry: Registry;
  readonly model: ServedModel;
  /** Undefined if the base has no tokenizer. */
  readonly texts: ModelTexts | undefined;
  readonly limits: HttpLimits;
  readonly log: Logger;
}

/** A request's model: the base, or an adapter with everything that it adds to the base. */
export interface RequestModel
  extends ServedText,
    Pick<ServedModel, 'vocabSize' | 'eosTokenIds' | 'addedTokens' | 'maxSeqLength'> {
  readonly resolved: ResolvedModel;
  /** Resolves the name again after the model's files have changed. */
  resolveAgain(): Promise<ResolvedModel>;
}

/** A request whose model is open. */
export interface ModelRequest {
  readonly deps: RequestDeps;
  readonly model: RequestModel;
}

/** The fields that select a model. */
export interface ModelFields {
  readonly model: string;
  readonly user?: unknown;
  readonly prompt_cache_key?: unknown;
}

/**
 * Opens the model of a request, once for all its choices, and checks the request's token ids against it. If an alias is split
 * between versions, all requests of one user or one conversation get the same version, and others are spread by request id.
 * Throws `ServeError`: 404 for an unknown name, 400 for a token id, 422 if the adapter's tokens do not fit the base or if a
 * composition combines two vocabularies.
 */
export async function openModel(
  c: Context<HttpEnv>,
  deps: RequestDeps,
  { model: name, user, prompt_cache_key: cacheKey }: ModelFields,
  ids: TokenFields,
): Promise<RequestModel> {
  const keys = [user, cacheKey, c.get('requestId')];
  const sticky = keys.find((key) => typeof key === 'string' && key !== '') as string;
  const resolve = () => deps.registry.resolve(c.get('tenant'), name, { sticky });
  const resolved = await resolve();
  return adaptModel(c, deps, { resolved, resolveAgain: resolve }, ids);
}

/** Opens the base for a request that names no model. */
export function openBase(
  c: Context<HttpEnv>,
  deps: RequestDeps,
  ids: TokenFields,
): Promise<RequestModel> {
  const resolved = { kind: 'base', id: deps.model.id } as const;
  return adaptModel(c, deps, { resolved, resolveAgain: async () => resolved }, ids);
}

async function adaptModel(
  c: Context<HttpEnv>,
  deps: RequestDeps,
  identity: Pick<RequestModel, 'resolved' | 'resolveAgain'>,
  ids: TokenFields,
): Promise<RequestModel> {
  const { tokenizer, chatTemplate, longPrompts, model } = deps;
  const base = { tokenizer, chatTemplate, longPrompts, ...model };
  const { resolved } = identity;
  const text = resolved.kind === 'base' ? base : await adaptText(base, resolved.parts, deps);
  checkTokenIds(ids, text.vocabSize);
  return { ...text, ...identity, longPrompts: text.longPrompts?.calledBy(callerOf(c)) };
}

type OwnText = Omit<RequestModel, 'resolved' | 'resolveAgain'>;

/** Returns the base's tokenizer, template and vocabulary, extended by an adapter's tokens. */
async function adaptText(
  base: OwnText,
  parts: readonly AdapterPart[],
  { texts }: RequestDeps,
): Promise<OwnText> {
  const candidates: OwnText[] = [];
  for (const part of parts) {
    const vocabSize = vocabSizeOfPart(part) ?? base.vocabSize;
    const extension = await texts?.of(part, vocabSize).catch((error) => {
      if (!(error instanceof FileError)) throw error;
      throw refused(error.field, `${part.name}: ${error.message}`);
    });
    if (!extension && vocabSize === base.vocabSize) continue;
    const tokens = extension?.tokenizer?.vocabSize ?? 0;
    if (tokens > vocabSize)
      throw refused('added_tokens', `${part.name}: has token ${tokens - 1}, but ${vocabSize} rows`);
    const eosTokenIds = (extension ?? base).tokenizer?.eosTokenIds ?? base.eosTokenIds;
    candidates.push({ ...base, addedTokens: undefined, ...extension, vocabSize, eosTokenIds });
  }
  if (candidates.length < 2) return candidates[0] ?? base;
  throw refused('model', 'two adapters with their own vocabularies cannot be composed');
}

function refused(field: string, message: string): ServeError {
  return new ServeError('adapter_invalid', `adapter refused: ${message}`, { param: field });
}

/**
 * Returns the sampling defaults of a model. An adapter inherits the base's defaults except the repetition penalty, which
 * corrects a habit of the base: adapters are trained and evaluated without one. The adapter's own generation_config.json wins.
 * A composition has no such file.
 */
export async function generationConfigOf(
  { model }: Pick<RequestDeps, 'model'>,
  resolved: ResolvedModel,
): Promise<GenerationConfig> {
  const { generationConfig = {} } = model;
  if (resolved.kind === 'base') return generationConfig;
  const { repetition_penalty: _, ...inherited } = generationConfig;
  const [part] = resolved.parts;
  if (resolved.parts.length > 1) return inherited;
  return { ...inherited, ...(await readAdapterGenerationConfig(part!.location)) };
}

/** The sampling fields that can have defaults. */
export type SamplingFields = {
  readonly [Name in keyof Omit<GenerationConfig, 'max_tokens'>]?: number | null | undefined;
};

/** Returns the body, with defaults for the fields that it leaves out. */
export function withSamplingDefaults<Body extends SamplingFields>(
  body: Body,
  defaults: Omit<GenerationConfig, 'max_tokens'>,
): Body {
  const fields = Object.fromEntries(Object.entries(body).filter(([, value]) => value != null));
  return { ...body, ...defaults, ...fields };
}

/** An adapter's response format and tools, as the request schema parses them. */
export interface CheckedDefaults {
  readonly constraint?: UsableConstraint | undefined;
  readonly tools?: readonly FunctionTool[] | undefined;
}

const schema = z.object({
  response_format: CONSTRAINT_FIELDS.response_format.chat,
  tools: TOOL_FIELDS.tools.chat,
});

/**
 * Checks an adapter's defaults as if a request had sent them. Rejects with a `ServeError` (`adapter_invalid`) that names the
 * field, and like the constraint check of a request if the constraint is not compiled.
 */
export async function checkRequestDefaults(
  defaults: RequestDefaults,
  caller?: Caller,
): Promise<CheckedDefaults> {
  try {
    const { tools, ...format } = validateBody(schema, defaults);
    const constraint = await usableConstraint(constraintOf(format), caller);
    return { constraint, tools: tools ?? undefined };
  } catch (error) {
    if (!(error instanceof ServeError) || error.status !== 400) throw error;
    const message = `adapter refused: request_defaults.json: ${error.message}`;
    throw new ServeError('adapter_invalid', message, {
      param: error.param ?? 'request_defaults.json',
      cause: error,
    });
  }
}

/** Returns the response format and the tools that a model provides, unchecked. The base and compositions provide none. */
export async function requestDefaultsOf(model: ResolvedModel): Promise<RequestDefaults> {
  if (model.kind === 'base' || model.parts.length > 1) return {};
  return (await readAdapterRequestDefaults(model.parts[0]!.location)) ?? {};
}

/** Returns the names of a classifier's classes; undefined if the model generates text. */
export async function labelsOf(model: ResolvedModel): Promise<readonly string[] | undefined> {
  return model.kind === 'base' ? undefined : readAdapterLabels(model.parts[0]!.location);
}
