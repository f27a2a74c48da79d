// Compares two ways to hold the logprobs of a whole response: as JSON that is written token by token, and as objects that are
// written once per choice. Prints the memory that each takes before the end, the time of the end, and its longest choice. The
// response has as many logprobs as the default limit allows.
//   npm run bench:logprobs
import type { TokenLogprob } from '../../src/contracts/generation.ts';
import {
  createChatLogprobs,
  createTokenNames,
  LogprobsText,
  toChatLogprob,
} from '../../src/http/dialects/logprobs.ts';
import { DEFAULT_LIMITS } from '../../src/http/wire/limits.ts';
import { createByteTokenizer } from '../http/served.ts';

const ALTERNATIVES = 20;
const names = createTokenNames(createByteTokenizer(), { byId: false });

interface Way {
  add(token: TokenLogprob): void;
  end(): Buffer;
}

const WAYS: Readonly<Record<string, () => Way>> = {
  text() {
    const text = new LogprobsText(createChatLogprobs(names));
    const end = () => Buffer.concat(text.toJson().map((part) => Buffer.from(part)));
    return { add: (token) => text.add([token]), end };
  },
  objects() {
    const content: object[] = [];
    return {
      add: (token) => content.push(toChatLogprob(token, names)),
      end: () => Buffer.from(JSON.stringify({ content, refusal: null })),
    };
  },
};

for (const choices of [1, 8, 128]) {
  for (const [name, create] of Object.entries(WAYS))
    process.stdout.write(`${choices} choices as ${name}: ${measure(choices, create)}
`);
}

function measure(choices: number, create: () => Way): string {
  const tokens = Math.floor(DEFAULT_LIMITS.maxCompletionLogprobs / (1 + ALTERNATIVES) / choices);
  const before = usedBytes();
  const all = Array.from({ length: choices }, create);
  for (let i = 0; i < tokens; i++) for (const one of all) one.add(createToken(i));
  const heldMib = (usedBytes() - before) / 2 ** 20;
  const times = all.map((one) => {
    const startMs = performance.now();
    one.end();
    return performance.now() - startMs;
  });
  const endMs = times.reduce((sum, ms) => sum + ms, 0);
  const longestMs = Math.max(...times);
  return `${heldMib.toFixed(1)} MiB, end ${endMs.toFixed(0)} ms, longest choice ${longestMs.toFixed(0)} ms`;
}

function createToken(i: number): TokenLogprob {
  const idOf = (k: number) => 32 + ((i + k) % 90);
  const top = Array.from({ length: ALTERNATIVES }, (_, k) => ({
    id: idOf(k),
    logprob: -Math.random() * (1 + k),
  }));
  return { id: idOf(0), logprob: -Math.random(), top };
}

function usedBytes(): number {
  gc!();
  gc!(); // the first one finds the buffers of the way before
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
