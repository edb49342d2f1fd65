/** Programs that `npm test` does not run import what there is: a renamed export would be noticed only by who needs them. */
import {readdir} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import {build} from 'esbuild';

const root = join(import.meta.dirname, '..');

for (const folder of ['scripts', 'examples', 'test/gpu', 'test/native', 'test/package']) {
  test(`the programs in ${folder} find what they import`, async t => {
    const names = (await readdir(join(root, folder))).filter(name => name.endsWith('.mjs'));
    t.true(names.length > 0);
    // Checks the names of exports too. Packages are left alone.
    const {warnings} = await build({
      entryPoints: names.map(name => join(root, folder, name)),
      outdir: '/out',
      bundle: true,
      write: false,
      packages: 'external',
      platform: 'node',
      format: 'esm',
      target: 'node20',
      logLevel: 'silent',
    });
    t.deepEqual(warnings, []);
  });
}
