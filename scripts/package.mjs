// Builds the npm tarball: the bundle, the command, the models and a bill of materials, with a package.json that lists only the
// packages that are not bundled. Prints the tarball's path on the last line. `--out DIR` sets its folder (default: the current
// one).
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { NOT_BUNDLED } from './not-bundled.mjs';
import { billOfMaterials } from './sbom.mjs';

const { out } = parseArgs({ options: { out: { type: 'string', default: '.' } } }).values;
const source = JSON.parse(readFileSync('package.json', 'utf8'));
const staging = mkdtempSync(path.join(os.tmpdir(), 'lorikeet-package-'));
try {
  execFileSync(process.execPath, ['scripts/build.mjs', '--out', path.join(staging, 'dist')], {
    stdio: 'inherit',
  });
  for (const name of [...source.files.filter((file) => file !== 'dist'), 'README.md']) {
    cpSync(name, path.join(staging, name), { recursive: true });
  }
  writeFileSync(path.join(staging, 'sbom.cdx.json'), billOfMaterials());
  writeFileSync(
    path.join(staging, 'package.json'),
    `${JSON.stringify(packageJson(source), null, 2)}\n`,
  );
  mkdirSync(out, { recursive: true });
  const pack = ['pack', '--silent', '--pack-destination', path.resolve(out)];
  const name = execFileSync('npm', pack, { cwd: staging, encoding: 'utf8' }).trim();
  process.stdout.write(`${path.resolve(out, name)}\n`);
} finally {
  rmSync(staging, { recursive: true });
}

/** Returns the package.json for users, without development tools and bundled packages. */
function packageJson({ devDependencies: _tools, scripts: _scripts, dependencies, ...rest }) {
  return {
    ...rest,
    files: [...rest.files, 'sbom.cdx.json'],
    exports: { './package.json': './package.json' },
    dependencies: Object.fromEntries(NOT_BUNDLED.map((name) => [name, dependencies[name]])),
  };
}
