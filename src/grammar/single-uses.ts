// Finds rules of a pattern that need no nodes of their own.
import { append } from '../common/long-arrays.ts';
import type { PatternRule, TextPattern } from './text-pattern.ts';

/** Returns the rules that a pattern refers to once. They do not contain themselves. */
export function findSingleUses(root: TextPattern): Set<PatternRule> {
  const once = new Set<PatternRule>();
  const known = new Set<PatternRule>();
  const open: TextPattern[] = [root];
  for (let pattern = open.pop(); pattern; pattern = open.pop()) {
    if (pattern.kind === 'text' || pattern.kind === 'chars') continue;
    if (pattern.kind === 'sequence') append(open, pattern.items);
    else if (pattern.kind === 'choice') append(open, pattern.options);
    else if (pattern.kind === 'repeat' || pattern.kind === 'spaced') open.push(pattern.item);
    else if (pattern.kind === 'until') for (const { next } of pattern.exits) open.push(next);
    else if (pattern.kind === 'graph') {
      for (const { edges } of pattern.nodes) for (const { item } of edges) open.push(item);
    } else if (pattern.kind === 'rule') {
      const { rule } = pattern;
      if (known.has(rule)) once.delete(rule);
      else {
        known.add(rule);
        once.add(rule);
        open.push(rule.body);
      }
    }
  }
  return once;
}
