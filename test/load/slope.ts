// How fast something grows, from samples that go up and down. Pure.
import { quantileOf } from './results.ts';

export interface Sample {
  readonly atMs: number;
  readonly value: number;
}

const BUCKET_MS = 30_000;
const PER_MS = 600_000;

/**
 * Growth in ten minutes: the median slope (Theil and Sen) between the least values of half minutes. Garbage that is not
 * collected yet raises single samples, a leak raises the least ones. Undefined: there are too few.
 */
export function slopePer10Min(samples: readonly Sample[]): number | undefined {
  const least = new Map<number, Sample>();
  for (const sample of samples) {
    const bucket = Math.floor(sample.atMs / BUCKET_MS);
    const before = least.get(bucket);
    if (!before || sample.value < before.value) least.set(bucket, sample);
  }
  const points = [...least.values()];
  const slopes = points.flatMap((a, i) =>
    points.slice(i + 1).map((b) => ((b.value - a.value) * PER_MS) / (b.atMs - a.atMs)),
  );
  return slopes.length === 0 ? undefined : quantileOf(slopes, 0.5);
}
