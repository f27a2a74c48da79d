// The dependencies of a request with the language of the model that it names.
import type { Context } from 'hono';
import {
  type AdapterPart,
  type ResolvedModel,
  vocabSizeOfPart,
} from '../../../adapters/registry/resolved.ts';
import { FileError, ServeError } from '../../common/errors.ts';
import type { Deps } from '../deps.ts';
import { checkTokenIds, type TokenFields } from '../schema/fields.ts';
import { callerOf, type HttpEnv } from '../wire/tenant.ts';

/**
 * Returns the dependencies with the language of a model, whose long prompts are those of the request, and checks the token ids of a request against it. Throws `ServeError`: 400
 * for an id, 422 if the adapter's tokens do not fit the base, or for a composition of two vocabularies.
 */
export async function withLanguage(
  c: Context<HttpEnv>,
  deps: Deps,
  model: ResolvedModel,
  ids: TokenFields,
): Promise<Deps> {
  const adapted = model.kind === 'base' ? deps : await adapt(deps, model.parts);
  checkTokenIds(ids, adapted.model.vocabSize);
  return { ...adapted, longPrompts: adapted.longPrompts?.calledBy(callerOf(c)) };
}

async function adapt(deps: Deps, parts: readonly AdapterPart[]): Promise<Deps> {
  const found: Deps[] = [];
  for (const part of parts) {
    const vocabSize = vocabSizeOfPart(part) ?? deps.model.vocabSize;
    const language = await deps.languages?.of(part, vocabSize).catch((error) => {
      if (!(error instanceof FileError)) throw error;
      throw refused(error.field, `${part.name}: ${error.message}`);
    });
    if (!language && vocabSize === deps.model.vocabSize) continue;
    const tokens = language?.tokenizer.vocabSize ?? 0;
    if (tokens > vocabSize)
      throw refused('added_tokens', `${part.name}: has token ${tokens - 1}, but ${vocabSize} rows`);
    const own = language ?? { ...deps, added: undefined };
    const eosTokenIds = own.tokenizer?.eosTokenIds ?? deps.model.eosTokenIds;
    const { tokenizer, chatTemplate, longPrompts, added: addedTokens } = own;
    const ownModel = { ...deps.model, vocabSize, eosTokenIds, addedTokens };
    found.push({ ...deps, tokenizer, chatTemplate, longPrompts, model: ownModel });
  }
  if (found.length < 2) return found[0] ?? deps;
  throw refused('model', 'two adapters with vocabularies of their own cannot be composed');
}

function refused(field: string, message: string): ServeError {
  return new ServeError('adapter_invalid', `adapter refused: ${message}`, { param: field });
}
