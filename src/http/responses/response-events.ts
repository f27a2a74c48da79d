// Writes a streamed response as OpenAI's typed events, which are numbered. Its clients check their order.
import type { EventWriter } from '../answer-plan.ts';
import { toFrame } from '../event-stream.ts';
import { type DraftOptions, ResponseDraft, toTokenLogprobs } from './response-draft.ts';

/** Creates a writer for a response with one message. */
export function createResponseEvents(options: DraftOptions): EventWriter {
  const draft = new ResponseDraft(options);
  let sequenceNumber = 0;
  const event = (type: string, members: object) => {
    const data = { type, sequence_number: sequenceNumber++, ...members };
    return toFrame(JSON.stringify(data), type);
  };
  const item = { output_index: 0 };
  const part = { item_id: draft.messageId, output_index: 0, content_index: 0 };
  return {
    opening() {
      const response = draft.toStarted();
      return (
        event('response.created', { response }) +
        event('response.in_progress', { response }) +
        event('response.output_item.added', { ...item, item: draft.message }) +
        event('response.content_part.added', { ...part, part: draft.part })
      );
    },
    delta(_, { text, logprobs }) {
      draft.add(text, logprobs);
      return event('response.output_text.delta', {
        ...part,
        delta: text,
        logprobs: toTokenLogprobs(logprobs),
      });
    },
    finish(_, reason) {
      draft.finish(reason);
      const { text, logprobs } = draft.part;
      return (
        event('response.output_text.done', { ...part, text, logprobs }) +
        event('response.content_part.done', { ...part, part: draft.part }) +
        event('response.output_item.done', { ...item, item: draft.message })
      );
    },
    async end(counts) {
      const response = await draft.end(counts);
      return event(`response.${response.status}`, { response });
    },
    fail: (error) => event('response.failed', { response: draft.toFailed(error) }),
  };
}
