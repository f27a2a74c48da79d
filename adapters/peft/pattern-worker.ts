// The worker thread's program: compiles the regular expressions of adapters' configurations and matches module names,
// in time linear in the name. Whoever asks stops it when it takes too long (`pattern-evaluator.ts`).
import { parentPort } from 'node:worker_threads';
import { RE2JS } from 're2js';
import {
  type EvaluationReply,
  type EvaluationRequest,
  type EvaluationResult,
  type Expression,
  NO_LAYER,
  NO_MATCH,
} from './pattern-evaluator.ts';

/** Instructions of all patterns of one adapter: such a pattern has 300; 10,000 take 0.1 s over 210 modules. */
const MAX_INSTRUCTIONS = 10_000;

/** The expression that stands for peft's rule. */
const SOURCES: Record<Expression['kind'], (text: string) => string> = {
  full: (text) => `(?:${text})`,
  suffix: (text) => `(.*\\.)?(${text})`,
  layer: (text) => `(?:^|.*?\\.)${text}\\.(?P<layer>\\d+)\\.`,
};

const post = (reply: EvaluationReply) => parentPort!.postMessage(reply);

parentPort!.on('message', (request: EvaluationRequest & { readonly progress: Int32Array }) => {
  post('begun');
  post(evaluate(request));
});

function evaluate({
  expressions,
  names,
  progress,
}: EvaluationRequest & { readonly progress: Int32Array }): EvaluationResult {
  const answers = new Int32Array(expressions.length * names.length);
  let instructionsLeft = MAX_INSTRUCTIONS;
  for (const [index, { kind, text }] of expressions.entries()) {
    Atomics.store(progress, 0, index);
    let regex: RE2JS;
    try {
      RE2JS.compile(text); // alone, so that no parenthesis of it closes one of ours
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

/** An alternative of the pattern may match without the number: a match, but no layer. */
function layerOf(regex: RE2JS, name: string): number {
  const matcher = regex.matcher(name);
  if (!matcher.lookingAt()) return NO_MATCH;
  return Number(matcher.group('layer') ?? NO_LAYER);
}
