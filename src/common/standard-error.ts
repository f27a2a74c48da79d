// Writes lines to standard error without ever waiting for its reader. If the reader is too slow, lines are buffered up to a
// limit; beyond it they are dropped and counted. While the reader keeps up, a line has left when `write` returns, so a killed
// process loses none. The only line that it formats itself is the report of dropped ones.
//
// Neither of pino's destinations can do this: the synchronous one blocks the event loop at a full pipe, and the asynchronous
// one blocks a thread, for which the process then waits when it exits.
import { writeSync } from 'node:fs';

/** Lines that wait for the reader: a minute of a busy server. */
const MAX_WAITING_BYTES = 1024 * 1024;
const RETRY_MS = 50;
/** The longest time that an exit waits for a reader that reads nothing. */
const EXIT_MS = 1000;

const FD = 2;

/** The part of a pipe's or a socket's handle that is used here. Terminals and files have none; they never stay full. */
interface Handle {
  setBlocking?(isBlocking: boolean): number;
}

/** Buffers lines on their way to a file descriptor. */
class Lines {
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #dropped = 0;
  /** Dropped lines that the output has not reported yet. */
  #unmentioned = 0;
  #handle: Handle | undefined;

  /** Lines that were dropped since the process started. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Writes a line, with its line break. */
  write(line: string): void {
    this.#handle ??= this.#open();
    const bytes = Buffer.from(line);
    const rest = this.#waiting.length === 0 ? this.#tryWrite(bytes) : bytes;
    if (rest.length === 0) return;
    if (this.#waiting.length === 0) {
      this.#retryLater(); // a line that has begun is never dropped
    } else if (this.#waitingBytes + rest.length > MAX_WAITING_BYTES) {
      this.#drop();
      return;
    }
    this.#waiting.push(rest);
    this.#waitingBytes += rest.length;
  }

  #open(): Handle {
    const flush = () => this.#flush();
    process.once('uncaughtExceptionMonitor', flush).once('exit', flush); // the first one comes before Node prints the error
    const { _handle } = process.stderr as typeof process.stderr & { readonly _handle?: Handle };
    return process.stderr.isTTY ? {} : (_handle ?? {});
  }

  #retryLater(): void {
    setTimeout(() => {
      this.#writeWaiting();
      if (this.#waiting.length > 0) this.#retryLater();
    }, RETRY_MS).unref();
  }

  /** Writes as many of the waiting lines as the reader takes, and returns whether it took anything. */
  #writeWaiting(): boolean {
    const before = this.#waitingBytes;
    while (this.#waiting.length > 0) {
      const bytes = this.#waiting[0]!;
      const rest = this.#tryWrite(bytes);
      this.#waitingBytes -= bytes.length - rest.length;
      if (rest.length > 0) {
        this.#waiting[0] = rest;
        break;
      }
      this.#waiting.shift();
    }
    if (this.#waiting.length === 0 && this.#unmentioned > 0) this.#mentionDropped();
    return this.#waitingBytes < before;
  }

  #mentionDropped(): void {
    const dropped = this.#unmentioned;
    this.#unmentioned = 0;
    const msg = 'The reader of the log was too slow, so lines were dropped.';
    this.write(`${JSON.stringify({ level: 40, time: Date.now(), dropped, msg })}\n`);
  }

  #drop(): void {
    this.#dropped++;
    this.#unmentioned++;
  }

  /** Returns what the reader did not take. Drops a line that cannot be written at all. */
  #tryWrite(bytes: Buffer): Buffer {
    // A child process that inherits the descriptor makes it blocking again at its start, for every process that shares it.
    this.#handle?.setBlocking?.(false);
    try {
      return bytes.subarray(writeSync(FD, bytes));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return bytes;
      this.#drop(); // such as EPIPE, if the reader has gone, or ENOSPC
      return bytes.subarray(bytes.length);
    }
  }

  /** Writes the waiting lines, until the reader has taken nothing for `EXIT_MS`. */
  #flush(): void {
    let quietUntilMs = performance.now() + EXIT_MS;
    while (this.#waiting.length > 0 && performance.now() < quietUntilMs) {
      if (this.#writeWaiting()) quietUntilMs = performance.now() + EXIT_MS;
      else Atomics.wait(PAUSE, 0, 0, RETRY_MS / 5);
    }
  }
}

const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/** The standard error of this process. */
export const standardError: Pick<Lines, 'write' | 'dropped'> = new Lines();
