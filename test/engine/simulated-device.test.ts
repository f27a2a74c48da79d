// The engine in the memory of a simulated device, which is the CPU: tests the copies, casts and ranges of slots.
import { simulateDevice } from '../ort/simulated-device.ts';
import { engineSuite } from './engine-suite.ts';

engineSuite('in device memory', {
  provider: 'webgpu',
  limit: 2e-4,
  prepare: (t) => void simulateDevice(t, 'webgpu', { lacksFloat16: true }),
});

// Half precision has 11 bits, and logits are up to 10.
engineSuite('in device memory, with float16', {
  provider: 'cuda',
  limit: 5e-2,
  prepare: (t) => void simulateDevice(t, 'cuda'),
});
