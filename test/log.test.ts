// A reader of the log that takes nothing holds nobody up, and loses only what exceeds the limit.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { programUrl } from '../src/common/fork-program.ts';
import { argumentsOf } from './node-program.ts';

const PROGRAM = argumentsOf(programUrl('./log-program', import.meta.url));

/** Node's own pipes to child processes are sockets, as journald's are. The shell's are pipes, as those of containers. */
const KINDS = {
  socket: (args: string[]) =>
    spawn(process.execPath, [...PROGRAM, ...args], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] }),
  pipe: (args: string[]) =>
    spawn(
      'sh',
      ['-c', '"$0" "$@" 2>&1 >/dev/null | cat >&2', process.execPath, ...PROGRAM, ...args],
      {
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      },
    ),
};

/** Starts the program. It has logged its lines once this resolves; nothing takes them before `readLines` does. */
async function startProgram(kind: keyof typeof KINDS, how: 'exit' | 'crash', lines: number) {
  const child: ChildProcess = KINDS[kind]([how, String(lines)]);
  after(() => child.kill('SIGKILL'));
  const [{ dropped }] = (await once(child, 'message')) as [{ dropped: number }];
  return { child, dropped };
}

interface Line {
  readonly index?: number;
  readonly dropped?: number;
}

/** The log's lines, each of which must be whole. */
async function* readLines({ stderr }: ChildProcess): AsyncGenerator<Line> {
  for await (const line of createInterface({ input: stderr! })) {
    if (line.startsWith('{')) yield JSON.parse(line); // others are of Node's report of a crash
  }
}

for (const kind of ['socket', 'pipe'] as const) {
  test(`F36: a reader that takes nothing from a ${kind} holds nobody up, and learns how many lines it missed`, async () => {
    const count = 4000; // 4 MB, four times what may wait
    const { child, dropped } = await startProgram(kind, 'exit', count);
    assert.ok(dropped > count / 4 && dropped < count, `${dropped} dropped`);
    let next = 0;
    for await (const line of readLines(child)) {
      if (line.dropped !== undefined) {
        assert.equal(line.dropped, dropped);
        next += line.dropped;
        child.send('end');
      } else {
        assert.equal(line.index, next);
        next++;
      }
    }
    assert.equal(next, count + 1, 'the last line was logged after the reader had caught up');
  });
}

for (const [how, code] of [
  ['exit', 3],
  ['crash', 1],
] as const) {
  test(`F36: a process that ends loses no line that waits for a slow reader: ${how}`, async () => {
    const count = 900; // less than what may wait, and more than the system keeps
    const { child, dropped } = await startProgram('socket', how, count);
    assert.equal(dropped, 0);
    const exited = once(child, 'exit');
    child.send('end');
    const lines: Line[] = [];
    for await (const line of readLines(child)) lines.push(line);
    assert.deepEqual(
      lines.map(({ index }) => index),
      Array.from({ length: count + 1 }, (_, i) => i),
    );
    assert.equal((await exited)[0], code);
  });
}

test('F36: a process whose reader takes nothing ends nevertheless', async () => {
  const { child } = await startProgram('socket', 'exit', 4000);
  child.send('end');
  assert.equal((await once(child, 'exit'))[0], 3);
});
