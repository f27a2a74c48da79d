// Runs graders in Python. Each run is a process of its own in a sandbox: Linux's namespaces without a network, with only the files
// of Python, limits of time and memory, and a filter of system calls. The operator chooses the program.
import { execFile, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { ConfigError } from '../common/errors.ts';
import { type Caller, TurnQueue } from '../common/turn-queue.ts';
import { PythonError } from './grade.ts';
import { PATH, sandboxArguments } from './python-sandbox.ts';
import { createCgroup, isOutOfMemory, prepareCgroupParent, removeCgroup } from './run-cgroup.ts';
import { systemCallFilter } from './seccomp.ts';
import type { GradedValues } from './template.ts';

/**
 * OpenAI's limits of a run. Memory is per process of the run, unless the run has a cgroup. The files that a run writes are in
 * memory. A file costs memory of the kernel even if it is empty, and so does a descriptor: a pipe can hold 1 MiB.
 */
const LIMITS = {
  seconds: 120,
  memoryBytes: 2 * 2 ** 30,
  diskBytes: 2 ** 30,
  files: 65_536,
  processes: 64,
  descriptors: 256,
};
/** The limits of a run. Tests use lower ones. */
type PythonLimits = typeof LIMITS;

/** A run may take 3 GiB with its files. All runs share two cores. */
const MAX_PARALLEL = 2;
/** A result or an error takes less. */
const MAX_OUTPUT_CHARS = 16_384;

/** A source, and the values that it grades. */
interface GivenSource extends Pick<GradedValues, 'sample'> {
  readonly source: string;
  readonly item?: unknown;
  /** Whether `grade` is only defined, not called. */
  readonly is_check: boolean;
}

/** The output of a process, and how it ended. */
interface Ended {
  readonly lines: readonly string[];
  readonly stderr: string;
  readonly how: string;
  readonly isLate: boolean;
}

/** A Python that runs graders, a few at a time. */
export class PythonGraders {
  /** The folder for the cgroups of runs. Undefined if no memory limit covers all processes of a run. */
  readonly cgroupParent: string | undefined;
  readonly #limits: PythonLimits;
  /** The interpreter and its folders. */
  readonly #python: readonly string[];
  readonly #filter = systemCallFilter(process.arch).toString('base64');
  /** Callers bound it: a server by its connections, a job by the samples of a step. */
  readonly #turns = new TurnQueue({
    maxWaiting: Number.POSITIVE_INFINITY,
    maxParallel: MAX_PARALLEL,
  });

  private constructor(
    python: readonly string[],
    limits: PythonLimits,
    cgroupParent: string | undefined,
  ) {
    this.#python = python;
    this.#limits = limits;
    this.cgroupParent = cgroupParent;
  }

  /** Finds the interpreter, and runs a grader in the sandbox. @throws ConfigError if one of them does not work here */
  static async open(program: string, limits: Partial<PythonLimits> = {}): Promise<PythonGraders> {
    try {
      const python = await findPython(program);
      const tryIn = async (cgroupParent?: string) => {
        const trial = new PythonGraders(python, LIMITS, cgroupParent);
        await trial.run('def grade(sample, item): return 1', { item: {}, sample: {} });
        return new PythonGraders(python, { ...LIMITS, ...limits }, cgroupParent);
      };
      const cgroupParent = prepareCgroupParent();
      if (cgroupParent === undefined) return await tryIn();
      return await tryIn(cgroupParent).catch(() => tryIn());
    } catch (error) {
      const reason = error instanceof Error ? error.message.trim() : error;
      throw new ConfigError(
        `LORIKEET_PYTHON_GRADERS: ${program} cannot run graders without a network here (${reason}). It must be a Python 3 on ` +
          "Linux, with ctypes and with unshare, mount and setpriv of util-linux, and the server's user must be able to create " +
          'user namespaces.',
      );
    }
  }

  /** Returns what `grade(sample, item)` of the source returns. @throws PythonError, and the reason of the caller's signal */
  run(source: string, values: GradedValues, caller: Caller = { tenant: '' }): Promise<number> {
    return this.#take({ source, ...values, is_check: false }, caller);
  }

  /** Runs the source without a sample: its definitions, among them `grade`. @throws like `run` */
  async check(source: string, caller: Caller = { tenant: '' }): Promise<void> {
    await this.#take({ source, sample: {}, is_check: true }, caller);
  }

  #take(given: GivenSource, caller: Caller): Promise<number> {
    return this.#turns.take(caller, async () => {
      const input = this.#inputOf(given);
      const { lines, stderr, how, isLate } = await this.#inCgroup((cgroup) =>
        this.#spawn(input, cgroup, caller),
      );
      const [started, result] = lines;
      if (isLate) throw new PythonError('runtime', `took longer than ${this.#limits.seconds} s`);
      if (started === undefined) throw new PythonError('server', stderr.trim() || how);
      const { score, error = `ended without a result (${how})` } = readResult(result);
      if (score === undefined) throw new PythonError('runtime', error);
      return score;
    });
  }

  #inputOf({ sample, ...given }: GivenSource): string {
    const { seconds, memoryBytes, diskBytes, processes, descriptors } = this.#limits;
    const limits = {
      RLIMIT_AS: memoryBytes,
      RLIMIT_CPU: Math.ceil(2 * seconds),
      RLIMIT_FSIZE: diskBytes,
      RLIMIT_NOFILE: descriptors,
      RLIMIT_NPROC: processes,
      RLIMIT_CORE: 0,
    };
    const own = { sample: { output_json: null, ...sample }, limits, filter: this.#filter };
    return JSON.stringify({ ...given, ...own });
  }

  /** Calls `work` with the folder of a new cgroup, if there can be one, and removes the cgroup afterwards. */
  async #inCgroup<T>(work: (cgroup?: string) => Promise<T>): Promise<T> {
    if (this.cgroupParent === undefined) return work();
    const { memoryBytes, diskBytes, processes } = this.#limits;
    const limits = { memoryBytes: memoryBytes + diskBytes, processes };
    let cgroup: string;
    try {
      cgroup = createCgroup(this.cgroupParent, limits);
    } catch (error) {
      throw new PythonError('server', `no cgroup for the run: ${(error as Error).message}`);
    }
    try {
      return await work(cgroup);
    } finally {
      await removeCgroup(cgroup);
    }
  }

  async #spawn(input: string, cgroup: string | undefined, { signal }: Caller): Promise<Ended> {
    const { seconds, diskBytes, files } = this.#limits;
    const args = sandboxArguments({ python: this.#python, cgroup, diskBytes, files });
    const child = spawn('setpriv', args, {
      env: { PATH },
      stdio: ['pipe', 'ignore', 'pipe', 'pipe'],
      killSignal: 'SIGKILL',
      signal,
    });
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = child.kill('SIGKILL');
    }, seconds * 1000);
    const kill = () => void child.kill('SIGKILL');
    const said = boundedText(child.stdio[3] as Readable, kill);
    const stderr = boundedText(child.stderr as Readable, kill);
    child.stdin?.on('error', () => {}); // it ended early, which its exit reports
    child.stdin?.end(input);
    let failure: unknown;
    child.once('error', (error) => {
      failure = signal?.aborted ? signal.reason : new PythonError('server', error.message);
    });
    try {
      const how = await new Promise<string>((resolve) => {
        child.once('close', (code, by) => resolve(by ?? `exit code ${code}`));
      });
      if (failure !== undefined) throw failure;
      const lines = (await said).split('\n').slice(0, -1);
      const isOverMemory = cgroup !== undefined && isOutOfMemory(cgroup);
      return { lines, stderr: await stderr, how: isOverMemory ? 'out of memory' : how, isLate };
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Reads the line that has the score or the error. The grader may have written something else. */
function readResult(line = '{}'): { score?: number; error?: string } {
  try {
    const { score, error } = JSON.parse(line) ?? {};
    if (Number.isFinite(score)) return { score };
    return typeof error === 'string' ? { error } : {};
  } catch {
    return {};
  }
}

/** Reads a stream, and calls `tooLong` if it is longer than any honest one. */
function boundedText(stream: Readable, tooLong: () => void): Promise<string> {
  let length = 0;
  stream.on('data', (chunk: Buffer) => {
    length += chunk.length;
    if (length > MAX_OUTPUT_CHARS) tooLong();
  });
  return text(stream).catch(() => '');
}

/** A program such as pyenv's may be a script that finds the interpreter. Returns the interpreter and its folders. */
async function findPython(program: string): Promise<string[]> {
  const code = 'import json, sys; print(json.dumps([sys.executable, sys.prefix, sys.base_prefix]))';
  const { stdout } = await promisify(execFile)(program, ['-I', '-c', code], { timeout: 10_000 });
  return JSON.parse(stdout);
}
