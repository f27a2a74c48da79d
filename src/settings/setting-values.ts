// What the text of a setting may be, and the value that it stands for: schemas from text. Knows no setting.
import path from 'node:path';
import { z } from 'zod';

const UNITS: Record<string, number> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

export const text = z.string().regex(/^\P{Cc}*$/u, 'holds a control character (a CRLF file?)');
export const folder = text.transform((value) => path.resolve(value));
export const yes = z.string().transform((value) => /^(1|true|yes|on)$/i.test(value));

/** Comma separated. */
export const nameList = text
  .transform((value) => value.split(',').map((name) => name.trim()))
  .pipe(z.array(z.string().min(1, 'holds an empty name')));

const ORIGIN =
  'must be origins such as https://app.example.org, without a path, or *; null is nobody';

/** Comma separated, as browsers write them: `scheme://host[:port]` in lower case, without the scheme's own port. */
export const originList = nameList
  .transform((origins) => origins.map(toOrigin))
  .pipe(z.array(z.string().regex(/^(?:\*|[a-z][a-z0-9+.-]*:\/\/[^/?#*@\s]+)$/, ORIGIN)));

function toOrigin(text: string): string {
  const url = /^https?:\/\/[^/?#@]+$/i.test(text) && URL.canParse(text) ? new URL(text) : undefined;
  return url?.origin ?? text;
}

/** A whole number from `min` to `max`, written in digits only; `shownMin` is what a fault says. */
export function integer(min: number, max: number, shownMin = min) {
  const message = `must be a whole number from ${shownMin} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, message)
    .transform(Number)
    .pipe(z.number().min(min, message).max(max, message));
}

/** Bytes, with an optional unit: 1073741824, 512M, 2GiB. */
export const byteSize = z
  .string()
  .regex(/^\d{1,15}(?:[KMG](?:i?B)?)?$/, 'must be a size such as 536870912, 512M or 2GiB')
  .transform((value) => Number.parseInt(value, 10) * UNITS[/[KMG]/.exec(value)?.[0] ?? '']!)
  .pipe(z.number().min(2 ** 20, 'must be at least 1M'));

/** Any other URL is a mistake, not a folder's name. */
export const storePlace = text
  .regex(
    /^(?:memory:|s3:\/\/[a-z\d][a-z\d.-]{1,61}[a-z\d](?:\/(?!\.\.?(?:\/|$))[\w.-]+)*\/?|(?!\w+:).*)$/,
    'must be a folder, s3://bucket/prefix or memory:',
  )
  .transform((value) => (/^(?:memory:|s3:\/\/)/.test(value) ? value : path.resolve(value)));

/** Such a URL may hold credentials. */
export const otlpUrl = z
  .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
  .optional();
export const otlpOrNone = z.enum(['otlp', 'none'], 'must be otlp or none').optional();
