// What a request's fields ask of the stream and of the end of its text. Knows no socket.
import { createStopStrings } from '../tokenizer/stop-strings.ts';
import type { StreamDecoderOptions } from '../tokenizer/stream-decoder.ts';
import type { ChatRequest } from './schema/chat.ts';

export interface StreamPlan {
  /** In a last chunk, or in each. */
  usage: 'none' | 'last' | 'each';
}

/** What `stream` and `stream_options` ask for. */
export function toStreamPlan({
  stream,
  stream_options: options,
}: Pick<ChatRequest, 'stream' | 'stream_options'>): StreamPlan | undefined {
  if (!stream) return undefined;
  if (!options?.include_usage) return { usage: 'none' };
  return { usage: options.continuous_usage_stats ? 'each' : 'last' };
}

/** How an answer's text ends: by `stop`, `min_tokens` and `include_stop_str_in_output`. */
export function toTextEnd(
  body: Pick<ChatRequest, 'stop' | 'min_tokens' | 'include_stop_str_in_output'>,
): StreamDecoderOptions {
  return {
    stop: createStopStrings(body.stop),
    includesStop: body.include_stop_str_in_output ?? false,
    minTokens: body.min_tokens ?? 0,
  };
}
