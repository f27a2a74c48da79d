// A seeded stream of uniform random numbers: sfc32, seeded by splitmix32.
import { randomBytes } from 'node:crypto';

/** Returns the next number, uniform in [0, 1) with 53 random bits. */
export type Random = () => number;

/** How many rounds sfc32 needs until its state no longer shows the seed, according to its author. */
const WARM_UP_ROUNDS = 12;

/** Creates a stream. The same seed, a safe integer ≥ 0, always gives the same numbers. Without a seed it is random. */
export function createRandom(seed: number = randomBytes(6).readUIntBE(0, 6)): Random {
  const next = sfc32(seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0);
  return () => {
    const high = next() >>> 5; // 27 bits
    const low = next() >>> 6; // 26 bits
    return (high * 2 ** 26 + low) / 2 ** 53;
  };
}

/** Chris Doty-Humphrey's small fast counter generator (PractRand), 32-bit words. */
function sfc32(low: number, high: number): () => number {
  const mix = splitmix32(low);
  let a = mix();
  let b = mix() ^ high;
  let c = mix();
  let counter = 1;
  const next = () => {
    const out = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + out) | 0;
    return out >>> 0;
  };
  for (let round = 0; round < WARM_UP_ROUNDS; round++) next();
  return next;
}

function splitmix32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let word = state ^ (state >>> 16);
    word = Math.imul(word, 0x21f0aaad);
    word ^= word >>> 15;
    word = Math.imul(word, 0x735a2d97);
    return word ^ (word >>> 15);
  };
}
