// The cgroups of runs, in a folder that stands for /proc and /sys. A real one needs a delegated cgroup v2.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { createCgroup, prepareCgroupParent, removeCgroup } from '../../src/graders/run-cgroup.ts';
import { temporaryFolder } from '../fixtures.ts';

/** Makes a machine whose server runs in a cgroup. */
function machineOf(group: string): string {
  const root = temporaryFolder();
  mkdirSync(path.join(root, 'proc/self'), { recursive: true });
  mkdirSync(path.join(root, 'sys/fs/cgroup', group), { recursive: true });
  writeFileSync(path.join(root, 'proc/self/cgroup'), `0::${group}\n`);
  const mount = '30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n';
  writeFileSync(path.join(root, 'proc/self/mountinfo'), mount);
  return root;
}

test('a run’s cgroup limits memory and processes, and is removed', async () => {
  const root = machineOf('/system.slice/lorikeet.service/server');
  const parent = prepareCgroupParent(root)!;
  assert.equal(path.relative(root, parent), 'sys/fs/cgroup/system.slice/lorikeet.service');
  const read = (file: string) => readFileSync(file, 'utf8');
  assert.equal(read(path.join(parent, 'cgroup.subtree_control')), '+memory +pids');
  const limits = { memoryBytes: 3 * 2 ** 30, processes: 64 };
  const [one, two] = [createCgroup(parent, limits), createCgroup(parent, limits)];
  assert.notEqual(one, two);
  assert.equal(read(path.join(one, 'memory.max')), String(3 * 2 ** 30));
  assert.equal(read(path.join(one, 'pids.max')), '64');
  // In a real cgroup these are no files that keep the folder from being removed.
  for (const file of ['memory.max', 'memory.oom.group', 'pids.max']) rmSync(path.join(one, file));
  await removeCgroup(one);
  assert.ok(!existsSync(one));
});

test('a server without a subgroup of its own creates no cgroups', () => {
  for (const group of ['/', '/system.slice/lorikeet.service', '/user.slice/session-3.scope']) {
    assert.equal(prepareCgroupParent(machineOf(group)), undefined, group);
  }
  const root = machineOf('/lorikeet/server');
  mkdirSync(path.join(root, 'sys/fs/cgroup/lorikeet/cgroup.subtree_control')); // as if it may not be written
  assert.equal(prepareCgroupParent(root), undefined);
});
