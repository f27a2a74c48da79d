// The worker process: compiles regular expressions of adapters' configurations and matches module names in linear time.
// It is killed if it takes too long. It ends with the channel to its parent.
import { RE2JS } from 're2js';
import { serveJobs } from '../../src/common/job-process.ts';
import {
  type EvaluationRequest,
  type EvaluationResult,
  type Expression,
  NO_LAYER,
  NO_MATCH,
} from './module-pattern.ts';

/** Instructions of all patterns of one adapter. A usual pattern has 300; 10,000 take 0.1 s over 210 modules. */
const MAX_INSTRUCTIONS = 10_000;

/** Turns a text into the expression of peft's rule. */
const SOURCES: Record<Expression['kind'], (text: string) => string> = {
  full: (text) => `(?:${text})`,
  suffix: (text) => `(.*\\.)?(${text})`,
  layer: (text) => `(?:^|.*?\\.)${text}\\.(?P<layer>\\d+)\\.`,
};

serveJobs(evaluate);

function evaluate(
  { expressions, names }: EvaluationRequest,
  begin: (part: number) => void,
): EvaluationResult {
  const answers = new Int32Array(expressions.length * names.length);
  let instructionsLeft = MAX_INSTRUCTIONS;
  for (const [index, { kind, text }] of expressions.entries()) {
    begin(index);
    let regex: RE2JS;
    try {
      RE2JS.compile(text); // alone first, so that its parentheses cannot close ours
      regex = RE2JS.compile(SOURCES[kind](text));
    } catch {
      return { index, fault: 'syntax' };
    }
    instructionsLeft -= regex.programSize();
    if (instructionsLeft < 0) return { index, fault: 'size' };
    names.forEach((name, i) => {
      answers[index * names.length + i] =
        kind === 'layer' ? layerOf(regex, name) : match(regex, name);
    });
  }
  return { answers };
}

function match(regex: RE2JS, name: string): number {
  return regex.matches(name) ? 0 : NO_MATCH;
}

/** Returns the layer of a match. An alternative of the pattern may match without a number. */
function layerOf(regex: RE2JS, name: string): number {
  const matcher = regex.matcher(name);
  if (!matcher.lookingAt()) return NO_MATCH;
  return Number(matcher.group('layer') ?? NO_LAYER);
}
