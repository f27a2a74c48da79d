// Graders in Python, in a real sandbox. Skipped if this machine has none, such as without user namespaces.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { readCpuTime } from '../../src/common/cpu-time.ts';
import { ConfigError } from '../../src/common/errors.ts';
import { type GraderCalls, grade, PythonError } from '../../src/graders/grade.ts';
import { PythonGraders } from '../../src/graders/python.ts';
import { graderSchema } from '../../src/graders/schema.ts';
import { toSample } from '../../src/graders/template.ts';
import { temporaryFolder } from '../fixtures.ts';
import { until } from '../until.ts';

const PYTHON = 'python3';
const opened = await PythonGraders.open(PYTHON).catch((error: ConfigError) => error);
const isMissing = opened instanceof Error;
const graders = opened as PythonGraders;
const values = { item: { answer: 'blue', tags: [1, 2] }, sample: toSample('blue sky') };
const define = (body: string) => `def grade(sample, item):\n    ${body.replaceAll('\n', '\n    ')}`;
const run = (body: string, source = define(body)) => graders.run(source, values);

/** Runs the body, which must fail in Python. */
async function faultOf(body: string, by = graders): Promise<string> {
  const error = await by.run(define(body), values).catch((reason) => reason);
  assert.ok(error instanceof PythonError, `no error, but ${error}`);
  assert.equal(error.kind, 'runtime');
  return error.message;
}

