// Adds the spaces that Python's JSON writer puts after commas and colons. Models that call tools were trained on such JSON.
// Texts inside strings, and objects and lists in an enum, are unchanged.
import { COLON, COMMA } from './json-text.ts';
import { type PatternRule, type TextPattern, text } from './text-pattern.ts';

const SPACED: ReadonlyMap<TextPattern, TextPattern> = new Map([
  [COMMA, text(', ')],
  [COLON, text(': ')],
]);

/** Returns the pattern with a space after each comma and colon between tokens. */
export function withSpaces(pattern: TextPattern): TextPattern {
  const rules = new Map<PatternRule, PatternRule>();
  const spacedOf = new Map<TextPattern, TextPattern>(SPACED);
  const open: PatternRule[] = []; // a chain of rules may be longer than the stack is deep
  const rewrite = (from: TextPattern): TextPattern => {
    const spaced = spacedOf.get(from) ?? rewriteParts(from);
    spacedOf.set(from, spaced);
    return spaced;
  };
  const rewriteParts = (from: TextPattern): TextPattern => {
    switch (from.kind) {
      case 'sequence':
        return { ...from, items: from.items.map(rewrite) };
      case 'choice':
        return { ...from, options: from.options.map(rewrite) };
      case 'repeat':
        return { ...from, item: rewrite(from.item) };
      case 'rule': {
        let rule = rules.get(from.rule);
        if (!rule) {
          rule = { body: from };
          rules.set(from.rule, rule);
          open.push(from.rule);
        }
        return { kind: 'rule', rule };
      }
      default:
        return from;
    }
  };
  const spaced = rewrite(pattern);
  for (let rule = open.pop(); rule; rule = open.pop()) rules.get(rule)!.body = rewrite(rule.body);
  return spaced;
}
