// The filter of system calls, run by an interpreter of classic BPF as the kernel would run it, on both machines.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ConfigError } from '../../src/common/errors.ts';
import { systemCallFilter } from '../../src/graders/seccomp.ts';

const [ALLOW, EPERM, ENOSYS, KILL] = [0x7fff0000, 0x00050001, 0x00050026, 0x80000000];
const MACHINES = { x64: 0xc000003e, arm64: 0xc00000b7 };

interface Call {
  readonly number: number;
  readonly audit: number;
  readonly args?: readonly bigint[];
}

/** Runs a filter. Jumps are relative to the next instruction. */
function run(program: Buffer, { number, audit, args = [] }: Call): number {
  const data = Buffer.alloc(64);
  data.writeInt32LE(number, 0);
  data.writeUInt32LE(audit, 4);
  for (const [i, arg] of args.entries()) data.writeBigUInt64LE(arg, 16 + 8 * i);
  let accumulator = 0;
  for (let at = 0; at < program.length; at += 8) {
    const k = program.readUInt32LE(at + 4);
    const jump = (holds: boolean) => {
      at += 8 * program.readUInt8(at + (holds ? 2 : 3));
    };
    const code = program.readUInt16LE(at);
    if (code === 0x06) return k;
    if (code === 0x20) accumulator = data.readUInt32LE(k);
    else if (code === 0x15) jump(accumulator === k);
    else if (code === 0x35) jump(accumulator >= k);
    else if (code === 0x45) jump((accumulator & k) !== 0);
    else assert.fail(`unknown code ${code}`);
  }
  return assert.fail('no answer');
}

// Numbers of the kernel's tables: read, mmap, futex, execve, wait4, openat; then calls that are refused.
const CALLS = {
  x64: {
    allowed: [0, 9, 202, 59, 61, 257],
    memfd: 319,
    ptrace: 101,
    clone: 56,
    socket: 41,
    pair: 53,
  },
  arm64: {
    allowed: [63, 222, 98, 221, 260, 56],
    memfd: 279,
    ptrace: 117,
    clone: 220,
    socket: 198,
    pair: 199,
  },
} as const;

for (const [arch, audit] of Object.entries(MACHINES)) {
  describe(`the filter of system calls on ${arch}`, () => {
    const calls = CALLS[arch as keyof typeof CALLS];
    const program = systemCallFilter(arch);
    const decide = (number: number, ...args: bigint[]) => run(program, { number, audit, args });

    test('allows ordinary calls, and refuses those that escape', () => {
      for (const number of calls.allowed) assert.equal(decide(number), ALLOW, `${number}`);
      for (const number of [calls.memfd, calls.ptrace, 425, 426, 427, 447]) {
        assert.equal(decide(number), EPERM, `${number}`);
      }
    });

    test('allows threads and processes, but no namespaces', () => {
      const [fork, thread] = [0x01200011n, 0x003d0f00n];
      assert.equal(decide(calls.clone, fork), ALLOW);
      assert.equal(decide(calls.clone, thread), ALLOW);
      for (const flag of [0x20000n, 0x2000000n, 0x4000000n, 0x8000000n]) {
        assert.equal(decide(calls.clone, fork | flag), EPERM, `${flag}`);
      }
      for (const flag of [0x10000000n, 0x20000000n, 0x40000000n]) {
        assert.equal(decide(calls.clone, fork | flag), EPERM, `${flag}`);
      }
      assert.equal(decide(435), ENOSYS);
    });

    test('allows sockets of this machine only', () => {
      for (const number of [calls.socket, calls.pair]) {
        assert.equal(decide(number, 1n), ALLOW);
        // The kernel ignores the upper half of the family, and so does the filter.
        assert.equal(decide(number, 0xffffffff00000001n), ALLOW);
        for (const family of [0n, 2n, 10n, 16n, 17n, 38n, 40n, 0x100000028n]) {
          assert.equal(decide(number, family), EPERM, `${family}`);
        }
      }
    });

    test('lacks calls that it does not judge, and ends a program of another ABI', () => {
      assert.equal(decide(451), ALLOW);
      for (const number of [452, 1000, 0x40000000, -1]) assert.equal(decide(number), ENOSYS);
      for (const other of [0x40000003, 0x40000028, 0]) {
        assert.equal(run(program, { number: 0, audit: other }), KILL);
      }
    });
  });
}

test('a machine without a filter runs no graders in Python', () => {
  assert.throws(() => systemCallFilter('riscv64'), ConfigError);
});
