// The language of a model: an adapter may have tokens of its own beside those of its base. They are visible to its requests only.
import { LRUCache } from 'lru-cache';
import { FolderTokens } from '../../../adapters/registry/added-tokens.ts';
import type { AdapterPart } from '../../../adapters/registry/resolved.ts';
import type { AddedTokens } from '../../contracts/added-tokens.ts';
import { newTokens, type Tokenizer, withoutPadding } from '../../tokenizer/tokenizer.ts';
import type { LongPrompts } from '../../tools/long-prompts.ts';
import type { ToolTemplate } from '../../tools/tool-template.ts';

/** How the texts of a model become its tokens. */
interface Language {
  readonly tokenizer: Tokenizer;
  readonly chatTemplate: ToolTemplate | undefined;
  readonly longPrompts?: LongPrompts | undefined;
}

/** A language with the tokens of an adapter. Undefined: it adds none. */
type OwnLanguage = (Language & { readonly added: AddedTokens }) | undefined;

/** A language takes a template and some patterns. */
const MAX_LANGUAGES = 64;

/** The languages of adapters with tokens of their own. Adapters with the same tokens share one. */
export class Languages {
  readonly #folders: FolderTokens;
  readonly #keys = new WeakMap<AddedTokens, string>();
  readonly #base: Language;
  readonly #languages = new LRUCache<string, { readonly own: OwnLanguage }>({ max: MAX_LANGUAGES });

  constructor(base: Language) {
    this.#base = base;
    this.#folders = new FolderTokens((added) => newTokens(base.tokenizer, added));
  }

  /** Returns the base's language with the tokens of an adapter's part, whose tables have so many rows. */
  async of({ location }: AdapterPart, rows: number): Promise<OwnLanguage> {
    const added =
      location.kind === 'version'
        ? location.manifest.added_tokens
        : await this.#folders.of(location.directory);
    if (!added) return undefined;
    const text = this.#keys.get(added) ?? JSON.stringify(added);
    this.#keys.set(added, text);
    const key = `${rows} ${text}`;
    const known = this.#languages.get(key);
    const { own } = known ?? { own: extend(this.#base, withoutPadding(added, rows)) };
    if (!known) this.#languages.set(key, { own });
    return own;
  }
}

function extend(base: Language, added: AddedTokens): OwnLanguage {
  const own = newTokens(base.tokenizer, added);
  if (own.tokens.length === 0) return undefined;
  const tokenizer = base.tokenizer.extended(own);
  return {
    tokenizer,
    chatTemplate: base.chatTemplate?.extended(tokenizer),
    longPrompts: base.longPrompts?.extended(own),
    added: own,
  };
}
