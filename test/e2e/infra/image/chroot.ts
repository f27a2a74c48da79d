// Runs commands in a root folder of its own, as an engine of containers does: layers by overlayfs, namespaces for mounts
// and processes, chroot. Wants root and Linux; shares the network with the machine. Knows no Dockerfile.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';

export interface Container {
  /** The lowest first; never written to. */
  readonly layers: readonly string[];
  /** Receives all changes. Absent: only /tmp and `writable` can be changed. */
  readonly upper?: string;
  /** A folder of the container's own, for mount points. */
  readonly scratch: string;
  readonly environment: ReadonlyMap<string, string>;
  readonly workdir: string;
  /** `uid:gid`, or empty for root. */
  readonly user: string;
  /** Machine → container. */
  readonly mounts?: ReadonlyMap<string, string>;
  /** Layers of another one, to be seen at /mnt. */
  readonly source?: readonly string[];
}

/** The reason why containers cannot run here, or false. */
export function skipWithoutChroot(): string | false {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'runs on Linux x64 only';
  if (process.getuid?.() !== 0) return 'needs root, for chroot';
  try {
    execFileSync('unshare', ['--mount', '--pid', '--fork', 'mount', '-t', 'tmpfs', 'x', '/mnt']);
    return false;
  } catch (error) {
    return `needs unshare(1) and mounts: ${error instanceof Error ? error.message : error}`;
  }
}

const ENTER = `
root=$1; options=$2; mounts=$3; source=$4; user=$5; workdir=$6; shift 6
mount --make-rprivate /
mount -t overlay overlay -o "$options" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
[ -z "$source" ] || mount -t overlay overlay -o "$source" "$root/mnt"
for pair in $mounts; do mount --bind "\${pair%%:*}" "$root\${pair#*:}"; done
exec chroot --userspec="$user" "$root" /usr/bin/env --chdir="$workdir" -i "$@"
`;

/** Starts a command; the child is unshare(1), whose only child is process 1 inside. */
export function startInside(container: Container, command: readonly string[]): ChildProcess {
  const { layers, upper, scratch, environment, workdir, user, mounts = new Map() } = container;
  const source = container.source ? lowerOf(container.source) : '';
  const root = path.join(scratch, 'root');
  const work = path.join(scratch, 'work');
  for (const folder of [root, work]) mkdirSync(folder, { recursive: true });
  const lower = lowerOf(layers);
  const options = upper ? `${lower},upperdir=${upper},workdir=${work}` : lower;
  const variables = Array.from(environment, ([name, value]) => `${name}=${value}`);
  const bound = Array.from(mounts, ([from, to]) => `${from}:${to}`).join(' ');
  return spawn(
    'unshare',
    [
      ...['--mount', '--pid', '--fork', '--kill-child', 'sh', '-euc', ENTER, 'sh'],
      ...[root, options, bound, source, user, workdir, ...variables, ...command],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
}

const lowerOf = (layers: readonly string[]) => `lowerdir=${layers.toReversed().join(':')}`;

export interface Outcome {
  readonly code: number | null;
  readonly output: string;
}

/** Runs a command to its end. */
export function runInside(container: Container, command: readonly string[]): Promise<Outcome> {
  return outcomeOf(startInside(container, command));
}

export function outcomeOf(child: ChildProcess): Promise<Outcome> {
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk) => {
      output += chunk;
    });
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, output }));
  });
}
