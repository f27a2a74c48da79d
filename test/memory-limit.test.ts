import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { memoryGroups, memoryLimit } from '../src/common/memory-limit.ts';
import { temporaryFolder } from './fixtures.ts';

const MACHINE = 64 * 2 ** 30;
const V2 = '31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate';
const V1 = '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory';
const V1_CPU = '32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu';

type Tree = Readonly<Record<string, string>>;

function limitOf(t: Parameters<typeof temporaryFolder>[0], tree: Tree) {
  const root = temporaryFolder(t);
  for (const [file, text] of Object.entries(tree)) {
    mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    writeFileSync(path.join(root, file), `${text}\n`);
  }
  return memoryLimit(root, MACHINE);
}

test('without control groups, or with unlimited ones, the machine is the limit', (t) => {
  const machine = { bytes: MACHINE, source: 'machine' };
  assert.deepEqual(limitOf(t, {}), machine);
  const unlimited = {
    'proc/self/cgroup': '4:memory:/a\n0::/b',
    'proc/self/mountinfo': `${V1}\n${V2}`,
    'sys/fs/cgroup/memory/a/memory.limit_in_bytes': '9223372036854771712',
    'sys/fs/cgroup/b/memory.max': 'max',
    'sys/fs/cgroup/b/memory.high': 'max',
  };
  assert.deepEqual(limitOf(t, unlimited), machine);
});

test('the smallest limit of nested groups of version 2 counts', (t) => {
  const tree = {
    'proc/self/cgroup': '0::/pod/container',
    'proc/self/mountinfo': V2,
    'sys/fs/cgroup/pod/memory.max': '900000000',
    'sys/fs/cgroup/pod/container/memory.max': '2000000000',
  };
  const file = '/sys/fs/cgroup/pod/memory.max';
  assert.deepEqual(limitOf(t, tree), { bytes: 900_000_000, source: file });
  const inner = { ...tree, 'sys/fs/cgroup/pod/container/memory.high': '700000000' };
  assert.deepEqual(limitOf(t, inner).bytes, 700_000_000);
});

test('a container whose own group is the top of the mount reads it there', (t) => {
  const seen = limitOf(t, {
    'proc/self/cgroup': '0::/',
    'proc/self/mountinfo': V2,
    'sys/fs/cgroup/memory.max': '500000000',
  });
  assert.equal(seen.bytes, 500_000_000);
  // Version 1 without a namespace: the path is the host's, the mount is the container's.
  const bound = limitOf(t, {
    'proc/self/cgroup': '5:cpu,memory:/docker/abc',
    'proc/self/mountinfo': `${V1_CPU}\n${V1.replace(' / ', ' /docker/abc ')}`,
    'sys/fs/cgroup/memory/memory.limit_in_bytes': '400000000',
  });
  assert.equal(bound.bytes, 400_000_000);
});

test('version 1 is read at the group of the memory controller and its parents', (t) => {
  const tree = {
    'proc/self/cgroup': '1:cpu:/x\n4:memory:/a/b\n0::/',
    'proc/self/mountinfo': `${V1_CPU}\n${V1}`,
    'sys/fs/cgroup/cpu/x/memory.limit_in_bytes': '1',
    'sys/fs/cgroup/memory/a/memory.limit_in_bytes': '300000000',
    'sys/fs/cgroup/memory/a/b/memory.limit_in_bytes': '600000000',
  };
  assert.equal(limitOf(t, tree).bytes, 300_000_000);
});

test('this machine has a limit, and every group that is found has a folder', () => {
  const { bytes } = memoryLimit();
  assert.ok(bytes > 2 ** 20 && Number.isFinite(bytes));
  for (const { folders } of memoryGroups()) assert.ok(folders.length > 0);
});
