// A reporter for Node's test runner that writes one line, "passed failed skipped", and then a line "# test: message" for each
// failure. A file that crashes counts as failed. The runner expects a reporter as the default export.

/** @param {AsyncIterable<{type: string, data: any}>} source */
export default async function* countTests(source) {
  const counts = { pass: 0, fail: 0, skip: 0 };
  const failures = [];
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    // A suite counts as its tests.
    if (data.details?.type === 'suite') continue;
    if (type === 'test:fail') {
      counts.fail++;
      failures.push(`# ${data.name}: ${briefly(data.details?.error)}\n`);
    } else if (data.skip !== undefined || data.todo !== undefined) counts.skip++;
    else counts.pass++;
  }
  yield `${counts.pass} ${counts.fail} ${counts.skip}\n`;
  yield* failures;
}

/** @param {any} error the runner's, with the test's own as its cause */
function briefly(error) {
  const { message } = error?.cause ?? error ?? {};
  return String(message ?? '')
    .replace(/\s+/g, ' ')
    .slice(0, 300);
}
