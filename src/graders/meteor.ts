// METEOR as nltk computes it, from equal words and equal stems. Its third stage, synonyms, needs WordNet and is left out. Pure.
import { stemmer } from 'stemmer';

const RECALL_WEIGHT = 0.9;
const FRAGMENTATION = { weight: 0.5, power: 3 } as const;
/** Longer words are codes or links. The stemmer's time grows with the length. */
const MAX_STEMMED = 64;

interface Word {
  readonly at: number;
  readonly text: string;
}

/** Returns the METEOR of words against reference words. */
export function meteor(own: readonly string[], wanted: readonly string[]): number {
  const matches = align(toWords(own), toWords(wanted));
  if (matches.length === 0) return 0;
  const [precision, recall] = [matches.length / own.length, matches.length / wanted.length];
  const mean = (precision * recall) / (RECALL_WEIGHT * precision + (1 - RECALL_WEIGHT) * recall);
  const fragments = countChunks(matches) / matches.length;
  return (1 - FRAGMENTATION.weight * fragments ** FRAGMENTATION.power) * mean;
}

const toWords = (words: readonly string[]): Word[] =>
  words.map((word, at) => ({ at, text: word.toLowerCase() }));

type Match = readonly [own: number, wanted: number];

/** Matches equal words, then words with equal stems. */
function align(own: readonly Word[], wanted: readonly Word[]): Match[] {
  const exact = matchWords(own, wanted);
  const rest = [own, wanted].map((words, side) => {
    const matched = new Set(exact.map((match) => match[side]));
    return words.filter(({ at }) => !matched.has(at)).map(stemmed);
  });
  return [...exact, ...matchWords(rest[0]!, rest[1]!)].sort(([a], [b]) => a - b);
}

/** Matches words from the last to the first, each with the last equal word that is free. */
function matchWords(own: readonly Word[], wanted: readonly Word[]): Match[] {
  const places = new Map<string, number[]>();
  for (const { at, text } of wanted) {
    const same = places.get(text);
    if (same) same.push(at);
    else places.set(text, [at]);
  }
  return own.toReversed().flatMap(({ at, text }): Match[] => {
    const place = places.get(text)?.pop();
    return place === undefined ? [] : [[at, place]];
  });
}

function stemmed({ at, text }: Word): Word {
  return { at, text: text.length > MAX_STEMMED ? text : stemmer(text) };
}

/** Counts the runs of matches that are adjacent in both texts. */
function countChunks(matches: readonly Match[]): number {
  const isNew = ([own, wanted]: Match, i: number) => {
    const before = matches[i - 1];
    return before === undefined || own !== before[0] + 1 || wanted !== before[1] + 1;
  };
  return matches.filter(isNew).length;
}
