// Writes the choices of a streamed response as chunks, for chat and completions.
import type { ChatCompletionChunk, CompletionChunk } from '../../contracts/openai.ts';
import type { AnswerPart } from '../../tools/call-parser.ts';
import { toEnvelope } from '../wire/errors.ts';
import { toFrame } from '../wire/event-stream.ts';
import type { AnswerHead, AnswerPlan, ChoiceTokens, EventWriter } from './answer-plan.ts';
import { type ChoiceShape, toUsage } from './choice-shape.ts';

type Chunk = ChatCompletionChunk | CompletionChunk;

const NO_TOKENS: ChoiceTokens = { tokens: 0, cachedTokens: 0 };

/** Creates a writer of chunks for one response. */
export function createChunkWriter(
  { choices, stream, tools }: AnswerPlan,
  { head: { id, ...head }, shape }: { head: AnswerHead; shape: ChoiceShape },
): EventWriter {
  const { usage } = stream!;
  const usageOf = (index: number, { tokens, cachedTokens }: ChoiceTokens): Pick<Chunk, 'usage'> => {
    if (usage !== 'each') return usage === 'none' ? {} : { usage: null };
    const promptTokens = choices[index]!.request.promptIds.length;
    return { usage: toUsage({ promptTokens, completionTokens: tokens, cachedTokens }) };
  };
  const write = (written: Chunk['choices'], rest: Pick<Chunk, 'usage'>) => {
    const chunk = { id, object: shape.chunkObject, ...head, choices: written, ...rest } as Chunk;
    return toFrame(JSON.stringify(chunk));
  };
  type Choice = Chunk['choices'][number];
  const writeChoice = (
    index: number,
    content: object,
    {
      logprobs = null,
      reason = null,
      ...counts
    }: ChoiceTokens & { logprobs?: Choice['logprobs']; reason?: Choice['finish_reason'] },
  ) => {
    const choice = { index, ...content, logprobs, finish_reason: reason } as Choice;
    return write([choice] as Chunk['choices'], usageOf(index, counts));
  };
  const parsers = tools && choices.map(() => ({ parser: tools.createParser(), hasCalls: false }));
  const opening = tools ? shape.calls?.opening : shape.opening;
  const toContent = (part: AnswerPart) =>
    part.type === 'content' ? shape.delta(part.text) : shape.calls!.delta(part);
  const readParts = (index: number, text: string | undefined): AnswerPart[] => {
    const choice = parsers?.[index];
    if (!choice) return text === undefined ? [] : [{ type: 'content', text }];
    const parts = text === undefined ? choice.parser.end() : choice.parser.push(text);
    choice.hasCalls ||= parts.some(({ type }) => type === 'call');
    return parts;
  };
  return {
    opening: (index) => (opening ? writeChoice(index, opening, NO_TOKENS) : ''),
    /** Writes a chunk for each part. The first chunk carries the scores of all. */
    delta(index, { text, logprobs, ...counts }) {
      const contents = readParts(index, text).map(toContent);
      if (contents.length === 0 && logprobs) contents.push(shape.delta());
      return contents
        .map((content, i) => {
          return writeChoice(index, content, { ...counts, logprobs: i === 0 ? logprobs : null });
        })
        .join('');
    },
    finish(index, given, { tokens, cachedTokens }) {
      const counts = { tokens, cachedTokens };
      const rest = readParts(index, undefined).map(toContent);
      const hasCalls = parsers?.[index]?.hasCalls && given === 'stop';
      const reason = hasCalls ? shape.calls!.reason : given;
      const last = writeChoice(index, shape.delta(), { ...counts, reason });
      return rest.map((content) => writeChoice(index, content, counts)).join('') + last;
    },
    end: (counts) =>
      (usage === 'none' ? '' : write([], { usage: toUsage(counts) })) + toFrame('[DONE]'),
    fail: (error) => toFrame(JSON.stringify(toEnvelope(error))),
  };
}
