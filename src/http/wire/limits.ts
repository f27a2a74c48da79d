// All limits of the HTTP side, with their reasons. Tests lower a limit instead of sending a lot.

/** The default limits. */
export const DEFAULT_LIMITS = {
  /** A JSON body with a full context of token ids takes about 100 KiB, and a long chat takes less. */
  maxBodyBytes: 1024 * 1024,
  /** The deadline of a request that sets none, as long as OpenAI's clients wait. */
  requestTimeoutMs: 600_000,
  /** The time from the first byte of a body to its last. */
  bodyTimeoutMs: 10_000,
  /** Characters per token of the context: prose has 4 to 5, tables of spaces 10. Tokenizing 32,768 takes 40 ms. */
  maxCharsPerToken: 16,
  /**
   * Characters of prompts that are tokenized in one turn of the event loop, which takes at most 15 ms. Longer prompts go to a
   * separate process.
   */
  maxCharsPerTurn: 8192,
  /** JSON is parsed recursively. Real requests nest 5 levels deep. */
  maxJsonDepth: 64,
  /** Members of all objects of a body. 1 MiB of short keys blocks the event loop for 0.3 s. The longest chat has 14,000. */
  maxJsonMembers: 16_384,
  /** Choices of one prompt, as in OpenAI's API. Choices without a free slot wait for others of their request. */
  maxChoices: 128,
  /** Prompts of one request. */
  maxPrompts: 1000,
  /** Inputs of one embeddings request, as in OpenAI's API. */
  maxInputs: 2048,
  /** Prompts times choices in one request. */
  maxSequences: 8192,
  /** How many sequences of one request may be in the engine. A single request then cannot fill the queue. */
  maxSequencesInFlight: 64,
  /**
   * Logprobs of the prompts in one response: each token and its alternatives. As JSON they take 75 bytes each, 5 MB in total.
   */
  maxPromptLogprobs: 65_536,
  /**
   * Logprobs of the generated tokens in one response: each token of each choice and its alternatives. They are held until the
   * whole response is complete or a slow reader has caught up: 21 MiB as JSON, 46 MiB as objects. All 20 alternatives of 128
   * choices of 2,047 tokens would take 970 MiB.
   */
  maxCompletionLogprobs: 262_144,
  maxMessages: 2048,
  /** Bytes of all stop strings. The stream decoder builds an automaton from them. */
  maxStopBytes: 8192,
  /** Bytes of all bad words. Each is tokenized twice and compared at every token. */
  maxBadWordBytes: 8192,
  maxStopTokenIds: 64,
  maxLogitBiases: 1024,
  /** Events that wait for a slow reader. Beyond this, text is gathered until the reader has caught up. */
  maxBufferedBytes: 64 * 1024,
  /** The interval between comment lines, which keep proxies from closing a quiet stream. */
  pingMs: 15_000,
  /** How long `/health` and `/metrics` wait for the engine's figures before they show the previous ones. */
  statsTimeoutMs: 40,
};

/** Limits of the HTTP side. */
export type HttpLimits = typeof DEFAULT_LIMITS;

/** The size of the request line and the headers, which the HTTP parser enforces. */
export const MAX_HEADER_BYTES = 16 * 1024;

/** A client that reads none of its response for this long counts as gone, and its connection is closed. */
export const STALLED_READER_MS = 30_000;
/** How much of its response a slow client must read in that time, unless less is left: 140 bytes a second. */
export const MIN_TAKEN_BYTES = 4096;

/** Requests in progress on one connection. Only a client that pipelines has more than one. */
export const MAX_PIPELINED = 8;
