// Writes the choices of a streamed answer as chunks, for chat and completions.

import type { AnswerPart } from '../../tools/call-parser.ts';
import { toEnvelope } from '../wire/errors.ts';
import { toFrame } from '../wire/event-stream.ts';
import type {
  AnswerHead,
  AnswerPlan,
  ChoiceTokens,
  EventWriter,
  StreamPart,
} from './answer-plan.ts';
import { type ChoiceShape, toUsage } from './choice-shape.ts';

const NO_TOKENS: ChoiceTokens = { tokens: 0, cachedTokens: 0 };

/** Creates a writer. The constant parts are written once, so a token costs one `JSON.stringify` of its text. */
export function createChunkWriter(
  { choices, stream, tools }: AnswerPlan,
  { head: { id, ...head }, shape }: { head: AnswerHead; shape: ChoiceShape },
): EventWriter {
  const { usage } = stream!;
  const members = JSON.stringify({ id, object: shape.chunkObject, ...head }).slice(0, -1);
  const before = `${members},"choices":[{"index":`;
  const after = (index: number, { tokens: completionTokens, cachedTokens }: ChoiceTokens) => {
    if (usage === 'none') return '}]}';
    if (usage === 'last') return '}],"usage":null}';
    const promptTokens = choices[index]!.request.promptIds.length;
    const counts = { promptTokens, completionTokens, cachedTokens };
    return `}],"usage":${JSON.stringify(toUsage(counts))}}`;
  };
  const unfinished = ',"logprobs":null,"finish_reason":null';
  const [open, close] = shape.delta;
  const parsers = tools && choices.map(() => ({ parser: tools.createParser(), hasCalls: false }));
  const shownOpening = tools ? shape.calls?.opening : shape.opening;
  const writeDelta = (part: AnswerPart) =>
    part.type === 'content'
      ? `${open}${JSON.stringify(part.text)}${close}`
      : `"delta":${JSON.stringify(shape.calls!.delta(part))}`;
  /** Writes a chunk for each part; the first one has the scores of all. */
  const writeParts = (
    index: number,
    parts: readonly AnswerPart[],
    { logprobs, ...counts }: Omit<StreamPart, 'text'>,
  ) => {
    const deltas = parts.length === 0 && logprobs ? [shape.emptyDelta] : parts.map(writeDelta);
    return deltas
      .map((delta, i) => {
        const scored = `,"logprobs":${JSON.stringify(logprobs)},"finish_reason":null`;
        const members = logprobs && i === 0 ? scored : unfinished;
        return toFrame(`${before}${index},${delta}${members}${after(index, counts)}`);
      })
      .join('');
  };
  const readParts = (index: number, text: string | undefined): AnswerPart[] => {
    const choice = parsers?.[index];
    if (!choice) return text === undefined ? [] : [{ type: 'content', text }];
    const parts = text === undefined ? choice.parser.end() : choice.parser.push(text);
    choice.hasCalls ||= parts.some(({ type }) => type === 'call');
    return parts;
  };
  return {
    opening(index) {
      if (shownOpening === undefined) return '';
      return toFrame(`${before}${index},${shownOpening}${unfinished}${after(index, NO_TOKENS)}`);
    },
    delta: (index, { text, ...part }) => writeParts(index, readParts(index, text), part),
    finish(index, reason, { tokens, cachedTokens }) {
      const counts = { tokens, cachedTokens };
      const rest = writeParts(index, readParts(index, undefined), { logprobs: null, ...counts });
      const hasCalls = parsers?.[index]?.hasCalls && reason === 'stop';
      const shownReason = hasCalls ? shape.calls!.reason : reason;
      const start = `${before}${index},${shape.emptyDelta},"logprobs":null`;
      return rest + toFrame(`${start},"finish_reason":"${shownReason}"${after(index, counts)}`);
    },
    end(counts) {
      const last = `${members},"choices":[],"usage":${JSON.stringify(toUsage(counts))}}`;
      return (usage === 'none' ? '' : toFrame(last)) + toFrame('[DONE]');
    },
    fail: (error) => toFrame(JSON.stringify(toEnvelope(error))),
  };
}
