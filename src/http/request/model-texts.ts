// Tokenizers and chat templates per model. An adapter can add its own tokens to the base's, which only its requests see.
import { LRUCache } from 'lru-cache';
import { FolderTokens } from '../../../adapters/registry/added-tokens.ts';
import type { AdapterPart } from '../../../adapters/registry/resolved.ts';
import type { AddedTokens } from '../../contracts/added-tokens.ts';
import { newTokens, type Tokenizer, withoutPadding } from '../../tokenizer/tokenizer.ts';
import type { LongPrompts } from '../../tools/long-prompts.ts';
import type { ToolTemplate } from '../../tools/tool-template.ts';

/** A model's tokenizer and chat template. */
export interface ServedText {
  /** Undefined if prompts are token ids and completions have no text. */
  readonly tokenizer: Tokenizer | undefined;
  /** Undefined if the model cannot chat. */
  readonly chatTemplate: ToolTemplate | undefined;
  /** Encodes long prompts in another process. Undefined if they are encoded on the event loop. */
  readonly longPrompts: LongPrompts | undefined;
}

/** A model text with a tokenizer, which adapters can extend. */
type BaseText = ServedText & { readonly tokenizer: Tokenizer };

/** A model text extended by an adapter's tokens. Undefined if the adapter adds none. */
type OwnText = (BaseText & { readonly addedTokens: AddedTokens }) | undefined;

/** Each takes a template and some patterns. */
const MAX_TEXTS = 64;

/** Extends the base's text for adapters that add tokens. Adapters with the same tokens share the result. */
export class ModelTexts {
  readonly #folders: FolderTokens;
  readonly #keys = new WeakMap<AddedTokens, string>();
  readonly #base: BaseText;
  readonly #texts = new LRUCache<string, { readonly text: OwnText }>({ max: MAX_TEXTS });

  constructor(base: BaseText) {
    this.#base = base;
    this.#folders = new FolderTokens((added) => newTokens(base.tokenizer, added));
  }

  /** Returns the base's text with one adapter's tokens. `rows` is the size of the adapter's vocabulary. */
  async of({ location }: AdapterPart, rows: number): Promise<OwnText> {
    const added =
      location.kind === 'version'
        ? location.manifest.added_tokens
        : await this.#folders.of(location.directory);
    if (!added) return undefined;
    const json = this.#keys.get(added) ?? JSON.stringify(added);
    this.#keys.set(added, json);
    const key = `${rows} ${json}`;
    const entry = this.#texts.get(key) ?? { text: extend(this.#base, withoutPadding(added, rows)) };
    this.#texts.set(key, entry);
    return entry.text;
  }
}

function extend(base: BaseText, added: AddedTokens): OwnText {
  const addition = newTokens(base.tokenizer, added);
  if (addition.tokens.length === 0) return undefined;
  const tokenizer = base.tokenizer.extended(addition);
  return {
    tokenizer,
    chatTemplate: base.chatTemplate?.extended(tokenizer),
    longPrompts: base.longPrompts?.extended(addition),
    addedTokens: addition,
  };
}
