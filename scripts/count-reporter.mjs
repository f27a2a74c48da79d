// A reporter of node's test runner that writes one line: "passed failed skipped". A file that dies counts as failed.

/** @param {AsyncIterable<{type: string, data: any}>} source */
export async function* countTests(source) {
  const counts = { pass: 0, fail: 0, skip: 0 };
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    // Suites are counted by their tests.
    if (data.details?.type === 'suite') continue;
    if (type === 'test:fail') counts.fail++;
    else if (data.skip !== undefined || data.todo !== undefined) counts.skip++;
    else counts.pass++;
  }
  yield `${counts.pass} ${counts.fail} ${counts.skip}\n`;
}

// Node's test runner takes a reporter module's default export.
export default countTests;
