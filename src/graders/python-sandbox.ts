// The sandbox of a Python grader, as a command: Linux's namespaces and an empty file system, and in them a program that limits
// itself, installs the filter of system calls and runs the source.

/** The search path of the sandbox's programs, and of the grader. */
export const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

/** New namespaces, which end with this process. The user is root inside, but only as regards the namespaces. */
const UNSHARE = [
  ...['--pdeathsig', 'KILL', 'unshare', '--user', '--map-root-user', '--net', '--ipc', '--uts'],
  ...['--mount', '--pid', '--fork', '--kill-child', '--', 'sh', '-c'],
];

/**
 * Arguments: the run's cgroup or nothing, options of the file system, the interpreter, its program, the interpreter's folders.
 * Replaces the file system by an empty one with the system's libraries and the interpreter, all of them read-only, and drops the
 * rights to change that.
 */
const SANDBOX = `set -e
cgroup=$1 options=$2 python=$3 program=$4
shift 4
[ -z "$cgroup" ] || echo 0 > "$cgroup/cgroup.procs"
echo 0 > /proc/sys/user/max_user_namespaces
mount -t tmpfs -o "$options,mode=755" none /tmp
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
import base64, ctypes, json, math, numbers, os, resource, sys, traceback
given = json.loads(sys.stdin.buffer.read())
def say(message):
    os.write(3, (json.dumps(message) + "\\n").encode())
for name, limit in given["limits"].items():
    resource.setrlimit(getattr(resource, name), (limit, limit))
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-2:])
os.nice(10)
code = base64.b64decode(given["filter"])
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Filter(len(code) // 8, code))):
    raise OSError(ctypes.get_errno(), "the filter of system calls cannot be installed")
say({})
try:
    scope = {"__name__": "grader"}
    exec(compile(given["source"], "source", "exec"), scope)
    if not callable(scope.get("grade")):
        raise NameError("the source defines no function grade(sample, item)")
    score = 0 if given["is_check"] else scope["grade"](given["sample"], given.get("item"))
    if not isinstance(score, numbers.Real) or not math.isfinite(score):
        raise TypeError(f"grade must return a finite number, not {score!r:.100}")
    say({"score": float(score)})
except BaseException as error:
    text = "".join(traceback.format_exception_only(type(error), error)).strip()[:1000]
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == "source"]
    say({"error": text + (f" (line {lines[-1]})" if lines else "")})
`;

/** The parts of a sandbox that differ between runs. */
interface Sandbox {
  /** The interpreter and its folders. */
  readonly python: readonly string[];
  /** The folder of the run's cgroup. */
  readonly cgroup: string | undefined;
  readonly diskBytes: number;
  readonly files: number;
}

/** Returns the arguments of `setpriv` that start a grader in a sandbox. */
export function sandboxArguments({ python, cgroup, diskBytes, files }: Sandbox): string[] {
  const [interpreter = '', ...folders] = python;
  const options = `size=${diskBytes},nr_inodes=${files}`;
  return [...UNSHARE, SANDBOX, 'sh', cgroup ?? '', options, interpreter, PROGRAM, ...folders];
}
