// Formats numbers and times for people.

const NUMBER = new Intl.NumberFormat('en');
const ONE_DIGIT = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const COMPACT = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** Formats an integer: 12,345. */
export function count(n: number): string {
  return NUMBER.format(n);
}

/** Formats a number with about three digits: 12.3K. */
export function compact(n: number): string {
  return n < 10_000 ? ONE_DIGIT.format(n) : COMPACT.format(n);
}

/** Formats a number with its noun: 2 files. @param one the singular */
export function counted(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** Formats a number of bytes: 1.5 MiB. */
export function size(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? count(value) : ONE_DIGIT.format(value)} ${units[unit]}`;
}

/** Formats a share as 12.5%. @param share 0 to 1 */
export function percent(share: number): string {
  return `${ONE_DIGIT.format(share * 100)}%`;
}

/** Formats a duration with at most two units: 3 min 20 s. */
export function duration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${ONE_DIGIT.format(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) {
    const rest = Math.floor(seconds % 60);
    return minutes < 10 && rest > 0
      ? `${Math.floor(seconds / 60)} min ${rest} s`
      : `${minutes} min`;
  }
  if (minutes < 60 * 48) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.round(minutes / 60 / 24)} days`;
}

/** Formats how long ago something was: 3 min ago. */
export function ago(seconds: number): string {
  if (seconds < 60) return 'less than a minute ago';
  return `${duration(Math.round(seconds / 60) * 60)} ago`;
}

/** The units of a range, largest first. `from`: the shortest range in this unit; `step`: what it is rounded to. */
const RANGE_UNITS = [
  { unit: 'days', seconds: 86_400, from: 2 * 86_400, step: 0.5 },
  { unit: 'h', seconds: 3600, from: 5400, step: 0.5 },
  { unit: 'min', seconds: 60, from: 90, step: 1 },
  { unit: 's', seconds: 1, from: 0, step: 5 },
];

/** Formats a range of durations, rounded outwards: 4 to 7 min. */
export function durationRange(fromS: number, toS: number): string {
  const { unit, seconds, step } = RANGE_UNITS.find(({ from }) => toS >= from)!;
  const low = Math.max(Math.floor(fromS / seconds / step) * step, 0);
  const high = Math.ceil(toS / seconds / step) * step;
  if (low === 0) return `less than ${high} ${unit}`;
  return low === high ? `${low} ${unit}` : `${low} to ${high} ${unit}`;
}

/** Formats a number with four significant digits. */
export function figure(n: number): string {
  if (n === 0) return '0';
  return Math.abs(n) >= 1e-3 && Math.abs(n) < 1e5
    ? String(Number(n.toPrecision(4)))
    : n.toExponential(2);
}

/** Formats a time of day in the user's time zone. */
export function timeOfDay(unixS: number): string {
  return new Date(unixS * 1000).toLocaleTimeString();
}

/** Formats a time of day without seconds. */
export function hourAndMinute(unixS: number): string {
  return new Date(unixS * 1000).toLocaleTimeString(undefined, { timeStyle: 'short' });
}

/** Formats a time of today without its date, and another day without its time. */
export function shortTime(unixS: number, now = new Date()): string {
  const then = new Date(unixS * 1000);
  if (then.toDateString() === now.toDateString()) return hourAndMinute(unixS);
  const isThisYear = then.getFullYear() === now.getFullYear();
  return then.toLocaleDateString(undefined, {
    day: 'numeric',
    month: 'short',
    ...(!isThisYear && { year: 'numeric' }),
  });
}

/** Formats a date and time in the user's time zone. */
export function dateAndTime(unixS: number): string {
  return new Date(unixS * 1000).toLocaleString(undefined, {
    dateStyle: 'medium',
    timeStyle: 'short',
  });
}
