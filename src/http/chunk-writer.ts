// Writes the choices of a streamed answer as chunks, for chat and completions.
import type { AnswerHead, AnswerPlan, ChoiceTokens, EventWriter } from './answer-plan.ts';
import { type ChoiceShape, toUsage } from './choice-shape.ts';
import { toFrame } from './event-stream.ts';
import { toEnvelope } from './middleware/errors.ts';

const NO_TOKENS: ChoiceTokens = { tokens: 0, cachedTokens: 0 };

/** Creates a writer. The constant parts are written once, so a token costs one `JSON.stringify` of its text. */
export function createChunkWriter(
  { choices, stream }: AnswerPlan,
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
  return {
    opening(index) {
      if (shape.opening === undefined) return '';
      return toFrame(`${before}${index},${shape.opening}${unfinished}${after(index, NO_TOKENS)}`);
    },
    delta(index, { text, logprobs, ...counts }) {
      const start = `${before}${index},${open}${JSON.stringify(text)}${close}`;
      const end = after(index, counts);
      if (!logprobs) return toFrame(`${start}${unfinished}${end}`);
      return toFrame(`${start},"logprobs":${JSON.stringify(logprobs)},"finish_reason":null${end}`);
    },
    finish(index, reason, counts) {
      const start = `${before}${index},${shape.emptyDelta},"logprobs":null`;
      return toFrame(`${start},"finish_reason":"${reason}"${after(index, counts)}`);
    },
    end(counts) {
      const last = `${members},"choices":[],"usage":${JSON.stringify(toUsage(counts))}}`;
      return (usage === 'none' ? '' : toFrame(last)) + toFrame('[DONE]');
    },
    fail: (error) => toFrame(JSON.stringify(toEnvelope(error))),
  };
}
