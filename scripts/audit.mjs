// Asks the registry for known vulnerabilities in the packages that users run, and fails if one is not in the list below.
// `npm run audit` is part of continuous integration. If the registry does not answer, it reports that and passes.
import { spawnSync } from 'node:child_process';
import { pathToFileURL } from 'node:url';

/** Advisories that do not affect lorikeet: GHSA id → reason. */
const ACCEPTED = {};

/**
 * Lists the advisories in a report of `npm audit --json` that are not accepted. Returns undefined if the registry did not
 * answer and the report is therefore empty.
 * @param {{ vulnerabilities?: Record<string, { via: unknown[] }>, error?: unknown }} report
 * @param {Record<string, string>} accepted
 */
export function unacceptedAdvisories({ vulnerabilities }, accepted = ACCEPTED) {
  if (!vulnerabilities) return undefined;
  const found = new Map();
  for (const { via } of Object.values(vulnerabilities)) {
    // A text names another vulnerable package, which has a separate entry.
    for (const { url, name, title, severity } of via.filter((cause) => typeof cause === 'object')) {
      const id = url.split('/').at(-1);
      if (!Object.hasOwn(accepted, id)) found.set(id, `${id} ${name} (${severity}): ${title}`);
    }
  }
  return [...found.values()];
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { stdout } = spawnSync('npm', ['audit', '--omit', 'dev', '--json'], { encoding: 'utf8' });
  const advisories = unacceptedAdvisories(parse(stdout));
  if (!advisories) process.stdout.write('skipped: the registry has no answer to npm audit\n');
  else if (advisories.length === 0) process.stdout.write('no known vulnerabilities\n');
  else {
    process.stderr.write(
      `${advisories.join('\n')}\nUpdate the package, or add the advisory with its reason to ACCEPTED.\n`,
    );
    process.exitCode = 1;
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
