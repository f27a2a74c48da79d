// The filter of system calls for graders in Python: a program for Linux's seccomp. It refuses calls that escape the limits of a run,
// reach other processes or the network, or expose parts of the kernel that no grader needs. Pure.
import { ConfigError } from '../common/errors.ts';

/** A call's numbers on x86_64 and aarch64. */
type Numbers = readonly [x64: number, arm64: number];

/** Calls that fail with EPERM. Those that need a capability are absent: a run has none. */
const DENIED: Readonly<Record<string, Numbers>> = {
  // Memory that belongs to no process or file system, which no limit of a process counts.
  memfd_create: [319, 279],
  memfd_secret: [447, 447],
  shmget: [29, 194],
  msgget: [68, 186],
  semget: [64, 190],
  mq_open: [240, 180],
  // The two cores of a run.
  sched_setaffinity: [203, 122],
  // Other processes.
  ptrace: [101, 117],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  process_madvise: [440, 440],
  pidfd_getfd: [438, 438],
  kcmp: [312, 272],
  // Calls past this filter, and large parts of the kernel.
  io_setup: [206, 0],
  io_uring_setup: [425, 425],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  bpf: [321, 280],
  perf_event_open: [298, 241],
  userfaultfd: [323, 282],
  add_key: [248, 217],
  request_key: [249, 218],
  keyctl: [250, 219],
  // Namespaces and file systems.
  unshare: [272, 97],
  setns: [308, 268],
  mount: [165, 40],
  umount2: [166, 39],
  pivot_root: [155, 41],
  chroot: [161, 51],
  open_tree: [428, 428],
  move_mount: [429, 429],
  fsopen: [430, 430],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fspick: [433, 433],
  mount_setattr: [442, 442],
  name_to_handle_at: [303, 264],
  open_by_handle_at: [304, 265],
  fanotify_init: [300, 262],
};

const CLONE: Numbers = [56, 220];
/** Its flags are in memory that a filter cannot read. The C library falls back to `clone`. */
const CLONE3 = 435;
/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET. */
const NAMESPACE_FLAGS = 0x7e020000;
const SOCKET_CALLS: readonly Numbers[] = [
  [41, 198], // socket
  [53, 199], // socketpair
];
const AF_UNIX = 1;
/** From here on no call exists for a run: Linux 6.6 and later added the first ones, and the x32 ABI of x86_64 uses the highest. */
const FIRST_UNKNOWN = 452;

/** Linux's name for each architecture, by Node's. Each has its column in `Numbers`. */
const ARCHITECTURES: Readonly<Record<string, { column: 0 | 1; audit: number }>> = {
  x64: { column: 0, audit: 0xc000003e },
  arm64: { column: 1, audit: 0xc00000b7 },
};

/** An instruction of classic BPF: its code, the jumps if true and if false, and its constant. */
type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, k: number];

/** Offsets in the data that a filter sees. An argument of 32 bits is the first half of 8 bytes: both machines are little-endian. */
const [NUMBER, ARCHITECTURE, FIRST_ARGUMENT] = [0, 4, 16];
const [EPERM, ENOSYS] = [1, 38];
const load = (offset: number): Instruction => [0x20, 0, 0, offset];
const answer = (action: number): Instruction => [0x06, 0, 0, action];
const KILL = answer(0x80000000);
const ALLOW = answer(0x7fff0000);
const failWith = (errno: number) => answer(0x00050000 | errno);

/** Runs the body if the comparison holds, and continues after it otherwise. The body has an answer at its end. */
const when = (comparison: number, k: number, body: readonly Instruction[]): Instruction[] => [
  [comparison, 0, body.length, k],
  ...body,
];
const [EQUAL, AT_LEAST, ANY_BIT] = [0x15, 0x35, 0x45];

/** Returns the filter for one of Node's architectures, as `struct sock_filter` lays it out. @throws ConfigError for another one */
export function systemCallFilter(arch: string): Buffer {
  const machine = ARCHITECTURES[arch];
  if (!machine) throw new ConfigError(`no filter of system calls is known for ${arch}`);
  const { column, audit } = machine;
  const program: Instruction[] = [
    load(ARCHITECTURE),
    [EQUAL, 1, 0, audit],
    KILL, // a call of the 32-bit ABI has other numbers
    load(NUMBER),
    ...when(AT_LEAST, FIRST_UNKNOWN, [failWith(ENOSYS)]),
    ...when(EQUAL, CLONE3, [failWith(ENOSYS)]),
    ...Object.values(DENIED).flatMap((numbers) => when(EQUAL, numbers[column], [failWith(EPERM)])),
    ...when(EQUAL, CLONE[column], [
      load(FIRST_ARGUMENT),
      ...when(ANY_BIT, NAMESPACE_FLAGS, [failWith(EPERM)]),
      ALLOW,
    ]),
    ...SOCKET_CALLS.flatMap((numbers) =>
      when(EQUAL, numbers[column], [
        load(FIRST_ARGUMENT),
        ...when(EQUAL, AF_UNIX, [ALLOW]),
        failWith(EPERM),
      ]),
    ),
    ALLOW,
  ];
  return Buffer.concat(program.map(encode));
}

function encode([code, ifTrue, ifFalse, k]: Instruction): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt8(ifTrue, 2);
  bytes.writeUInt8(ifFalse, 3);
  bytes.writeUInt32LE(k >>> 0, 4);
  return bytes;
}
