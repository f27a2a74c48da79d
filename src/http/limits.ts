// Every limit of the HTTP side, with its reason. A test makes one small instead of sending much.

export const DEFAULT_LIMITS = {
  /** JSON bodies: a full context of token ids is some 100 KiB, a long chat less than that. */
  maxBodyBytes: 1024 * 1024,
  /** From the first byte of a body to its last. */
  bodyTimeoutMs: 10_000,
  /** Text per token of the context: prose has 4 to 5, tables of spaces 10. Tokenizing 32,768 takes 40 ms. */
  maxCharsPerToken: 16,
  /** Text of several prompts that is tokenized in one turn of the event loop; a single prompt may be longer. */
  maxCharsPerTurn: 8192,
  /** JSON is parsed recursively; requests nest 5 deep. */
  maxJsonDepth: 64,
  /** Members of all objects of a body: 1 MiB of short keys hold the loop up for 0.3 s. The longest chat has 14,000. */
  maxJsonMembers: 16_384,
  /** Choices of one prompt, as OpenAI's; those that find no room wait for others of their request. */
  maxChoices: 128,
  /** Prompts of one request. */
  maxPrompts: 1000,
  /** Prompts times choices of one request. */
  maxSequences: 8192,
  /** Sequences that one request may have in the engine at once, so that it cannot fill the queue. */
  maxSequencesInFlight: 64,
  maxMessages: 2048,
  /** All stop strings: the stream decoder builds an automaton of them. */
  maxStopBytes: 8192,
  /** All bad words: each is tokenized twice, and compared with at every token. */
  maxBadWordBytes: 8192,
  maxStopTokenIds: 64,
  maxLogitBiases: 1024,
  /** Frames waiting for a slow reader; past this, text is kept unframed until the reader catches up. */
  maxBufferedBytes: 64 * 1024,
  /** A reader that takes nothing for this long is gone. */
  stalledReaderMs: 30_000,
  /** Comment lines keep proxies from closing a quiet stream. */
  pingMs: 15_000,
  /** How long `/health` waits for the engine's figures. */
  statsTimeoutMs: 500,
};

export type HttpLimits = typeof DEFAULT_LIMITS;

/** Request line and headers together: enforced by the HTTP parser. */
export const MAX_HEADER_BYTES = 16 * 1024;
