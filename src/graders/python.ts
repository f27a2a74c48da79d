// Runs graders in Python. Each run is a process of its own in a sandbox: Linux's namespaces without a network, with only the files
// of Python, and limits of time and memory. The operator chooses the program.
import { execFile, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { ConfigError } from '../common/errors.ts';
import { type Caller, TurnQueue } from '../common/turn-queue.ts';
import { PythonError } from './grade.ts';
import type { GradedValues } from './template.ts';

/** OpenAI's limits of a run. Memory is per process of the run. The files that a run writes are in memory. */
const LIMITS = { seconds: 120, memoryBytes: 2 * 2 ** 30, diskBytes: 2 ** 30, processes: 64 };
/** The limits of a run. Tests use lower ones. */
type PythonLimits = typeof LIMITS;

/** A run may take 3 GiB with its files. All runs share two cores. */
const MAX_PARALLEL = 2;
/** A result or an error takes less. */
const MAX_OUTPUT_CHARS = 16_384;
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

/** New namespaces, which end with this process. The user is root inside, but only as regards the namespaces. */
const UNSHARE = [
  ...['--pdeathsig', 'KILL', 'unshare', '--user', '--map-root-user', '--net', '--ipc', '--uts'],
  ...['--mount', '--pid', '--fork', '--kill-child', '--', 'sh', '-c'],
];

/**
 * Arguments: bytes of disk, the interpreter, its program, the interpreter's folders. Replaces the file system by an empty one
 * with the system's libraries and the interpreter, all of them read-only, and drops the rights to change that.
 */
const SANDBOX = `set -e
size=$1 python=$2 program=$3
shift 3
echo 0 > /proc/sys/user/max_user_namespaces
mount -t tmpfs -o "size=$size,mode=755" none /tmp
cd /tmp
for path in /usr /bin /lib /lib64 /etc/ld.so.cache /dev/null /proc "$@"; do
  [ -e "$path" ] || continue
  if [ -d "$path" ]; then mkdir -p ".$path"; else mkdir -p ".\${path%/*}"; : > ".$path"; fi
  mount --rbind -o ro "$path" ".$path"
done
mkdir -p tmp old
pivot_root . old
umount -l /old /proc
rmdir /old /proc
cd /tmp
exec setpriv --bounding-set=-all --no-new-privs "$python" -I -B -c "$program"`;

/** Reads the source and the values, says that it starts, and then the score or the error, as lines of JSON. */
const PROGRAM = `
import json, math, numbers, os, resource, sys, traceback
given = json.loads(sys.stdin.buffer.read())
def say(message):
    os.write(3, (json.dumps(message) + "\\n").encode())
for name, limit in given["limits"].items():
    resource.setrlimit(getattr(resource, name), (limit, limit))
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-2:])
os.nice(10)
say({})
try:
    scope = {"__name__": "grader"}
    exec(compile(given["source"], "source", "exec"), scope)
    if not callable(scope.get("grade")):
        raise NameError("the source defines no function grade(sample, item)")
    score = scope["grade"](given["sample"], given.get("item"))
    if not isinstance(score, numbers.Real) or not math.isfinite(score):
        raise TypeError(f"grade must return a finite number, not {score!r:.100}")
    say({"score": float(score)})
except BaseException as error:
    text = "".join(traceback.format_exception_only(type(error), error)).strip()[:1000]
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == "source"]
    say({"error": text + (f" (line {lines[-1]})" if lines else "")})
`;

/** The output of a process, and how it ended. */
interface Ended {
  readonly lines: readonly string[];
  readonly stderr: string;
  readonly how: string;
  readonly isLate: boolean;
}

/** A Python that runs graders, a few at a time. */
export class PythonGraders {
  readonly #limits: PythonLimits;
  /** The interpreter and its folders. */
  readonly #python: readonly string[];
  /** Callers bound it: a server by its connections, a job by the samples of a step. */
  readonly #turns = new TurnQueue({
    maxWaiting: Number.POSITIVE_INFINITY,
    maxParallel: MAX_PARALLEL,
  });

  private constructor(python: readonly string[], limits: PythonLimits) {
    this.#python = python;
    this.#limits = limits;
  }

  /** Finds the interpreter, and runs a grader in the sandbox. @throws ConfigError if one of them does not work here */
  static async open(program: string, limits: Partial<PythonLimits> = {}): Promise<PythonGraders> {
    try {
      const python = await findPython(program);
      const trial = new PythonGraders(python, LIMITS);
      await trial.run('def grade(sample, item): return 1', { item: {}, sample: {} });
      return new PythonGraders(python, { ...LIMITS, ...limits });
    } catch (error) {
      const reason = error instanceof Error ? error.message.trim() : error;
      throw new ConfigError([
        `LORIKEET_PYTHON_GRADERS: ${program} cannot run graders without a network here (${reason}). It must be a Python 3 on ` +
          "Linux, with unshare, mount and setpriv of util-linux, and the server's user must be able to create user namespaces.",
      ]);
    }
  }

  /** Returns what `grade(sample, item)` of the source returns. @throws PythonError, and the reason of the caller's signal */
  run(source: string, values: GradedValues, caller: Caller = { tenant: '' }): Promise<number> {
    return this.#turns.take(caller, async () => {
      const { lines, stderr, how, isLate } = await this.#spawn(
        this.#inputOf(source, values),
        caller,
      );
      const [started, result] = lines;
      if (isLate) throw new PythonError('runtime', `took longer than ${this.#limits.seconds} s`);
      if (started === undefined) throw new PythonError('server', stderr.trim() || how);
      const { score, error = `ended without a result (${how})` } = readResult(result);
      if (score === undefined) throw new PythonError('runtime', error);
      return score;
    });
  }

  #inputOf(source: string, { item, sample }: GradedValues): string {
    const { seconds, memoryBytes, processes } = this.#limits;
    const limits = {
      RLIMIT_AS: memoryBytes,
      RLIMIT_CPU: Math.ceil(2 * seconds),
      RLIMIT_NPROC: processes,
      RLIMIT_CORE: 0,
    };
    return JSON.stringify({ source, item, sample: { output_json: null, ...sample }, limits });
  }

  async #spawn(input: string, { signal }: Caller): Promise<Ended> {
    const [python = '', ...folders] = this.#python;
    const { seconds, diskBytes } = this.#limits;
    const args = [...UNSHARE, SANDBOX, 'sh', String(diskBytes), python, PROGRAM, ...folders];
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
    try {
      const how = await new Promise<string>((resolve, reject) => {
        child.once('error', (error) =>
          reject(signal?.aborted ? signal.reason : new PythonError('server', error.message)),
        );
        child.once('close', (code, by) => resolve(by ?? `exit code ${code}`));
      });
      const lines = (await said).split('\n').slice(0, -1);
      return { lines, stderr: await stderr, how, isLate };
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
