// Where an alias leads, as it is written on the command line and shown to people.
import type { AliasPointer } from '../../../adapters/repository/manifest.ts';
import { UsageError } from '../../common/errors.ts';

/** `3`, or `90 % 3, 10 % 4`. */
export function describePointer(pointer: AliasPointer): string {
  if ('version' in pointer) return `${pointer.version}`;
  return pointer.split.map(({ version, percent }) => `${percent} % ${version}`).join(', ');
}

/** A version's number. */
export function parseVersion(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new UsageError(`${text}: must be a version's number, such as 3`);
}

/** `90:3,10:4`: percent and version of each share. */
export function parseSplit(text: string): AliasPointer {
  const split = text.split(',').map((share) => {
    const [, percent, version] = /^(\d{1,3}(?:\.\d{1,3})?):([1-9]\d{0,8})$/.exec(share) ?? [];
    if (!version) throw new UsageError(`--split: ${share} must be PERCENT:VERSION, such as 10:4`);
    return { percent: Number(percent), version: Number(version) };
  });
  const sum = split.reduce((total, { percent }) => total + percent, 0);
  if (Math.abs(sum - 100) > 1e-6) throw new UsageError(`--split: the shares are ${sum} %, not 100`);
  return { split };
}
