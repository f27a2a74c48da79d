// A reporter for Node's test runner that writes one line, "passed failed skipped", then a line "# file: test: message" for each
// failure, and a line "# shown: F01 F02" with the rows of docs/evidence/reliability.md that passing tests have in their names. A file
// that crashes counts as failed. The runner expects a reporter as the default export.

import path from 'node:path';

/** The ids before a test's name, such as "F03, I04: a run that throws". */
const IDS = /(?:^|: )((?:[BFIT]\d\d, )*[BFIT]\d\d): /;

/** @param {AsyncIterable<{type: string, data: any}>} source */
export default async function* countTests(source) {
  const counts = { pass: 0, fail: 0, skip: 0 };
  const failures = [];
  const shown = new Set();
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    // A suite is counted by its tests.
    if (data.details?.type === 'suite') continue;
    if (type === 'test:fail') {
      counts.fail++;
      const file = path.relative('', data.file ?? '');
      failures.push(`# ${file}: ${data.name}: ${briefly(data.details?.error)}\n`);
    } else if (data.skip !== undefined || data.todo !== undefined) counts.skip++;
    else {
      counts.pass++;
      for (const id of IDS.exec(data.name)?.[1].split(', ') ?? []) shown.add(id);
    }
  }
  yield `${counts.pass} ${counts.fail} ${counts.skip}\n`;
  yield* failures;
  yield `# shown: ${[...shown].sort().join(' ')}\n`;
}

/** @param {any} error the runner's error, with the test's error as its cause */
function briefly(error) {
  const { message } = error?.cause ?? error ?? {};
  return String(message ?? '')
    .replace(/\s+/g, ' ')
    .slice(0, 300);
}
