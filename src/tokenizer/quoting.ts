// Lets a message's text pass through a template without looking like a control token. Knows no template.
import { randomBytes } from 'node:crypto';
import { alternatives } from './encoder.ts';
import type { Tokenizer } from './tokenizer.ts';

export interface Quoting {
  /** The text, with a placeholder for every part that is a control token or may begin one. */
  quote(text: string): string;
  restore(text: string): string;
  /** A text that occurs nowhere else. */
  mark(index: number): string;
}

/** Placeholders hold a random number, so that no message contains one. */
export function createQuoting({ specialIds, idToToken }: Tokenizer): Quoting {
  const nonce = randomBytes(8).toString('hex');
  const controls = [...specialIds].flatMap((id) => idToToken(id) ?? []);
  const control = controls.length > 0 ? new RegExp(alternatives(controls), 'gu') : undefined;
  const quotedTexts: string[] = [];
  const placeholder = (text: string) => `\uE000${nonce}:${quotedTexts.push(text) - 1}\uE001`;
  const quote = (text: string) => {
    const whole = control ? text.replace(control, placeholder) : text;
    // What follows in the template must not complete a control token that the message begins.
    const open = Math.max(0, ...controls.map((token) => openLength(whole, token)));
    return open === 0 ? whole : whole.slice(0, -open) + placeholder(whole.slice(-open));
  };
  const pattern = new RegExp(`\uE000${nonce}:(\\d+)\uE001`, 'gu');
  return {
    quote,
    restore: (text) => text.replace(pattern, (_, index) => quotedTexts[index]!),
    mark: (index) => `${nonce}mark${index}.`,
  };
}

/** The length of the longest proper prefix of `token` with which the text ends. */
function openLength(text: string, token: string): number {
  for (let length = token.length - 1; length > 0; length--) {
    if (text.endsWith(token.slice(0, length))) return length;
  }
  return 0;
}
