import {mkdir, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import {joulesBetween, readEnergy} from '../../ts/bench/counters.ts';
import {temporaryFolder} from '../cli/run.ts';

test('the energy of all sockets is added up, and not that of their parts', async t => {
  const folder = await temporaryFolder(t);
  const write = async (microjoules: Record<string, number>): Promise<void> => {
    for (const [name, value] of Object.entries(microjoules)) {
      await mkdir(join(folder, name), {recursive: true});
      await writeFile(join(folder, name, 'energy_uj'), `${value}\n`);
      await writeFile(join(folder, name, 'max_energy_range_uj'), '10000000\n');
    }
  };
  await write({'intel-rapl:0': 1e6, 'intel-rapl:1': 9e6, 'intel-rapl:0:0': 5});
  const before = readEnergy(folder);
  await write({'intel-rapl:0': 3e6, 'intel-rapl:1': 1e6, 'intel-rapl:0:0': 6e6});
  t.is(joulesBetween(before, readEnergy(folder)), 2 + 2); // The second began again.
});

test('without counters there is no energy', async t => {
  t.is(joulesBetween(readEnergy(await temporaryFolder(t)), []), null);
});