describe('a grader in Python', { skip: isMissing && opened.message }, () => {
  test('returns a number for the sample and the item', async () => {
    assert.equal(await run('return float(item["answer"] in sample["output_text"])'), 1);
    assert.equal(await run('return len(item["tags"]) / 4'), 0.5);
    assert.equal(await run('return sample["output_json"] is None'), 1);
    assert.equal(await run('print("x" * 10_000_000)\nreturn -2'), -2);
    const helper = `import math\nPI = math.pi\n${define('return PI > 3')}`;
    assert.equal(await run('', helper), 1);
  });

  test('reports what it raises, and the line', async () => {
    assert.equal(
      await faultOf('x = 1\nreturn x / 0'),
      'ZeroDivisionError: division by zero (line 3)',
    );
    assert.match(await faultOf('import nothing_like_it'), /^ModuleNotFoundError: .* \(line 2\)$/);
    assert.match(await faultOf('return ]'), /SyntaxError/);
    assert.match(await faultOf('raise SystemExit(0)'), /^SystemExit: 0/);
    for (const value of ['"0.5"', 'None', 'float("nan")']) {
      assert.match(await faultOf(`return ${value}`), /must return a finite number, not /, value);
    }
    assert.match(await faultOf('return 10 ** 400'), /^OverflowError/);
    const without = await graders.run('x = 1', values).catch((error) => error.message);
    assert.match(without, /defines no function grade/);
    assert.equal(await faultOf('import os\nos._exit(3)'), 'ended without a result (exit code 3)');
    assert.match(await faultOf('import os\nos.abort()'), /^ended without a result \(SIG/);
    assert.equal(
      await faultOf('import os\nos.write(3, b"[]\\n")\nos._exit(0)'),
      'ended without a result (exit code 0)',
    );
  });

  test('ends after its time, together with the processes that it started', async () => {
    const short = await PythonGraders.open(PYTHON, { seconds: 1 });
    assert.equal(await faultOf('while True: pass', short), 'took longer than 1 s');
    const forking = 'import os, time\nif os.fork() == 0: time.sleep(1000)\nreturn 0.25';
    assert.equal(await run(forking), 0.25); // the output is closed only then
  });
});

describe('the sandbox of a grader in Python', { skip: isMissing && opened.message }, () => {
  test('has limits of memory, files and output', async () => {
    assert.equal(await faultOf('x = bytearray(3 << 30)'), 'MemoryError (line 2)');
    const small = await PythonGraders.open(PYTHON, { diskBytes: 2 ** 20 });
    const write = 'open("file", "wb").write(bytes(1 << 22))\nreturn 1';
    assert.match(await faultOf(write, small), /File too large/);
    const writeTwo = 'for i in range(2): open(str(i), "wb").write(bytes(700_000))';
    assert.match(await faultOf(writeTwo, small), /No space left/);
    const few = await PythonGraders.open(PYTHON, { files: 64 });
    assert.match(await faultOf('for i in range(64): open(str(i), "w")', few), /No space left/);
    const open = 'files = [open("file", "w") for i in range(256)]';
    assert.match(await faultOf(open), /Too many open files/);
    assert.match(await faultOf('import os\nwhile True: os.write(3, bytes(65536))'), /SIGKILL/);
    assert.match(await faultOf('import os\nwhile True: os.write(2, bytes(65536))'), /SIGKILL/);
  });

  test('has no network, no files of the machine and no rights', async () => {
    const connect = (address: string) =>
      `import socket\nsocket.create_connection(("${address}", 80), 2)`;
    for (const address of ['192.0.2.1', '127.0.0.1']) {
      assert.match(await faultOf(connect(address)), /^PermissionError: /, address);
    }
    const file = path.join(temporaryFolder(), 'keys.json');
    writeFileSync(file, '{}');
    assert.match(await faultOf(`open(${JSON.stringify(file)})`), /^FileNotFoundError/);
    assert.match(await faultOf('open("/usr/x", "w")'), /Read-only file system/);
    assert.equal(await run('import os\nreturn len(os.listdir("."))'), 0);
    const libc = 'import ctypes\nlibc = ctypes.CDLL(None)\nreturn ';
    assert.equal(await run(`${libc}libc.unshare(0x10000000)`), -1);
    assert.equal(await run(`${libc}libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)`), -1);
    const variables =
      'import os\nreturn len(set(os.environ) - {"PATH", "PWD", "OLDPWD", "LC_CTYPE"})';
    assert.equal(await run(variables), 0);
  });

  test('cannot make the calls of the system that escape its limits', async () => {
    const libc = 'import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n';
    for (const attack of [
      'import os\nos.memfd_create("more")',
      'import os\nos.sched_setaffinity(0, range(os.cpu_count()))',
      'import socket\nsocket.socket(socket.AF_VSOCK)',
      'import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)',
      'import socket\nsocket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)',
      `${libc}if libc.syscall(425, 8, bytes(120)) < 0: raise OSError(ctypes.get_errno(), "")`, // io_uring_setup
      `${libc}if libc.shmget(0, 4096, 0o600) < 0: raise OSError(ctypes.get_errno(), "")`,
      `${libc}if libc.ptrace(0, 0, 0, 0) < 0: raise OSError(ctypes.get_errno(), "")`,
    ]) {
      assert.match(await faultOf(attack), /^PermissionError: .*\(line \d\)$/, attack);
    }
    const cores = 'import os\nreturn len(os.sched_getaffinity(0))';
    assert.ok((await run(cores)) <= 2);
    // Threads, processes and their sockets still work.
    assert.equal(await run('import asyncio\nreturn asyncio.run(asyncio.sleep(0, 0.5))'), 0.5);
    const pool =
      'from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(2) as p:';
    assert.equal(await run(`${pool}\n    return sum(p.map(float, [1, 2]))`), 3);
    const program =
      'import subprocess, sys\nreturn len(subprocess.check_output([sys.executable, "-V"]))';
    assert.ok((await run(program)) > 8);
  });

  test('ends with its caller', async () => {
    const stop = new AbortController();
    const caller = { tenant: 'a', signal: stop.signal };
    const running = graders.run(define('while True: pass'), values, caller);
    stop.abort(new Error('gone'));
    await assert.rejects(running, /gone/);
  });

  test('ends with a server that is killed', { timeout: 60_000 }, async () => {
    const program = `const { PythonGraders } = await import(process.argv[1]);
      const graders = await PythonGraders.open(${JSON.stringify(PYTHON)});
      void graders.run('def grade(s, i):\\n while True: pass', { item: 1, sample: {} });
      console.log('runs');`;
    const { href: module } = new URL('../../src/graders/python.ts', import.meta.url);
    const options = ['--import', import.meta.resolve('tsx'), '--input-type=module', '-e', program];
    const server = spawn(process.execPath, [...options, module]);
    await once(server.stdout, 'data');
    const grading = await until('a grader', () => descendants(server.pid!).find(isGrading));
    // It has long read its input, whose end would end it.
    await until('its computing', () => (readCpuTime(grading)?.runMs ?? 0) > 300);
    server.kill('SIGKILL');
    await until('its end', () => !isGrading(grading));
  });

  test('is one of the graders of multi, and its errors have OpenAI’s names', async () => {
    const python = (body: string) => ({ type: 'python', name: 'p', source: define(body) });
    const graded = (body: string) => {
      const parts = { a: python(body), b: python('return 0.5') };
      const multi = { type: 'multi', name: 'm', graders: parts, calculate_output: 'a + b' };
      const calls = { runPython: (...of: Parameters<PythonGraders['run']>) => graders.run(...of) };
      return grade(graderSchema.parse(multi), values, calls as unknown as GraderCalls);
    };
    assert.equal((await graded('return 0.25')).reward, 0.75);
    const { reward, errors } = await graded('return x');
    assert.equal(reward, 0.5);
    assert.equal(errors.python_grader_runtime_error, true);
    assert.equal(errors.python_grader_server_error, false);
    assert.match(errors.python_grader_runtime_error_details!, /^p: NameError: .* \(line 2\)$/);
  });
});

test('a Python that does not run is a wrong setting', async () => {
  for (const program of ['/nowhere/python3', 'true']) {
    const error = await PythonGraders.open(program).catch((reason) => reason);
    assert.ok(error instanceof ConfigError);
    assert.match(error.message, new RegExp(`^LORIKEET_PYTHON_GRADERS: ${program} cannot run`));
  }
});

test('a source has at most 256,000 characters', () => {
  const parse = (source: string) => graderSchema.safeParse({ type: 'python', name: 'p', source });
  assert.ok(parse('#'.repeat(256_000)).success);
  assert.deepEqual(parse('#'.repeat(256_001)).error?.issues[0]?.path, ['source']);
});

function descendants(pid: number): number[] {
  const children = readProc(pid, `task/${pid}/children`).trim().split(' ').filter(Boolean);
  return children.flatMap((child) => [Number(child), ...descendants(Number(child))]);
}

/** Whether the process is the interpreter inside the sandbox. A zombie has no command line. */
function isGrading(pid: number): boolean {
  return /^[^\0]*python[^\0]*\0-I\0-B\0/.test(readProc(pid, 'cmdline'));
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}
