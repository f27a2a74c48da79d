// Writes a streamed response as OpenAI's typed events. They are numbered, because clients check their order.

import { toFrame } from '../wire/event-stream.ts';
import type { EventWriter } from './answer-plan.ts';
import { type DraftOptions, ResponseDraft } from './response-draft.ts';
import type { OutputListener } from './response-output.ts';

/** Creates a writer for one response. */
export function createResponseEvents(options: Omit<DraftOptions, 'listener'>): EventWriter {
  let sequenceNumber = 0;
  let frames = '';
  const event = (type: string, members: object) => {
    const data = { type, sequence_number: sequenceNumber++, ...members };
    frames += toFrame(JSON.stringify(data), type);
  };
  const take = () => {
    const taken = frames;
    frames = '';
    return taken;
  };
  const draft = new ResponseDraft({ ...options, listener: createItemEvents(event) });
  return {
    opening() {
      const response = draft.toStarted();
      event('response.created', { response });
      event('response.in_progress', { response });
      draft.open();
      return take();
    },
    delta(_, { text, logprobs }) {
      draft.add(text, logprobs);
      return take();
    },
    finish(_, reason) {
      draft.finish(reason);
      return take();
    },
    async end(counts) {
      const response = await draft.end(counts);
      event(`response.${response.status}`, { response });
      return take();
    },
    fail(error) {
      event('response.failed', { response: draft.toFailed(error) });
      return take();
    },
  };
}

/** Writes the changes of items. */
function createItemEvents(event: (type: string, members: object) => void): OutputListener {
  const inText = { content_index: 0 };
  return {
    opened(item, index) {
      const isMessage = item.type === 'message';
      const shown = isMessage ? { ...item, content: [] } : item;
      event('response.output_item.added', { output_index: index, item: shown });
      if (!isMessage) return;
      const place = { item_id: item.id, output_index: index, ...inText };
      event('response.content_part.added', { ...place, part: item.content[0] });
    },
    textAdded({ id }, index, { text, logprobs }) {
      const place = { item_id: id, output_index: index, ...inText };
      event('response.output_text.delta', { ...place, delta: text, logprobs });
    },
    argumentsAdded({ id }, index, text) {
      const place = { item_id: id, output_index: index };
      event('response.function_call_arguments.delta', { ...place, delta: text });
    },
    closed(item, index) {
      const place = { item_id: item.id, output_index: index };
      if (item.type === 'message') {
        const [part] = item.content;
        const { text, logprobs } = part;
        event('response.output_text.done', { ...place, ...inText, text, logprobs });
        event('response.content_part.done', { ...place, ...inText, part });
      } else {
        const { name, arguments: given } = item;
        event('response.function_call_arguments.done', { ...place, name, arguments: given });
      }
      event('response.output_item.done', { output_index: index, item });
    },
  };
}
