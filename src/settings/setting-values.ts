// Schemas that parse the text of a setting. The messages leave out the setting's name, which the caller adds.
import path from 'node:path';
import { z } from 'zod';

const UNITS: Record<string, number> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** Text without control characters. */
export const text = z
  .string()
  .regex(
    /^\P{Cc}*$/u,
    'contains a control character. Does the file that sets it have CRLF line endings?',
  );
/** A path, made absolute. */
export const folder = text.transform((value) => path.resolve(value));
/** A switch: 1, true, yes or on, in any case. Anything else is off. */
export const yes = z.string().transform((value) => /^(1|true|yes|on)$/i.test(value));

/** Comma-separated names. */
export const commaSeparated = text
  .transform((value) => value.split(',').map((name) => name.trim()))
  .pipe(z.array(z.string().min(1, 'contains an empty name')));

/** Comma-separated IP addresses and networks in CIDR notation. */
export const addressList = commaSeparated.pipe(
  z.array(
    z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()], {
      error: 'must be IP addresses and networks such as 10.0.3.7,10.1.0.0/16',
    }),
  ),
);

/** The address of a ZeroMQ socket that listens, as { host, port }. `*` stands for all addresses, IPv6 is in brackets. */
export const bindAddress = z
  .string()
  .regex(
    /^tcp:\/\/(?:\*|\[[\da-f:.]+\]|[\w.-]+):[1-9]\d{0,4}$/i,
    'must be tcp://HOST:PORT such as tcp://127.0.0.1:5557, or tcp://*:5557 for all addresses',
  )
  .transform((value) => {
    const end = value.lastIndexOf(':');
    const host = value.slice('tcp://'.length, end).replace(/^\[|\]$/g, '');
    return { host: host === '*' ? '::' : host, port: Number(value.slice(end + 1)) };
  })
  .refine(({ port }) => port <= 65_535, 'must have a port from 1 to 65535');

const ORIGIN =
  'must be origins such as https://app.example.org, without a path, or *. null is not accepted.';

/** Comma-separated origins, converted to the form that browsers send: lower case, without the default port. */
export const originList = commaSeparated
  .transform((origins) => origins.map(toOrigin))
  .pipe(z.array(z.string().regex(/^(?:\*|[a-z][a-z0-9+.-]*:\/\/[^/?#*@\s]+)$/, ORIGIN)));

function toOrigin(text: string): string {
  const url = /^https?:\/\/[^/?#@]+$/i.test(text) && URL.canParse(text) ? new URL(text) : undefined;
  return url?.origin ?? text;
}

/** An integer from `min` to `max` in digits. Errors name `shownMin` as the minimum. */
export function integer(min: number, max: number, shownMin = min) {
  const message = `must be a whole number from ${shownMin} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, message)
    .transform(Number)
    .pipe(z.number().min(min, message).max(max, message));
}

/** A number of bytes with an optional unit: 1073741824, 512M, 2GiB. */
export const byteSize = z
  .string()
  .regex(/^\d{1,15}(?:[KMG](?:i?B)?)?$/, 'must be a size such as 536870912, 512M or 2GiB')
  .transform((value) => Number.parseInt(value, 10) * UNITS[/[KMG]/.exec(value)?.[0] ?? '']!)
  .pipe(z.number().min(2 ** 20, 'must be at least 1M'));

/** A number of bytes, or `off` for none. */
export const byteSizeOrOff = z.union([z.literal('off').transform(() => 0), byteSize], {
  error: 'must be off, or a size of at least 1M such as 536870912, 512M or 2GiB',
});

const UNIT_MS: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A time in minutes, hours or days of at most `maxDays`, in milliseconds: 30m, 24h, 7d. */
export function duration(maxDays: number) {
  const range = `must be a time from 1m to ${maxDays}d such as 30m, 24h or 7d`;
  return z
    .string()
    .regex(/^\d{1,6}[mhd]$/, range)
    .transform((value) => Number.parseInt(value, 10) * UNIT_MS[value.at(-1)!]!)
    .pipe(
      z
        .number()
        .min(UNIT_MS['m']!, range)
        .max(maxDays * UNIT_MS['d']!, range),
    );
}

/** The location of a store. URLs with an unknown scheme are rejected instead of being read as folders. */
export const storeLocation = text
  .regex(
    /^(?:memory:|s3:\/\/[a-z\d][a-z\d.-]{1,61}[a-z\d](?:\/(?!\.\.?(?:\/|$))[\w.-]+)*\/?|(?!\w+:).*)$/,
    'must be a folder, s3://bucket/prefix or memory:',
  )
  .transform((value) => (/^(?:memory:|s3:\/\/)/.test(value) ? value : path.resolve(value)));

/** The URL of a Redis-compatible server. It may contain a password. */
export const redisUrl = z.url({
  protocol: /^rediss?$/,
  error: 'must be a URL such as redis://10.0.3.7:6379 or rediss://USER:PASSWORD@HOST:PORT/0',
});

/** The URL of a collector. It may contain credentials. */
export const otlpUrl = z
  .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
  .optional();
/** The name of an exporter. */
export const otlpOrNone = z.enum(['otlp', 'none'], 'must be otlp or none').optional();
