// The cgroups of runs: in a folder that stands for /proc and /sys, and in a real cgroup if this machine allows one.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { memoryGroups } from '../../src/common/memory-limit.ts';
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

/** Makes a subgroup for a server, as systemd's DelegateSubgroup= does. Undefined if this machine does not allow it. */
function createDelegated(): string | undefined {
  const top = memoryGroups()
    .find(({ version }) => version === 2)
    ?.folders.at(-1);
  if (top === undefined) return undefined;
  const group = path.join(top, `lorikeet-test-${process.pid}`);
  try {
    writeFileSync(path.join(top, 'cgroup.subtree_control'), '+memory +pids');
    mkdirSync(path.join(group, 'server'), { recursive: true });
    return group;
  } catch {
    return undefined;
  }
}

const group = createDelegated();

test('a real cgroup ends a run as a whole', {
  skip: !group && 'no writable cgroup v2',
}, async (t) => {
  t.after(() => {
    rmdirSync(path.join(group!, 'server'));
    rmdirSync(group!); // fails if a run's cgroup is left
  });
  const program = `const { PythonGraders } = await import(process.argv[1]);
    const limits = { memoryBytes: 2 ** 28, diskBytes: 2 ** 25, processes: 24 };
    const graders = await PythonGraders.open('python3', limits);
    const run = (body) => graders
      .run('import os, time\\ndef grade(sample, item):\\n ' + body, { item: {}, sample: {} })
      .catch((error) => error.message);
    const child = (rest) => 'if os.fork() == 0: x = bytearray(120 << 20); time.sleep(60)\\n ' + rest;
    const results = [
      await run('return 1'),
      await run(child(child(child(child('os.wait()'))))),
      await run('while True:\\n  if os.fork() == 0: time.sleep(60)'),
    ];
    console.log(JSON.stringify([graders.cgroupParent, ...results]));`;
  const { href: module } = new URL('../../src/graders/python.ts', import.meta.url);
  const node = [process.execPath, '--import', import.meta.resolve('tsx'), '--input-type=module'];
  const enter = ['-c', 'echo $$ > "$0/server/cgroup.procs" && exec "$@"', group!];
  const command = [...enter, ...node, '-e', program, module];
  const [parent, whole, memory, processes] = JSON.parse(
    (await promisify(execFile)('sh', command)).stdout,
  );
  assert.deepEqual([parent, whole], [group, 1]);
  assert.equal(memory, 'ended without a result (out of memory)');
  assert.match(processes, /^BlockingIOError: .*Resource temporarily unavailable/);
});
