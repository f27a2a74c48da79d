// The engine in a device's memory, with the CPU as the device: the copies, casts and ranges of a device, without one.
import { playDevice } from '../ort/played-device.ts';
import { engineSuite } from './engine-suite.ts';

engineSuite('in device memory', {
  provider: 'webgpu',
  limit: 2e-4,
  prepare: (t) => void playDevice(t, 'webgpu', { lacksFloat16: true }),
});

// Half precision keeps 11 bits; the logits reach 10.
engineSuite('in device memory, with float16', {
  provider: 'cuda',
  limit: 5e-2,
  prepare: (t) => void playDevice(t, 'cuda'),
});
