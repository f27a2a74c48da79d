// Runs one attack in a process of its own, so that its work does not delay the clock of the process that measures.
// Arguments: the attack's name, and its target as JSON. Says 'begun', ends by a 'stop' with what it was answered.
import { ATTACKS, attackUntil, type Target } from './attacks.ts';

const [name, target] = process.argv.slice(2) as [string, string];
const attack = ATTACKS.find((row) => row.name === name)!;
const stop = new AbortController();
const outcomes: Record<string, number> = {};
process.once('message', () => stop.abort());
process.once('disconnect', () => process.exit());

void attackUntil(stop.signal, attack, {
  target: JSON.parse(target) as Target,
  note(outcome) {
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  },
});
process.send!('begun');
stop.signal.addEventListener('abort', () => {
  process.send!(outcomes, () => process.exit()); // strikes under way are cut off
});
