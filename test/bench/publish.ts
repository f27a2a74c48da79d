// Puts a measured table where it is shown.
import { readFileSync, writeFileSync } from 'node:fs';

/** Writes a report between the marks with this name in a file. Without a file or marks in it, prints the report. */
export function publish(name: string, report: string, file: string | undefined): void {
  const marks = new RegExp(
    `(<!-- ${name}: written by [^\\n]*-->\\n)[\\s\\S]*?(<!-- end of ${name} -->)`,
  );
  const text = file && readFileSync(file, 'utf8');
  if (!text || !marks.test(text)) {
    process.stdout.write(`\n${report}\n`);
    return;
  }
  const changed = text.replace(marks, (_, start, end) => `${start}\n${report}\n\n${end}`);
  writeFileSync(file, changed);
}
