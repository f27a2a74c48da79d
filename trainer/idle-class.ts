// Moves the trainer's process to Linux's idle scheduling class. This is irreversible: leaving the class takes a right
// (CAP_SYS_NICE) that containers lack.
import { readdirSync } from 'node:fs';
import { scheduleWhenIdle } from '../src/ort/libc.ts';

/** Moves all threads of this process. Later threads inherit the class. Has no effect on other systems. */
export function enterIdleClass(): void {
  if (process.platform !== 'linux') return;
  const moved = new Set([process.pid]);
  for (;;) {
    // A class belongs to a thread, and a thread that has not moved yet may start another one.
    const others = readdirSync('/proc/self/task').map(Number);
    const fresh = others.filter((id) => !moved.has(id));
    if (fresh.length === 0) break;
    for (const id of fresh) {
      scheduleWhenIdle(id);
      moved.add(id);
    }
  }
  // This thread moves last: on a busy machine it may not run again for a while.
  scheduleWhenIdle(process.pid);
}
