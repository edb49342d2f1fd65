import test from 'ava';
import {type NativeCudaInfo, native} from '../../ts/native/addon.ts';
import {chooseDevice, whyNoCuda} from '../../ts/native/device.ts';

const h200 = {name: 'NVIDIA H200', computeCapability: '9.0', memoryBytes: 150e9, problem: null};
const old = {
  ...h200,
  name: 'Tesla P100',
  problem: 'its compute capability is 6.0, and 7.0 is the least that is supported',
};
const info: NativeCudaInfo = {
  built: true,
  devices: [h200, old],
  runtimeVersion: 13000,
  driverVersion: 13000,
  error: null,
};

test('a GPU that can be used has nothing against it', t => {
  t.is(whyNoCuda(info), null);
});

test('every obstacle on the way to a GPU is named', t => {
  t.regex(whyNoCuda({...info, built: false}) ?? '', /no CUDA support/);
  t.is(
    whyNoCuda({...info, driverVersion: 0, devices: [], error: 'insufficient driver'}),
    'no NVIDIA driver was found; one for CUDA 13.0 or later (version 580) is required.',
  );
  t.is(
    whyNoCuda({
      ...info,
      runtimeVersion: 12040,
      driverVersion: 11040,
      devices: [],
      error: 'insufficient driver',
    }),
    'the NVIDIA driver is for CUDA 11.4, and one for CUDA 12.0 or later (version 525) is required: update it.',
  );
  t.is(
    whyNoCuda({...info, runtimeVersion: 12040, driverVersion: 12000}),
    null,
    'minor versions are compatible',
  );
  t.regex(whyNoCuda({...info, devices: [], error: 'no device'}) ?? '', /no GPU \(no device\)/);
  t.regex(whyNoCuda(info, 1) ?? '', /^Tesla P100 .*compute capability is 6\.0/);
  t.regex(whyNoCuda(info, 2) ?? '', /no GPU 2: this machine has 2/);
});

test('auto takes the GPU where there is one, and the CPU with the reason where not', t => {
  const problem = whyNoCuda(native().cudaInfo());
  const {device, precision} = chooseDevice('auto', 'auto');
  if (problem === null) {
    t.like(device, {name: 'cuda:0', backend: 'cuda'});
    t.is(precision, 'fp16');
  } else {
    t.deepEqual(device, {name: 'cpu', members: ['cpu'], backend: 'cpu', reason: problem});
    t.is(precision, 'fp32');
  }
});

test('the train form has no fp8, and on the CPU no bf16, on any processor', t => {
  const code = 'ERR_PRECISION_UNSUPPORTED';
  t.throws(() => chooseDevice('cpu', 'bf16', 'train'), {code, message: /fused form only: use "fp32"/});
  t.throws(() => chooseDevice(['cpu', 'cpu'], 'bf16', 'train'), {code, message: /fused form only/});
  t.throws(() => chooseDevice('auto', 'fp8', 'train'), {code, message: /fused form only/});
  t.throws(() => chooseDevice('auto', 'fp8-simulated', 'train'), {code, message: /fused form only/});
  t.is(chooseDevice('cpu', 'auto', 'train').precision, 'fp32');
});

test('a GPU that is asked for by name and cannot be had is an error, above and below', t => {
  t.throws(() => chooseDevice('cuda:99', 'auto'), {code: 'ERR_DEVICE_UNAVAILABLE', message: /"cuda:99"/});
  const shape = {
    form: 'deploy',
    squeezeExcite: null,
    blocks: [{inChannels: 3, outChannels: 8, stride: 2, groups: 1, identity: false, squeezeChannels: 0}],
    numClasses: 0,
    height: 8,
    width: 8,
    mean: [0, 0, 0],
    std: [1, 1, 1],
  } as const;
  t.throws(
    () =>
      new (native().Network)(
        {...shape, blocks: [...shape.blocks]},
        {backend: 'cuda:99', precision: 'fp32', batchSize: 1},
      ),
    {code: 'ERR_DEVICE_UNAVAILABLE'},
  );
});
