// What turns text into a model's tokens and back: its tokenizer, and its chat template where it has one.
import { type ChatTemplate, createChatTemplate } from '../../src/tokenizer/chat-template.ts';
import { loadTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';

export interface Language {
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate | undefined;
}

/** Of a model's folder; undefined where it has no tokenizer. */
export async function loadLanguage(directory: string): Promise<Language | undefined> {
  const tokenizer = await loadTokenizer(directory);
  return tokenizer && { tokenizer, template: createChatTemplate(tokenizer) };
}
