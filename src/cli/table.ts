// Formats rows of text as aligned columns, and times for humans.
import { largest } from '../common/long-arrays.ts';

/** Aligns the columns of a table. The first row is the header. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const columns = rows[0]!.map((_, i) => i);
  const widths = columns.map((i) => largest(rows.map((row) => row[i]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Formats Unix seconds in UTC, such as `2026-11-25 04:03`. */
export function formatTime(unixSeconds: number): string {
  return new Date(unixSeconds * 1000).toISOString().slice(0, 16).replace('T', ' ');
}
