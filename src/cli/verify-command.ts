// lorikeet verify: reads a model and its serving files in full and compares them with their digests. Damaged serving
// files are marked, so that the next start rebuilds them.
import path from 'node:path';
import type { Command } from 'commander';
import { FileError } from '../common/errors.ts';
import { EXIT } from '../common/failure.ts';
import { WEIGHTS_MODES } from '../model/serving-weights.ts';
import { type Config, loadConfig } from '../settings/config.ts';
import { listenForInterrupt, type Terminal } from './terminal.ts';

interface VerifyOptions {
  model?: string;
  json?: true;
}

/** Adds the command; `exit` gets its exit code: 1 if anything is damaged. */
export function addVerify(
  program: Command,
  terminal: Terminal,
  exit: (code: number) => void,
): void {
  program
    .command('verify')
    .description('read a model and its serving files in full and compare them with their digests')
    .option('--model <dir>', 'folder or name of an imported model [LORIKEET_MODEL]')
    .option('--json', 'print the result as JSON')
    .action(async ({ json, ...flags }: VerifyOptions) => {
      const checks = await verify(loadConfig(flags), terminal);
      const isSound = checks.every(({ damage }) => damage === undefined);
      if (json) terminal.out(`${JSON.stringify({ sound: isSound, checks })}\n`);
      else for (const check of checks) terminal.out(`${check.what}: ${check.damage ?? 'sound'}\n`);
      exit(isSound ? EXIT.ok : EXIT.failed);
    });
}

interface Check {
  readonly what: string;
  /** Absent: none. */
  readonly damage?: string;
}

async function verify(config: Config, terminal: Terminal): Promise<Check[]> {
  const [{ chooseBase }, { verifyArtifact }, { readArtifactInfo }] = await Promise.all([
    import('./choose-base.ts'),
    import('../import/artifact.ts'),
    import('../import/artifact.ts'),
  ]);
  const signal = listenForInterrupt();
  const notify = (text: string) => terminal.error(`${text}\n`);
  const dir = await chooseBase(config.model, { config, signal, notify });
  const checks: Check[] = [];
  try {
    await verifyArtifact(dir, signal);
    checks.push({ what: dir });
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    checks.push({ what: dir, damage: error.message });
  }
  const { digest } = readArtifactInfo(dir);
  return [...checks, ...(await verifyServingFiles(digest, config, signal))];
}

/** Those of every weights mode that has been served. */
async function verifyServingFiles(
  digest: string,
  { home }: Config,
  signal: AbortSignal,
): Promise<Check[]> {
  const [{ isBuilt, servingFolder }, { discardChecksums, findFault }] = await Promise.all([
    import('../import/serving-cache.ts'),
    import('../import/serving-cache.ts'),
  ]);
  const checks: Check[] = [];
  for (const weights of WEIGHTS_MODES) {
    const folder = servingFolder(digest, { weights, cacheDir: path.join(home, 'cache') });
    if (!isBuilt(folder)) continue;
    const fault = await findFault(folder, { signal });
    const damage =
      fault &&
      `${fault.file}: ${fault.reason}. The next start with --weights ${weights} rebuilds it.`;
    checks.push({ what: folder, ...(damage && { damage }) });
    if (fault) await discardChecksums(folder);
  }
  return checks;
}
