// Frames of an event stream, as OpenAI-style servers send them: `data: JSON`, and `data: [DONE]` at the end. Pure.
import { ApiError } from './api.js';

/**
 * What each frame says, parsed.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<any, void, undefined>}
 * @throws {ApiError} where the stream tells of an error, or breaks off
 */
export async function* readFrames(body) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = '';
  let isWhole = false;
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + decoder.decode(value, { stream: true })).split('\n');
      rest = /** @type {string} */ (lines.pop());
      for (const line of lines) {
        if (!line.startsWith('data: ')) continue; // comments keep proxies awake; empty lines end frames
        const data = line.slice('data: '.length);
        if (data === '[DONE]') {
          isWhole = true; // and the connection's end follows
          continue;
        }
        const frame = JSON.parse(data);
        if (frame.error) throw new ApiError(frame.error.message, frame.error);
        yield frame;
      }
    }
    if (!isWhole) throw new ApiError('The answer broke off.');
  } finally {
    await reader.cancel().catch(() => {});
  }
}
