// Opens the model that a request names, with everything that the request needs of it.
import type { Context } from 'hono';
import {
  type AdapterPart,
  type ResolvedModel,
  vocabSizeOfPart,
} from '../../../adapters/registry/resolved.ts';
import { FileError, ServeError } from '../../common/errors.ts';
import type { Deps, ServedModel } from '../deps.ts';
import { checkTokenIds, type TokenFields } from '../schema/fields.ts';
import { callerOf, type HttpEnv } from '../wire/tenant.ts';
import type { ModelText } from './model-texts.ts';

/** A request's model: the base, or an adapter with everything that it adds to the base. */
export interface RequestModel
  extends ModelText,
    Pick<ServedModel, 'vocabSize' | 'eosTokenIds' | 'addedTokens' | 'maxSeqLength'> {
  readonly resolved: ResolvedModel;
  /** Resolves the name again after the model's files have changed. */
  resolveAgain(): Promise<ResolvedModel>;
}

/** A request whose model is open. */
export interface ModelRequest {
  readonly deps: Deps;
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
  deps: Deps,
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
export function openBase(c: Context<HttpEnv>, deps: Deps, ids: TokenFields): Promise<RequestModel> {
  const resolved = { kind: 'base', id: deps.model.id } as const;
  return adaptModel(c, deps, { resolved, resolveAgain: async () => resolved }, ids);
}

async function adaptModel(
  c: Context<HttpEnv>,
  deps: Deps,
  identity: Pick<RequestModel, 'resolved' | 'resolveAgain'>,
  ids: TokenFields,
): Promise<RequestModel> {
  const { tokenizer, chatTemplate, longPrompts, model } = deps;
  const base = { tokenizer, chatTemplate, longPrompts, ...model };
  const { resolved } = identity;
  const own = resolved.kind === 'base' ? base : await adaptText(base, resolved.parts, deps);
  checkTokenIds(ids, own.vocabSize);
  return { ...own, ...identity, longPrompts: own.longPrompts?.calledBy(callerOf(c)) };
}

type OwnText = Omit<RequestModel, 'resolved' | 'resolveAgain'>;

/** Returns the base's tokenizer, template and vocabulary, extended by an adapter's tokens. */
async function adaptText(
  base: OwnText,
  parts: readonly AdapterPart[],
  { texts }: Deps,
): Promise<OwnText> {
  const found: OwnText[] = [];
  for (const part of parts) {
    const vocabSize = vocabSizeOfPart(part) ?? base.vocabSize;
    const own = await texts?.of(part, vocabSize).catch((error) => {
      if (!(error instanceof FileError)) throw error;
      throw refused(error.field, `${part.name}: ${error.message}`);
    });
    if (!own && vocabSize === base.vocabSize) continue;
    const tokens = own?.tokenizer?.vocabSize ?? 0;
    if (tokens > vocabSize)
      throw refused('added_tokens', `${part.name}: has token ${tokens - 1}, but ${vocabSize} rows`);
    const eosTokenIds = (own ?? base).tokenizer?.eosTokenIds ?? base.eosTokenIds;
    found.push({ ...base, addedTokens: undefined, ...own, vocabSize, eosTokenIds });
  }
  if (found.length < 2) return found[0] ?? base;
  throw refused('model', 'two adapters with their own vocabularies cannot be composed');
}

function refused(field: string, message: string): ServeError {
  return new ServeError('adapter_invalid', `adapter refused: ${message}`, { param: field });
}
