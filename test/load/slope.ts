// How fast something grows, from samples that go up and down. Pure.
import { quantileOf } from './results.ts';

export interface Sample {
  readonly atMs: number;
  readonly value: number;
}

/** Parts of the time whose least values are compared. A part must be longer than garbage stays. */
const PARTS = 5;
const PER_MS = 600_000;

/**
 * Growth in ten minutes: the median slope (Theil and Sen) between the least values of fifths of the time. Garbage that is not
 * collected yet raises most samples, by 100 MiB in a busy server; a leak raises the least ones. Undefined: there are too few.
 */
export function slopePer10Min(samples: readonly Sample[]): number | undefined {
  const startMs = samples[0]?.atMs ?? 0;
  const partMs = ((samples.at(-1)?.atMs ?? 0) - startMs + 1) / PARTS;
  const least = new Map<number, Sample>();
  for (const sample of samples) {
    const part = Math.floor((sample.atMs - startMs) / partMs);
    const before = least.get(part);
    if (!before || sample.value < before.value) least.set(part, sample);
  }
  const points = [...least.values()];
  if (points.length < PARTS) return;
  const slopes = points.flatMap((a, i) =>
    points.slice(i + 1).map((b) => ((b.value - a.value) * PER_MS) / (b.atMs - a.atMs)),
  );
  return quantileOf(slopes, 0.5);
}
