// Frames of an event stream, as OpenAI-style servers send them: `data: JSON`, and `data: [DONE]` at the end. Pure.
import { ApiError, isAbort } from './api.js';

const BROKEN_OFF = 'The connection to the server broke off before the end of the answer.';

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
      const { done, value } = await reader.read().catch(toApiError);
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
    if (!isWhole) throw new ApiError(BROKEN_OFF);
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** Browsers have words of their own for a lost connection; an abort stays one. @param {unknown} error @returns {never} */
function toApiError(error) {
  if (isAbort(error)) throw error;
  throw new ApiError(BROKEN_OFF);
}
